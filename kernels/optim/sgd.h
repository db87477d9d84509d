// The update of one parameter, shared by the versions of the SGD step.
#pragma once
#include "../common/launch.h"
#include "optim.h"

namespace pycnn {

template <class A>
struct SgdStep {
  A lr, momentum, keep, weight_decay;
  bool first, nesterov;

  __device__ __forceinline__ SgdStep(const SgdShape& sh, const double* state)
      : lr(A(state[kLearningRate])), momentum(A(sh.momentum)), keep(A(1 - sh.dampening)), weight_decay(A(sh.weight_decay)),
        first(state[kStep] == 0), nesterov(sh.nesterov != 0) {}

  // `buffer` is the momentum's; it is left alone if the step has none.
  __device__ __forceinline__ void update(A& param, A grad, A& buffer, bool has_buffer) const {
    A g = grad + weight_decay * param;
    if (has_buffer) {
      buffer = first ? g : momentum * buffer + keep * g;
      g = nesterov ? g + momentum * buffer : buffer;
    }
    param -= lr * g;
  }
};

inline void check_sgd(const SgdShape& sh, const Array& buffer) {
  if (sh.momentum != 0 && !buffer) throw ShapeError("sgd: momentum needs argument 'buffer'");
}

}  // namespace pycnn
