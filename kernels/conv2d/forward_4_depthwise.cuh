/*
conv2d forward, version 4: depthwise, as 1 without the loop over channels.

Math      y[n,p,q,k] = bias[k] + sum over r,s of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[k,r,s]
          with the one channel c = k / (K/C) that filter k sees
Memory    x: N,H,W,C   weight: K,R,S   y: N,P,Q,K    (rightmost index contiguous, x and y with a pitch)
Threads   one y element each, k fastest: a warp reads 32 neighbouring channels of x
Limit     a GPU issues ten instructions a tap for one multiplication; weights are read R*S elements apart, again for each pixel
Next      forward_5_depthwise_strips.cuh
Storage   float half bfloat16 double
*/
#pragma once
#include "depthwise.h"

namespace pycnn {

template <class T>
__global__ void conv2d_forward_kernel4(const T* x, int64_t x_pitch, const T* weight, const T* bias, T* y, int64_t y_pitch,
                                       ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.P * sh.Q * sh.K) return;
  const int64_t k = i % sh.K, q = i / sh.K % sh.Q, p = i / (sh.K * sh.Q) % sh.P, n = i / (sh.K * sh.Q * sh.P);
  const T* channel = x + k / sh.group_K();
  const T* filter = weight + k * sh.R * sh.S;

  A sum = 0;
  for (int64_t r = 0; r < sh.R; r++) {
    const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h;
    if (h < 0 || h >= sh.H) continue;  // padding contributes zero
    for (int64_t s = 0; s < sh.S; s++) {
      const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
      if (w < 0 || w >= sh.W) continue;
      sum += A(channel[((n * sh.H + h) * sh.W + w) * x_pitch]) * A(filter[r * sh.S + s]);
    }
  }
  if (bias) sum += A(bias[k]);
  T& out = y[i / sh.K * y_pitch + k];
  out = T(sh.accumulate ? A(out) + sum : sum);
}

template <class T>
void conv2d_forward4(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 256;
  launch<conv2d_forward_kernel4<T>>({grid_size(ceil_div(sh.gemm_m() * sh.K, block)), block}, x.as<const T>(), x.pitch,
                                    weight.as<const T>(), bias.as<const T>(), y.as<T>(), y.pitch, sh);
}

REGISTER_VERSION(Conv2dForward, depthwise, 4, "one thread per output element, no sum over channels", supports_depthwise,
                 conv2d_forward4<STORAGE>);

}  // namespace pycnn
