// Declarations of the optimiser steps. They work on flat arrays: all parameters of a group in one launch.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

// What changes from step to step lives on the device, float64[8], so that a captured step can be replayed.
enum StateSlot { kLearningRate = 0, kStep = 1, kMeanCorrection = 2, kSquareCorrection = 3 };

struct SgdShape {
  int64_t n, nesterov;
  double momentum, dampening, weight_decay;
  static constexpr const char* names = "n nesterov .momentum .dampening .weight_decay";
};

// PyTorch's SGD, all arrays fp32 of n elements (fp64 with fp64):
//   g = grad + weight_decay * param;  buffer = step == 0 ? g : momentum * buffer + (1 - dampening) * g
//   g = nesterov ? g + momentum * buffer : buffer;  param -= lr * g        (without momentum: no buffer, param -= lr * g)
// param: n  grad: n  buffer: n, none if momentum is 0  state: 8
struct Sgd {
  static constexpr const char* name = "sgd";
  using Problem = SgdShape;
  static Signature signature(const SgdShape& p, DType t) {
    return {flat_out("param", t, p.n), flat_in("grad", t, p.n), optional(flat_out("buffer", t, p.n)),
            in("state", DType::f64, {8})};
  }
  static void check(const SgdShape& p) {
    if (p.n < 0) throw ShapeError("sgd: n must not be negative");
  }
  static Preference prefer(const SgdShape&, const Request&) { return {"vectorized", "plain"}; }
};

struct AdamShape {
  int64_t n, decoupled;
  double beta1, beta2, eps, weight_decay;
  static constexpr const char* names = "n decoupled .beta1 .beta2 .eps .weight_decay";
};

// PyTorch's Adam, and with `decoupled` AdamW; mean and square are fp32 beside 16-bit parameters (fp64 with fp64):
//   decoupled: param *= 1 - lr * weight_decay, g = grad; else g = grad + weight_decay * param
//   mean += (1 - beta1) * (g - mean);  square = beta2 * square + (1 - beta2) * g * g
//   param -= lr / (1 - beta1^t) * mean / (sqrt(square) / sqrt(1 - beta2^t) + eps)      (t: AdamCorrections)
// param: n  grad: n  mean: n  square: n  state: 8
struct Adam {
  static constexpr const char* name = "adam";
  using Problem = AdamShape;
  static Signature signature(const AdamShape& p, DType t) {
    const DType wide = accumulator_of(t);
    return {flat_out("param", t, p.n), flat_in("grad", t, p.n), flat_out("mean", wide, p.n), flat_out("square", wide, p.n),
            in("state", DType::f64, {8})};
  }
  static void check(const AdamShape& p) {
    if (p.n < 0) throw ShapeError("adam: n must not be negative");
  }
  static Preference prefer(const AdamShape&, const Request&) { return {"vectorized", "plain"}; }
};

struct CorrectionsShape {
  double beta1, beta2;
  static constexpr const char* names = ".beta1 .beta2";
};

// What the step that comes divides by, with t = state[kStep] + 1, so that no parameter computes a power:
// state[kMeanCorrection] = 1 - beta1^t, state[kSquareCorrection] = sqrt(1 - beta2^t).
struct AdamCorrections {
  static constexpr const char* name = "adam_corrections";
  using Problem = CorrectionsShape;
  static Signature signature(const CorrectionsShape&, DType) { return {out("state", DType::f64, {8})}; }
  static void check(const CorrectionsShape&) {}
  static Preference prefer(const CorrectionsShape&, const Request&) { return {"plain"}; }
};

struct AdvanceShape {
  int64_t unused;
  static constexpr const char* names = "unused";
};

// state[kStep] += 1, on the device.
struct AdvanceStep {
  static constexpr const char* name = "advance_step";
  using Problem = AdvanceShape;
  static Signature signature(const AdvanceShape&, DType) { return {out("state", DType::f64, {8})}; }
  static void check(const AdvanceShape&) {}
  static Preference prefer(const AdvanceShape&, const Request&) { return {"plain"}; }
};

}  // namespace pycnn
