// Declarations of softmax and its logarithm.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

struct SoftmaxShape {
  int64_t rows, classes;
  int64_t log;         // 1: the logarithm of the softmax
  int64_t accumulate;  // gradient: 1: dx += ..., 0: dx = ...
  static constexpr const char* names = "rows classes log accumulate";
};

// y[n,c] = exp(x[n,c]) / sum over c of exp(x[n,c]), or its logarithm. Storage f32 f16 bf16 (f64 on the CPU), computed in fp32
// (f64); 64-bit indices.
struct SoftmaxForward {
  static constexpr const char* name = "softmax_forward";
  using Problem = SoftmaxShape;
  static Signature signature(const SoftmaxShape& p, DType t) {
    return {flat_in("x", t, p.rows * p.classes), flat_out("y", t, p.rows * p.classes)};
  }
  static void check(const SoftmaxShape& p);
  static Preference prefer(const SoftmaxShape& p, const Request& request);
};

// dx[n,c] = y[n,c] * (dy[n,c] - sum over c of dy[n,c] y[n,c]); for the logarithm dx = dy - exp(y) * sum over c of dy.
struct SoftmaxBackward {
  static constexpr const char* name = "softmax_backward";
  using Problem = SoftmaxShape;
  static Signature signature(const SoftmaxShape& p, DType t) {
    const int64_t n = p.rows * p.classes;
    return {flat_in("dy", t, n), flat_in("y", t, n), flat_out("dx", t, n)};
  }
  static void check(const SoftmaxShape& p) { SoftmaxForward::check(p); }
  static Preference prefer(const SoftmaxShape& p, const Request& request) { return SoftmaxForward::prefer(p, request); }
};

}  // namespace pycnn
