// The update of one parameter, shared by the versions of the Adam step.
#pragma once
#include "../common/functions.h"
#include "optim.h"

namespace pycnn {

template <class A>
struct AdamStep {
  A decay, weight_decay, keep1, keep2, beta2, step_size, deviation_scale, eps;

  __device__ __forceinline__ AdamStep(const AdamShape& sh, const double* state)
      : decay(sh.decoupled ? A(1 - state[kLearningRate] * sh.weight_decay) : A(1)),
        weight_decay(sh.decoupled ? A(0) : A(sh.weight_decay)), keep1(A(1 - sh.beta1)), keep2(A(1 - sh.beta2)),
        beta2(A(sh.beta2)), step_size(A(state[kLearningRate] / state[kMeanCorrection])),
        deviation_scale(A(1 / state[kSquareCorrection])), eps(A(sh.eps)) {}

  __device__ __forceinline__ void update(A& param, A grad, A& mean, A& square) const {
    param *= decay;
    const A g = grad + weight_decay * param;
    mean += keep1 * (g - mean);
    square = beta2 * square + keep2 * g * g;
    param -= step_size * mean / (math::sqrt(square) * deviation_scale + eps);
  }
};

}  // namespace pycnn
