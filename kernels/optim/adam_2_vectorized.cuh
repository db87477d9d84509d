/*
Adam step, version 2: adam_1_plain with a strip of neighboring parameters per thread.

Math      g = grad + weight_decay * param (decoupled: param *= 1 - lr * weight_decay, g = grad)
          mean += (1 - beta1) * (g - mean)   square = beta2 * square + (1 - beta2) * g * g
          param -= lr / (1 - beta1^t) * mean / (sqrt(square) / sqrt(1 - beta2^t) + eps)
Memory    param, grad, mean, square: flat; lr and the two corrections are read from the state on the device
Threads   a strip of parameters each, 16 bytes of mean and square on a GPU, so that none of the four is moved in two parts
Limit     memory bandwidth: 7 accesses per parameter
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "adam.h"

namespace pycnn {

template <class T>
__global__ void adam_kernel2(T* param, const T* grad, Accumulator<T>* mean, Accumulator<T>* square, const double* state,
                             AdamShape sh) {
  using A = Accumulator<T>;
  constexpr int N = kStrip<A>;
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  const AdamStep<A> step(sh, state);
  param += i, grad += i, mean += i, square += i;
  auto update = [&](const auto& p, const auto& g, const auto& m, const auto& s, auto& new_p, auto& new_m, auto& new_s, int j) {
    A value = A(p[j]), new_mean = m[j], new_square = s[j];
    step.update(value, A(g[j]), new_mean, new_square);
    new_p[j] = T(value), new_m[j] = new_mean, new_s[j] = new_square;
  };
  if (i + N <= sh.n) {
    const auto p = values_at<N, T>(param), g = values_at<N>(grad);
    const auto m = values_at<N, A>(mean), s = values_at<N, A>(square);
    OutStrip<T, N> new_p(param);
    OutStrip<A> new_m(mean), new_s(square);
    STRIP for (int j = 0; j < N; j++) update(p, g, m, s, new_p, new_m, new_s, j);
    new_p.store(), new_m.store(), new_s.store();
  } else {
    for_strip<A>(int(sh.n - i), [&](int j) { update(param, grad, mean, square, param, mean, square, j); });
  }
}

template <class T>
void adam2(const Plan& plan, Array param, Array grad, Array mean, Array square, Array state) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<AdamShape>();
  launch<adam_kernel2<T>>({grid_size(ceil_div(sh.n, 256 * kStrip<A>)), 256}, param.as<T>(), grad.as<const T>(), mean.as<A>(),
                          square.as<A>(), state.as<const double>(), sh);
}

inline const char* supports_adam2(const AdamShape&, const Request&, Plan& plan) {
  plan.alignment = kStripAlignment;
  return nullptr;
}

REGISTER_VERSION(Adam, vectorized, 2, "a strip of neighboring parameters per thread", supports_adam2, adam2<STORAGE>);

}  // namespace pycnn
