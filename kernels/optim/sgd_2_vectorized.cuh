/*
SGD step, version 2: sgd_1_plain with a strip of neighbouring parameters per thread.

Math      g = grad + weight_decay * param   buffer = first step ? g : momentum * buffer + (1 - dampening) * g
          param -= lr * (nesterov ? g + momentum * buffer : buffer)
Memory    param, grad, buffer: flat; lr and the step's number are read from the state on the device
Threads   a strip of parameters each
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
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  const SgdStep<A> step(sh, state);
  param += i, grad += i, buffer = has_buffer ? buffer + i : param;
  auto update = [&](const auto& p, const auto& g, const auto& b, auto& new_param, auto& new_buffer, int j) {
    A value = A(p[j]), momentum = A(b[j]);
    step.update(value, A(g[j]), momentum, has_buffer);
    if constexpr (has_buffer) new_buffer[j] = T(momentum);
    new_param[j] = T(value);
  };
  if (i + kStrip<T> <= sh.n) {
    const auto p = strip_at<T>(param), g = strip_at(grad), b = strip_at<T>(buffer);
    OutStrip<T> new_param(param), new_buffer(buffer);
    STRIP for (int j = 0; j < kStrip<T>; j++) update(p, g, b, new_param, new_buffer, j);
    new_param.store();
    if constexpr (has_buffer) new_buffer.store();
  } else {
    for_strip<T>(int(sh.n - i), [&](int j) { update(param, grad, buffer, param, buffer, j); });
  }
}

template <class T>
void sgd2(const Plan& plan, Array param, Array grad, Array buffer, Array state) {
  const auto& sh = plan.problem<SgdShape>();
  check_sgd(sh, buffer);
  const Geometry g{grid_size(ceil_div(sh.n, 256 * kStrip<T>)), 256};
  if (buffer) launch<sgd_kernel2<T, true>>(g, param.as<T>(), grad.as<const T>(), buffer.as<T>(), state.as<const double>(), sh);
  else launch<sgd_kernel2<T, false>>(g, param.as<T>(), grad.as<const T>(), (T*)nullptr, state.as<const double>(), sh);
}

inline const char* supports_sgd2(const SgdShape&, const Request&, Plan& plan) {
  plan.alignment = kStripAlignment;
  return nullptr;
}

REGISTER_VERSION(Sgd, vectorized, 2, "a strip of neighbouring parameters per thread", supports_sgd2, sgd2<STORAGE>);

}  // namespace pycnn
