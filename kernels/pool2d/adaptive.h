// Declarations of adaptive pooling and of max_unpool2d.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

// x is N,H,W,C, y N,P,Q,C, of any sizes: window p covers the rows floor(p*H/P) <= h < ceil((p+1)*H/P), q likewise.
struct AdaptivePoolShape {
  int64_t N, H, W, C, P, Q;
  int64_t accumulate;  // 1: a backward pass adds to what is there
  static constexpr const char* names = "N H W C P Q accumulate";

  __host__ __device__ int64_t inputs() const { return N * H * W * C; }
  __host__ __device__ int64_t outputs() const { return N * P * Q * C; }
};

struct Span {
  int64_t begin, end;
  __host__ __device__ int64_t size() const { return end - begin; }
};

// When `parts` parts are laid over `whole` positions: the positions that part i covers. The other way round, share(h, H, P) are the
// windows that cover row h.
__host__ __device__ __forceinline__ Span share(int64_t i, int64_t parts, int64_t whole) {
  return {i * whole / parts, ((i + 1) * whole + parts - 1) / parts};
}

// y = the mean of each window, summed in fp32 (fp64) row by row of the window.  x: N,H,W,C  y: N,P,Q,C. Storage f32 f16 bf16
// (f64 on the CPU).
struct AdaptiveAvgPool2dForward {
  static constexpr const char* name = "adaptive_avg_pool2d_forward";
  using Problem = AdaptivePoolShape;
  static Signature signature(const AdaptivePoolShape& sh, DType t);
  static void check(const AdaptivePoolShape& sh);
  static Preference prefer(const AdaptivePoolShape& sh, const Request& request);
};

// dx[h,w] = the sum over the windows that cover h,w of dy / their size.  dy: N,P,Q,C  dx: N,H,W,C.
struct AdaptiveAvgPool2dBackward {
  static constexpr const char* name = "adaptive_avg_pool2d_backward";
  using Problem = AdaptivePoolShape;
  static Signature signature(const AdaptivePoolShape& sh, DType t);
  static void check(const AdaptivePoolShape& sh);
  static Preference prefer(const AdaptivePoolShape& sh, const Request& request);
};

// y = the maximum of each window (NaN wins); indices = h*W+w of where it is: the first of equals, the last NaN.
// x: N,H,W,C  y: N,P,Q,C  indices: N,P,Q,C of int64, or none. H*W < 2^31.
struct AdaptiveMaxPool2dForward {
  static constexpr const char* name = "adaptive_max_pool2d_forward";
  using Problem = AdaptivePoolShape;
  static Signature signature(const AdaptivePoolShape& sh, DType t);
  static void check(const AdaptivePoolShape& sh);
  static Preference prefer(const AdaptivePoolShape& sh, const Request& request);
};

// dx[h,w] = the sum of dy over the windows whose maximum came from h,w.  dy, indices: N,P,Q,C  dx: N,H,W,C.
struct AdaptiveMaxPool2dBackward {
  static constexpr const char* name = "adaptive_max_pool2d_backward";
  using Problem = AdaptivePoolShape;
  static Signature signature(const AdaptivePoolShape& sh, DType t);
  static void check(const AdaptivePoolShape& sh);
  static Preference prefer(const AdaptivePoolShape& sh, const Request& request);
};

// x is N,P,Q,C, y N,H,W,C.
struct UnpoolShape {
  int64_t N, P, Q, C, H, W;
  int64_t accumulate;  // 1: the backward pass adds to what is there
  static constexpr const char* names = "N P Q C H W accumulate";
};

// y[n,h,w,c] = x[n,p,q,c] where indices[n,p,q,c] = h*W+w, 0 where there is none; of several the last in the order p, q. An index
// outside of 0 <= index < H*W is passed over: the caller has refused it.  x, indices: N,P,Q,C  y: N,H,W,C. indices are int64.
struct MaxUnpool2dForward {
  static constexpr const char* name = "max_unpool2d_forward";
  using Problem = UnpoolShape;
  static Signature signature(const UnpoolShape& sh, DType t);
  static void check(const UnpoolShape& sh);
  static Preference prefer(const UnpoolShape& sh, const Request& request);
};

// dx[n,p,q,c] = dy[n,h,w,c] with h*W+w = indices[n,p,q,c].  dy: N,H,W,C  indices, dx: N,P,Q,C.
struct MaxUnpool2dBackward {
  static constexpr const char* name = "max_unpool2d_backward";
  using Problem = UnpoolShape;
  static Signature signature(const UnpoolShape& sh, DType t);
  static void check(const UnpoolShape& sh);
  static Preference prefer(const UnpoolShape& sh, const Request& request);
};

}  // namespace pycnn
