/*
conv2d backward_data (dgrad), version 4: depthwise, as 1 without the loop over all filters.

Math      dx[n,h,w,c] = bias[c] + sum over r,s of dy[n,p,q,k] * weight[k,r,s],
          p = (h+pad-r*dilation)/stride, q likewise, and over the filters k of channel c, which is one where K = C
Memory    dy: N,P,Q,K   weight: K,R,S   dx: N,H,W,C    (rightmost index contiguous, dy and dx with a pitch)
Threads   one dx element each, c fastest: a warp reads 32 neighbouring channels of dy. The loops run over the outputs p, q
          whose window reaches the pixel, so that under a stride no tap is tried in vain
Limit     a GPU issues ten instructions a tap for one multiplication; weights are read R*S elements apart, again for each pixel
Next      backward_data_5_depthwise_strips.cuh
Storage   float half bfloat16 double
*/
#pragma once
#include "depthwise.h"

namespace pycnn {

template <class T>
__global__ void conv2d_backward_data_kernel4(const T* dy, int64_t dy_pitch, const T* weight, const T* bias, T* dx,
                                             int64_t dx_pitch, ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.H * sh.W * sh.C) return;
  const int64_t c = i % sh.C, w = i / sh.C % sh.W, h = i / (sh.C * sh.W) % sh.H, n = i / (sh.C * sh.W * sh.H);
  const int64_t filters = sh.group_K();
  const Outputs over_h(h + sh.pad_h, sh.R, sh.stride_h, sh.dilation_h, sh.P);
  const Outputs over_w(w + sh.pad_w, sh.S, sh.stride_w, sh.dilation_w, sh.Q);

  A sum = bias ? A(bias[c]) : A(0);
  for (int64_t p = over_h.begin; p < over_h.end; p++) {
    const int64_t r = (h + sh.pad_h - p * sh.stride_h) / sh.dilation_h;
    if (r * sh.dilation_h != h + sh.pad_h - p * sh.stride_h) continue;  // between two taps
    for (int64_t q = over_w.begin; q < over_w.end; q++) {
      const int64_t s = (w + sh.pad_w - q * sh.stride_w) / sh.dilation_w;
      if (s * sh.dilation_w != w + sh.pad_w - q * sh.stride_w) continue;
      const T* gradient = dy + ((n * sh.P + p) * sh.Q + q) * dy_pitch;
      for (int64_t k = c * filters; k < (c + 1) * filters; k++) sum += A(gradient[k]) * A(weight[(k * sh.R + r) * sh.S + s]);
    }
  }
  T& out = dx[i / sh.C * dx_pitch + c];
  out = T(sh.accumulate ? A(out) + sum : sum);
}

template <class T>
void conv2d_backward_data4(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 256;
  launch<conv2d_backward_data_kernel4<T>>({grid_size(ceil_div(sh.N * sh.H * sh.W * sh.C, block)), block}, dy.as<const T>(),
                                          dy.pitch, weight.as<const T>(), bias.as<const T>(), dx.as<T>(), dx.pitch, sh);
}

REGISTER_VERSION(Conv2dBackwardData, depthwise, 4, "one thread per input element, no sum over all filters", supports_depthwise,
                 conv2d_backward_data4<STORAGE>);

}  // namespace pycnn
