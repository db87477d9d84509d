// Declarations of local response normalization over channels (Krizhevsky et al. 2012, section 3.3).
#pragma once
#include "../common/functions.h"
#include "../common/plan.h"

namespace pycnn {

struct LocalResponseNormShape {
  int64_t rows, C;
  int64_t size;        // channels of a window: size/2 before c, (size-1)/2 after it
  int64_t accumulate;  // backward: 1 adds to what is in dx
  double alpha;        // factor of every square
  double beta, k;
  static constexpr const char* names = "rows C size accumulate .alpha .beta .k";
};

// s^-beta. kThreeQuarters: beta is 0.75, as everywhere: two square roots, at most 2.5 ulp off, instead of a power.
template <bool kThreeQuarters, class A>
__host__ __device__ __forceinline__ A inverse_power(A s, double beta) {
  if constexpr (kThreeQuarters) {
    const A root = math::sqrt(s);
    return A(1) / (root * math::sqrt(root));
  } else {
    return math::pow(s, A(-beta));
  }
}

// y[c] = x[c] * s[c]^-beta,  s[c] = k + alpha * sum of x[i]^2 over c - size/2 <= i <= c + (size-1)/2, 0 <= i < C.
// x, y: rows,C. Storage f32 f16 bf16 (f64 on the CPU), computed in fp32 (f64); 64-bit indices.
struct LocalResponseNormForward {
  static constexpr const char* name = "local_response_norm_forward";
  using Problem = LocalResponseNormShape;
  static Signature signature(const LocalResponseNormShape& p, DType t);
  static void check(const LocalResponseNormShape& p);
  static Preference prefer(const LocalResponseNormShape&, const Request&) { return {"row", "plain"}; }
};

// dx[c] = dy[c] s[c]^-beta - 2 alpha beta x[c] * sum of dy[i] x[i] s[i]^(-beta-1) over c - (size-1)/2 <= i <= c + size/2: the windows
// that x[c] is in.  dy, x, dx: rows,C.
struct LocalResponseNormBackward {
  static constexpr const char* name = "local_response_norm_backward";
  using Problem = LocalResponseNormShape;
  static Signature signature(const LocalResponseNormShape& p, DType t);
  static void check(const LocalResponseNormShape& p) { LocalResponseNormForward::check(p); }
  static Preference prefer(const LocalResponseNormShape&, const Request&) { return {"row", "plain"}; }
};

}  // namespace pycnn
