// Declarations of maximum and average pooling.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

// x is N,H,W,C, the window R,S, y N,P,Q,C. P and Q are given, so that the last windows may reach past the input (ceil_mode).
struct PoolShape {
  int64_t N, H, W, C, R, S, P, Q;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int64_t accumulate;  // 1: a backward pass adds to what is there
  static constexpr const char* names = "N H W C R S P Q stride_h stride_w pad_h pad_w dilation_h dilation_w accumulate";

  __host__ __device__ int64_t inputs() const { return N * H * W * C; }
  __host__ __device__ int64_t outputs() const { return N * P * Q * C; }
};

struct AvgPoolShape : PoolShape {
  int64_t count_include_pad;  // 1: padding counts in the divisor
  int64_t divisor;            // of every window, 0: the number of positions it covers
  static constexpr const char* names =
      "N H W C R S P Q stride_h stride_w pad_h pad_w dilation_h dilation_w accumulate count_include_pad divisor";

  // What window (p, q) is divided by. Positions beyond the padding, which ceil_mode adds, never count.
  __host__ __device__ int64_t divisor_of(int64_t p, int64_t q) const {
    if (divisor) return divisor;
    int64_t h0 = p * stride_h - pad_h, w0 = q * stride_w - pad_w;
    int64_t h1 = h0 + R < H + pad_h ? h0 + R : H + pad_h, w1 = w0 + S < W + pad_w ? w0 + S : W + pad_w;
    if (count_include_pad) return (h1 - h0) * (w1 - w0);
    return ((h1 < H ? h1 : H) - (h0 > 0 ? h0 : 0)) * ((w1 < W ? w1 : W) - (w0 > 0 ? w0 : 0));
  }
};

// The first of a window's taps start, start+dilation, ... that is not in the padding before the input.
template <class Int>
__host__ __device__ Int first_tap(Int start, Int dilation) {
  return start < 0 ? (dilation - 1 - start) / dilation : 0;
}

// The windows along one axis that reach over input position i: begin <= p < end. With dilation they may still step over it.
template <class Int> struct Windows {
  Int begin, end;
};
template <class Int>
__host__ __device__ Windows<Int> windows_over(Int i, Int taps, Int stride, Int pad, Int dilation, Int count) {
  const Int before = i + pad - (taps - 1) * dilation, last = (i + pad) / stride;
  return {before > 0 ? (before + stride - 1) / stride : 0, last < count ? last + 1 : count};
}

// y = the maximum of each window (NaN wins); argmax = the tap r*S+s it came from: the first of equals, the last NaN.
// x: N,H,W,C  y: N,P,Q,C  argmax: N,P,Q,C of uint8, or none. Storage f32 f16 bf16 (f64 on the CPU); R*S <= 256.
struct MaxPool2dForward {
  static constexpr const char* name = "max_pool2d_forward";
  using Problem = PoolShape;
  static Signature signature(const PoolShape& sh, DType t);
  static void check(const PoolShape& sh);
  static Preference prefer(const PoolShape& sh, const Request& request);
};

// dx[i] = the sum of dy over the windows whose maximum came from i.  dy: N,P,Q,C  argmax: N,P,Q,C  dx: N,H,W,C.
struct MaxPool2dBackward {
  static constexpr const char* name = "max_pool2d_backward";
  using Problem = PoolShape;
  static Signature signature(const PoolShape& sh, DType t);
  static void check(const PoolShape& sh);
  static Preference prefer(const PoolShape& sh, const Request& request);
};

// indices[n,p,q,c] = h*W+w of the maximum, -1 for a window that has no tap inside the input. argmax: uint8  indices: int64.
struct MaxPool2dIndices {
  static constexpr const char* name = "max_pool2d_indices";
  using Problem = PoolShape;
  static Signature signature(const PoolShape& sh, DType t);
  static void check(const PoolShape& sh);
  static Preference prefer(const PoolShape& sh, const Request& request);
};

// y = the sum of each window / its divisor, summed in fp32 (fp64).  x: N,H,W,C  y: N,P,Q,C. dilation is 1.
struct AvgPool2dForward {
  static constexpr const char* name = "avg_pool2d_forward";
  using Problem = AvgPoolShape;
  static Signature signature(const AvgPoolShape& sh, DType t);
  static void check(const AvgPoolShape& sh);
  static Preference prefer(const AvgPoolShape& sh, const Request& request);
};

// dx[i] = the sum of dy / divisor over the windows that cover i.  dy: N,P,Q,C  dx: N,H,W,C.
struct AvgPool2dBackward {
  static constexpr const char* name = "avg_pool2d_backward";
  using Problem = AvgPoolShape;
  static Signature signature(const AvgPoolShape& sh, DType t);
  static void check(const AvgPoolShape& sh);
  static Preference prefer(const AvgPoolShape& sh, const Request& request);
};

}  // namespace pycnn
