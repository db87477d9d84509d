// The geometry of a convolution, in the field's letters: x is N,H,W,C, the filters K,R,S,C/groups, y N,P,Q,K.
#pragma once
#include "launch.h"

namespace pycnn {

// P and Q are given, not computed: padding at the bottom and right is whatever they imply, so 'same' padding and the
// backward pass of a strided convolution need no fields of their own.
struct ConvShape {
  int64_t N, H, W, C, K, R, S, P, Q;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  int64_t accumulate;  // 1: the result is added to what is there
  static constexpr const char* names = "N H W C K R S P Q stride_h stride_w pad_h pad_w dilation_h dilation_w groups accumulate";

  // A filter sees the channels of its group only.
  __host__ __device__ int64_t group_C() const { return C / groups; }
  __host__ __device__ int64_t group_K() const { return K / groups; }

  // The convolution of one group as a matrix product:
  // y[gemm_m, gemm_n] = im2col(x)[gemm_m, gemm_k] * weight[gemm_n, gemm_k]^T.
  __host__ __device__ int64_t gemm_m() const { return N * P * Q; }
  __host__ __device__ int64_t gemm_n() const { return group_K(); }
  __host__ __device__ int64_t gemm_k() const { return R * S * group_C(); }
};

}  // namespace pycnn
