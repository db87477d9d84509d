/*
Adam step, version 1: one thread per parameter.

Math      g = grad + weight_decay * param (decoupled: param *= 1 - lr * weight_decay, g = grad)
          mean += (1 - beta1) * (g - mean)   square = beta2 * square + (1 - beta2) * g * g
          param -= lr / (1 - beta1^t) * mean / (sqrt(square) / sqrt(1 - beta2^t) + eps)
Memory    param, grad, mean, square: flat; lr and the two corrections are read from the state on the device
Threads   one parameter each
Limit     one 4-byte access a thread keeps too few bytes in flight to fill the memory system
Next      adam_2_vectorized.cuh moves 16 bytes an access
Storage   float half bfloat16 double
*/
#include "adam.h"

namespace pycnn {

template <class T>
__global__ void adam_kernel1(T* param, const T* grad, Accumulator<T>* mean, Accumulator<T>* square, const double* state,
                             AdamShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.n) return;
  A value = A(param[i]);
  AdamStep<A>(sh, state).update(value, A(grad[i]), mean[i], square[i]);
  param[i] = T(value);
}

template <class T>
void adam1(const Plan& plan, Array param, Array grad, Array mean, Array square, Array state) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<AdamShape>();
  launch<adam_kernel1<T>>({grid_size(ceil_div(sh.n, 256)), 256}, param.as<T>(), grad.as<const T>(), mean.as<A>(), square.as<A>(),
                          state.as<const double>(), sh);
}

template <class T>
__global__ void adam_corrections_kernel1(double* state, CorrectionsShape sh) {
  const double t = state[kStep] + 1;
  state[kMeanCorrection] = 1 - pow(sh.beta1, t);
  state[kSquareCorrection] = math::sqrt(1 - pow(sh.beta2, t));
}

template <class T>
void adam_corrections1(const Plan& plan, Array state) {
  launch<adam_corrections_kernel1<T>>({1, 1}, state.as<double>(), plan.problem<CorrectionsShape>());
}

REGISTER_VERSION(Adam, plain, 1, "one thread per parameter", supports_all<AdamShape>, adam1<STORAGE>);
REGISTER_VERSION(AdamCorrections, plain, 1, "one thread", supports_all<CorrectionsShape>, adam_corrections1<STORAGE>);

}  // namespace pycnn
