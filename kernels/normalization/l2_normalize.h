// Declarations of division by the Euclidean norm (ParseNet, Liu et al. 2015, section 3.2; SSD's L2Norm).
#pragma once
#include "../common/functions.h"
#include "../common/plan.h"

namespace pycnn {

struct L2NormalizeShape {
  int64_t rows, C;
  int64_t accumulate;  // backward: 1 adds to what is in dx
  double eps;          // the least divisor
  static constexpr const char* names = "rows C accumulate .eps";
};

// y = x / max(norm, eps),  norm = the square root of the sum of x^2 over the row. NaN passes.
// x, y: rows,C  norm: rows, in the accumulator type. Storage f32 f16 bf16 (f64 on the CPU), summed in fp32 (f64); 64-bit indices.
struct L2NormalizeForward {
  static constexpr const char* name = "l2_normalize_forward";
  using Problem = L2NormalizeShape;
  static Signature signature(const L2NormalizeShape& p, DType t);
  static void check(const L2NormalizeShape& p);
  static Preference prefer(const L2NormalizeShape& p, const Request& request);
};

// dx = (dy - u * sum of dy u over the row) / norm,  u = x / norm;  dx = dy / eps where norm < eps.  dy, x, dx: rows,C  norm: rows.
struct L2NormalizeBackward {
  static constexpr const char* name = "l2_normalize_backward";
  using Problem = L2NormalizeShape;
  static Signature signature(const L2NormalizeShape& p, DType t);
  static void check(const L2NormalizeShape& p) { L2NormalizeForward::check(p); }
  static Preference prefer(const L2NormalizeShape& p, const Request& request) { return L2NormalizeForward::prefer(p, request); }
};

// What a row is divided by.
template <class A>
__host__ __device__ __forceinline__ A divisor_of(A norm, double eps) {
  return norm < A(eps) ? A(eps) : norm;
}

}  // namespace pycnn
