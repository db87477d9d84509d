/*
increment: one thread adds one.

Math      counters[slot] += 1
Memory    one int64
Threads   one
Limit     the launch itself
Next      -
Storage   int64_t
*/
#include "counter.h"

namespace pycnn {

template <class T>
__global__ void increment_kernel(T* counter) {
  *counter += 1;
}

template <class T>
void increment_plain(const Plan& plan, Array counters) {
  launch<increment_kernel<T>>({1, 1}, counters.as<T>() + plan.problem<CounterShape>().slot);
}

REGISTER_VERSION(Increment, plain, 1, "one thread adds one", supports_all<CounterShape>, increment_plain<STORAGE>);

}  // namespace pycnn
