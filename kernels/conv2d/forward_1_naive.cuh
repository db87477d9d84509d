/*
conv2d forward (fprop), version 1: one thread per output element.

Math      y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[k,r,s,c]
Memory    x: N,H,W,C   weight: K,R,S,C/groups   y: N,P,Q,K    (rightmost index contiguous, x and y with a pitch)
Threads   one y element each, k fastest: a warp shares its x reads and spreads over 32 filters
Limit     every weight is read again for every pixel and every pixel again for every filter: nothing is reused
Next      forward_2_im2col.cuh makes one matrix product of it
Storage   float half bfloat16 double
*/
#pragma once
#include "conv2d.h"

namespace pycnn {

template <class T>
__global__ void conv2d_forward_kernel1(const T* x, int64_t x_pitch, const T* weight, const T* bias, T* y, int64_t y_pitch,
                                       ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.P * sh.Q * sh.K) return;
  const int64_t k = i % sh.K, q = i / sh.K % sh.Q, p = i / (sh.K * sh.Q) % sh.P, n = i / (sh.K * sh.Q * sh.P);
  const int64_t C = sh.group_C(), first_c = k / sh.group_K() * C;

  A sum = 0;
  for (int64_t r = 0; r < sh.R; r++) {
    for (int64_t s = 0; s < sh.S; s++) {
      const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h;
      const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
      if (h < 0 || h >= sh.H || w < 0 || w >= sh.W) continue;  // padding contributes zero
      const T* x_pixel = x + ((n * sh.H + h) * sh.W + w) * x_pitch + first_c;
      const T* filter = weight + ((k * sh.R + r) * sh.S + s) * C;
      for (int64_t c = 0; c < C; c++) sum += A(x_pixel[c]) * A(filter[c]);
    }
  }
  if (bias) sum += A(bias[k]);
  T& out = y[i / sh.K * y_pitch + k];
  out = T(sh.accumulate ? A(out) + sum : sum);
}

template <class T>
void conv2d_forward1(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 256;
  launch<conv2d_forward_kernel1<T>>({grid_size(ceil_div(sh.gemm_m() * sh.K, block)), block}, x.as<const T>(), x.pitch,
                                    weight.as<const T>(), bias.as<const T>(), y.as<T>(), y.pitch, sh);
}

REGISTER_VERSION(Conv2dForward, naive, 1, "one thread per output element", supports_all<ConvShape>, conv2d_forward1<STORAGE>);

}  // namespace pycnn
