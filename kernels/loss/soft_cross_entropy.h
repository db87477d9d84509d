// Declarations of cross entropy with class probabilities.
#pragma once
#include "../common/functions.h"
#include "loss.h"

namespace pycnn {

struct SoftCrossEntropyShape {
  int64_t rows, classes;
  double label_smoothing;  // s: this part of the probabilities is spread evenly over the classes
  static constexpr const char* names = "rows classes .label_smoothing";
};

// Of each row: its loss, the sum over c of m[c] (L - x[c]) with m[c] = w[c] ((1 - s) t[c] + s / classes) and L = log of the sum over
// c of exp(x[c]); L in two parts (LogSum); and the sum of m. Logits and target (t) f32 f16 bf16 (f64 on the CPU); everything else in the accumulator type.
struct SoftCrossEntropyForward {
  static constexpr const char* name = "soft_cross_entropy_forward";
  using Problem = SoftCrossEntropyShape;
  static Signature signature(const SoftCrossEntropyShape& p, DType t);
  static void check(const SoftCrossEntropyShape& p);
  static Preference prefer(const SoftCrossEntropyShape& p, const Request& request);
};

struct SoftCrossEntropyBackwardShape {
  int64_t rows, classes, accumulate, accumulate_target;
  int64_t rowwise;  // dloss has `rows` elements, else 1
  double label_smoothing, divisor;
  static constexpr const char* names = "rows classes accumulate accumulate_target rowwise .label_smoothing .divisor";
};

// dlogits[n,c] = g (P[c] * mass[n] - m[c]) and dtarget[n,c] = g (1 - s) w[c] (L - x[c]) with P[c] = exp(x[c] - L) and
// g = dloss / divisor; either may be left out. mass is the forward pass's sum of m.
struct SoftCrossEntropyBackward {
  static constexpr const char* name = "soft_cross_entropy_backward";
  using Problem = SoftCrossEntropyBackwardShape;
  static Signature signature(const SoftCrossEntropyBackwardShape& p, DType t);
  static void check(const SoftCrossEntropyBackwardShape& p);
  static Preference prefer(const SoftCrossEntropyBackwardShape& p, const Request& request);
};

// The part of class c in a row's loss.
template <class A>
__device__ __forceinline__ A soft_label(A target, A weight, A smoothing, int64_t classes) {
  return weight * ((A(1) - smoothing) * target + smoothing / A(classes));
}

}  // namespace pycnn
