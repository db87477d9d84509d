// Losses that compare two arrays element by element, three lines each: the term of an input x and a target t, and what it grows by
// with either. `beta` is the loss's own number; p multiplies the cost of t = 1.
#pragma once
#include "../common/functions.h"
#include "../common/plan.h"

namespace pycnn {

template <class... F> struct LossList {};

#define LOSS_TERM(...) template <class A> __device__ __forceinline__ static A term(__VA_ARGS__)
#define LOSS_BY_INPUT(...) template <class A> __device__ __forceinline__ static A by_input(__VA_ARGS__)
#define LOSS_BY_TARGET(...) template <class A> __device__ __forceinline__ static A by_target(__VA_ARGS__)

// log(1 + e^-x), from e^-|x|, which does not overflow; the series keeps what 1 + e would round away.
template <class A>
__device__ __forceinline__ A softplus_of_minus(A x) {
  const A e = math::exp(x < A(0) ? x : -x);
  return math::log1p(e) + (x < A(0) ? -x : A(0));
}

// clang-format off
struct MseLoss {
  static constexpr const char *forward = "mse_loss_forward", *backward = "mse_loss_backward";
  LOSS_TERM(A x, A t, A, A) { return (x - t) * (x - t); }
  LOSS_BY_INPUT(A x, A t, A, A) { return A(2) * (x - t); }
  LOSS_BY_TARGET(A x, A t, A, A) { return A(2) * (t - x); }
};
struct L1Loss {
  static constexpr const char *forward = "l1_loss_forward", *backward = "l1_loss_backward";
  LOSS_TERM(A x, A t, A, A) { return x < t ? t - x : x - t; }
  LOSS_BY_INPUT(A x, A t, A, A) { return x < t ? A(-1) : x > t ? A(1) : A(0); }
  LOSS_BY_TARGET(A x, A t, A, A) { return x < t ? A(1) : x > t ? A(-1) : A(0); }
};
struct SmoothL1Loss {  // a parabola of curvature 1 / beta that meets |x - t| - beta / 2 at |x - t| = beta
  static constexpr const char *forward = "smooth_l1_loss_forward", *backward = "smooth_l1_loss_backward";
  LOSS_TERM(A x, A t, A, A beta) { const A d = x < t ? t - x : x - t; return d < beta ? A(0.5) * d * d / beta : d - A(0.5) * beta; }
  LOSS_BY_INPUT(A x, A t, A, A beta) { const A d = x - t; return d <= -beta ? A(-1) : d >= beta ? A(1) : d / beta; }
  LOSS_BY_TARGET(A x, A t, A p, A beta) { return -by_input<A>(x, t, p, beta); }
};
struct BceLoss {  // (1 - t) x + (1 + (p - 1) t) log(1 + e^-x) = -p t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x))
  static constexpr const char *forward = "bce_with_logits_forward", *backward = "bce_with_logits_backward";
  LOSS_TERM(A x, A t, A p, A) { return (A(1) - t) * x + (A(1) + (p - A(1)) * t) * softplus_of_minus(x); }
  LOSS_BY_INPUT(A x, A t, A p, A) { return (A(1) - t) - (A(1) + (p - A(1)) * t) * math::sigmoid(-x); }
  LOSS_BY_TARGET(A x, A, A p, A) { return (p - A(1)) * softplus_of_minus(x) - x; }
};
// clang-format on

using PointwiseLosses = LossList<MseLoss, L1Loss, SmoothL1Loss, BceLoss>;

struct PointwiseLossShape {
  int64_t n, parts;  // elements; sums that are made of them, n for one term each
  double beta;
  static constexpr const char* names = "n parts .beta";
};

// y[part] = the sum of weight * term(x, t) over every parts-th strip of elements; the strip is the version's. parts = n gives the
// terms themselves. x, target: n, storage f32 f16 bf16 (f64 on the CPU); y in the accumulator type, fp32 (f64), and so is the sum.
// weight, pos_weight (p): n, or none for 1.
template <class F>
struct PointwiseLossForward {
  static constexpr const char* name = F::forward;
  using Problem = PointwiseLossShape;
  static Signature signature(const PointwiseLossShape& p, DType t) {
    return {flat_in("input", t, p.n), flat_in("target", t, p.n), optional(flat_in("weight", t, p.n)),
            optional(flat_in("pos_weight", t, p.n)), flat_out("terms", accumulator_of(t), p.parts)};
  }
  static void check(const PointwiseLossShape& p) {
    if (p.n < 0 || p.parts < 0 || p.parts > p.n) throw ShapeError(std::string(name) + ": parts must be between 0 and n");
    if (!(p.beta >= 0)) throw ShapeError(std::string(name) + ": beta must not be negative");
  }
  static Preference prefer(const PointwiseLossShape&, const Request&) { return {"strips", "plain"}; }
};

struct PointwiseLossBackwardShape {
  int64_t n, each, by_target, accumulate;  // each: dloss has n elements, else 1; by_target: the gradient of the target
  double divisor, beta;                    // divisor: n for a mean, else 1
  static constexpr const char* names = "n each by_target accumulate .divisor .beta";
};

// d[i] = dloss / divisor * weight * (the derivative of term(x, t) by x, or t). dloss in the accumulator type, all others as above.
template <class F>
struct PointwiseLossBackward {
  static constexpr const char* name = F::backward;
  using Problem = PointwiseLossBackwardShape;
  static Signature signature(const PointwiseLossBackwardShape& p, DType t) {
    return {flat_in("dloss", accumulator_of(t), p.each ? p.n : 1),
            flat_in("input", t, p.n),
            flat_in("target", t, p.n),
            optional(flat_in("weight", t, p.n)),
            optional(flat_in("pos_weight", t, p.n)),
            flat_out("gradient", t, p.n)};
  }
  static void check(const PointwiseLossBackwardShape& p) {
    if (p.n < 0) throw ShapeError(std::string(name) + ": n must not be negative");
  }
  static Preference prefer(const PointwiseLossBackwardShape&, const Request&) { return {"strips", "plain"}; }
};

}  // namespace pycnn
