/*
SGD step, version 2: sgd_1_plain with a strip of neighbouring parameters per thread.

Math      g = grad + weight_decay * param   buffer = first step ? g : momentum * buffer + (1 - dampening) * g
          param -= lr * (nesterov ? g + momentum * buffer : buffer)
Memory    param, grad, buffer: flat; lr and the step's number are read from the state on the device
Threads   a strip of parameters each; the last thread takes what is left one by one
Limit     memory bandwidth: 5 accesses per parameter with momentum, 3 without
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "sgd.h"

namespace pycnn {

template <class T, bool has_buffer>
__global__ void sgd_kernel2(T* param, const T* grad, T* buffer, const double* state, SgdShape sh) {
  using A = Accumulator<T>;
  int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  const SgdStep<A> step(sh, state);
  if (i + kStrip<T> <= sh.n) {
    A value[kStrip<T>], g[kStrip<T>], momentum[kStrip<T>];
    load_strip(param + i, value);
    load_strip(grad + i, g);
    if constexpr (has_buffer) load_strip(buffer + i, momentum);
    for (int j = 0; j < kStrip<T>; j++) step.update(value[j], g[j], momentum[j], has_buffer);
    store_strip(param + i, value);
    if constexpr (has_buffer) store_strip(buffer + i, momentum);
    return;
  }
  for (; i < sh.n; i++) {
    A value = A(param[i]), momentum = has_buffer ? A(buffer[i]) : A(0);
    step.update(value, A(grad[i]), momentum, has_buffer);
    param[i] = T(value);
    if constexpr (has_buffer) buffer[i] = T(momentum);
  }
}

template <class T>
void sgd2(const Plan& plan, Array param, Array grad, Array buffer, Array state) {
  const auto& sh = plan.problem<SgdShape>();
  check_sgd(sh, buffer);
  const Geometry g{grid_size(ceil_div(sh.n, 64 * kStrip<T>)), 64};
  if (buffer)
    launch<sgd_kernel2<T, true>>(g, param.as<T>(), grad.as<const T>(), buffer.as<T>(), state.as<const double>(), sh);
  else
    launch<sgd_kernel2<T, false>>(g, param.as<T>(), grad.as<const T>(), (T*)nullptr, state.as<const double>(), sh);
}

inline const char* supports_sgd2(const SgdShape&, const Request&, Plan& plan) {
  plan.alignment = kStripAlignment;
  return nullptr;
}

REGISTER_VERSION(Sgd, vectorized, 2, "a strip of neighbouring parameters per thread", supports_sgd2, sgd2<STORAGE>);

}  // namespace pycnn
