/*
Element-wise map of two arrays with broadcasting, version 1: one thread per element.

Math      y[i] = f(a[...], b[...]), a and b repeated along the axes they lack
Memory    y dense in C order of up to 6 axes; a and b by strides, 0 where repeated
Threads   one y element each
Limit     six integer divisions for every element cost more than its arithmetic and memory traffic
Next      broadcast_2_strips.cuh divides once per strip
Storage   float half bfloat16 double
*/
#include "elementwise.h"

namespace pycnn {

template <class F, class T>
__global__ void broadcast_kernel1(const T* a, const T* b, T* y, Strided<3> s, int64_t n) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t at[3];
  s.offsets(i, at);
  y[i] = T(F::template apply<A>(A(a[at[1]]), A(b[at[2]])));
}

template <class F, class T>
void broadcast1(const Plan& plan, Array a, Array b, Array y) {
  const Strided<3> s = plan.problem<BroadcastShape>().strided();
  launch<broadcast_kernel1<F, T>>({grid_size(ceil_div(s.size(), 256)), 256}, a.as<const T>(), b.as<const T>(), y.as<T>(), s,
                                  s.size());
}

template <class F, class T>
bool register_broadcast1() {
  REGISTER_VERSION(Broadcast<F>, plain, 1, "one thread per element", supports_all<BroadcastShape>, (broadcast1<F, T>));
  return true;
}

template <class T, class... F>
bool register_broadcasts1(List<F...>) {
  return (register_broadcast1<F, T>() && ...);
}
static const bool registered = register_broadcasts1<STORAGE>(BroadcastFunctors{});

}  // namespace pycnn
