/*
SGD step, version 1: one thread per parameter.

Math      g = grad + weight_decay * param   buffer = first step ? g : momentum * buffer + (1 - dampening) * g
          param -= lr * (nesterov ? g + momentum * buffer : buffer)
Memory    param, grad, buffer: flat; lr and the step's number are read from the state on the device
Threads   one parameter each
Limit     one 4-byte access a thread keeps too few bytes in flight to fill the memory system
Next      sgd_2_vectorized.cuh moves 16 bytes an access
Storage   float half bfloat16 double
*/
#include "sgd.h"

namespace pycnn {

template <class T>
__global__ void sgd_kernel1(T* param, const T* grad, T* buffer, const double* state, SgdShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.n) return;
  const SgdStep<A> step(sh, state);
  A value = A(param[i]), momentum = buffer && !step.first ? A(buffer[i]) : A(0);
  step.update(value, A(grad[i]), momentum, buffer != nullptr);
  param[i] = T(value);
  if (buffer) buffer[i] = T(momentum);
}

template <class T>
void sgd1(const Plan& plan, Array param, Array grad, Array buffer, Array state) {
  const auto& sh = plan.problem<SgdShape>();
  check_sgd(sh, buffer);
  launch<sgd_kernel1<T>>({grid_size(ceil_div(sh.n, 256)), 256}, param.as<T>(), grad.as<const T>(), buffer.as<T>(),
                         state.as<const double>(), sh);
}

template <class T>
__global__ void advance_step_kernel1(double* state) {
  state[kStep] += 1;
}

template <class T>
void advance_step1(const Plan&, Array state) {
  launch<advance_step_kernel1<T>>({1, 1}, state.as<double>());
}

REGISTER_VERSION(Sgd, plain, 1, "one thread per parameter", supports_all<SgdShape>, sgd1<STORAGE>);
REGISTER_VERSION(AdvanceStep, plain, 1, "one thread", supports_all<AdvanceShape>, advance_step1<STORAGE>);

}  // namespace pycnn
