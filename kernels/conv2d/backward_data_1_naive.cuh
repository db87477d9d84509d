/*
conv2d backward_data (dgrad), version 1: one thread per input element.

Math      dx[n,h,w,c] = bias[c] + sum over r,s,k of dy[n,p,q,k] * weight[k,r,s,c],
          over those taps for which p = (h+pad-r*dilation)/stride and q = (w+pad-s*dilation)/stride are whole and inside y
Memory    dy: N,P,Q,K   weight: K,R,S,C/groups   dx: N,H,W,C    (rightmost index contiguous, dy and dx with a pitch)
Threads   one dx element each, c fastest: a warp shares its dy reads and reads 32 neighbouring weights.
          It gathers what the forward pass scattered from its pixel, so no two threads write the same place
Limit     no reuse; with stride 2 three of four taps are tried in vain
Next      backward_data_2_im2col.cuh makes one matrix product of it
Storage   float half bfloat16 double
*/
#pragma once
#include "conv2d.h"

namespace pycnn {

template <class T>
__global__ void conv2d_backward_data_kernel1(const T* dy, int64_t dy_pitch, const T* weight, const T* bias, T* dx,
                                             int64_t dx_pitch, ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.H * sh.W * sh.C) return;
  const int64_t c = i % sh.C, w = i / sh.C % sh.W, h = i / (sh.C * sh.W) % sh.H, n = i / (sh.C * sh.W * sh.H);
  const int64_t C = sh.group_C(), K = sh.group_K(), first_k = c / C * K;

  A sum = 0;
  for (int64_t r = 0; r < sh.R; r++) {
    const int64_t p_stride = h + sh.pad_h - r * sh.dilation_h;  // p times the stride
    if (p_stride < 0 || p_stride % sh.stride_h || p_stride / sh.stride_h >= sh.P) continue;
    for (int64_t s = 0; s < sh.S; s++) {
      const int64_t q_stride = w + sh.pad_w - s * sh.dilation_w;
      if (q_stride < 0 || q_stride % sh.stride_w || q_stride / sh.stride_w >= sh.Q) continue;
      const int64_t p = p_stride / sh.stride_h, q = q_stride / sh.stride_w;
      const T* dy_pixel = dy + ((n * sh.P + p) * sh.Q + q) * dy_pitch + first_k;
      const T* tap = weight + ((first_k * sh.R + r) * sh.S + s) * C + c % C;
      for (int64_t k = 0; k < K; k++) sum += A(dy_pixel[k]) * A(tap[k * sh.R * sh.S * C]);
    }
  }
  if (bias) sum += A(bias[c]);
  T& out = dx[i / sh.C * dx_pitch + c];
  out = T(sh.accumulate ? A(out) + sum : sum);
}

template <class T>
void conv2d_backward_data1(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 256;
  launch<conv2d_backward_data_kernel1<T>>({grid_size(ceil_div(sh.N * sh.H * sh.W * sh.C, block)), block}, dy.as<const T>(),
                                          dy.pitch, weight.as<const T>(), bias.as<const T>(), dx.as<T>(), dx.pitch, sh);
}

REGISTER_VERSION(Conv2dBackwardData, naive, 1, "one thread per input element", supports_all<ConvShape>,
                 conv2d_backward_data1<STORAGE>);

}  // namespace pycnn
