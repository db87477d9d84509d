/*
conv2d backward_weight (wgrad), version 1: one thread per weight.

Math      dweight[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] * x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c]
Memory    dy: N,P,Q,K   x: N,H,W,C   dweight: K,R,S,C/groups in the accumulator type    (dy and x with a pitch)
Threads   one dweight element each, c fastest: a warp shares its dy reads and reads 32 neighbouring channels of x
Limit     few threads with long sums: a layer has fewer weights than a GPU has threads, each adds up N*P*Q products
Next      backward_weight_2_im2col.cuh makes one matrix product of it
Storage   float half bfloat16 double
*/
#pragma once
#include "conv2d.h"

namespace pycnn {

template <class T>
__global__ void conv2d_backward_weight_kernel1(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch,
                                               Accumulator<T>* dweight, ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t C = sh.group_C();
  if (i >= sh.K * sh.R * sh.S * C) return;
  const int64_t c = i % C, s = i / C % sh.S, r = i / (C * sh.S) % sh.R, k = i / (C * sh.S * sh.R);
  const int64_t x_channel = k / sh.group_K() * C + c;

  A sum = 0;
  for (int64_t n = 0; n < sh.N; n++) {
    for (int64_t p = 0; p < sh.P; p++) {
      const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h;
      if (h < 0 || h >= sh.H) continue;  // padding contributes zero
      for (int64_t q = 0; q < sh.Q; q++) {
        const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
        if (w < 0 || w >= sh.W) continue;
        sum += A(dy[((n * sh.P + p) * sh.Q + q) * dy_pitch + k]) * A(x[((n * sh.H + h) * sh.W + w) * x_pitch + x_channel]);
      }
    }
  }
  dweight[i] = sh.accumulate ? dweight[i] + sum : sum;
}

template <class T>
void conv2d_backward_weight1(const Plan& plan, Array dy, Array x, Array dweight) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 256;
  launch<conv2d_backward_weight_kernel1<T>>({grid_size(ceil_div(sh.K * sh.gemm_k(), block)), block}, dy.as<const T>(), dy.pitch,
                                            x.as<const T>(), x.pitch, dweight.as<Accumulator<T>>(), sh);
}

REGISTER_VERSION(Conv2dBackwardWeight, naive, 1, "one thread per weight", supports_all<ConvShape>,
                 conv2d_backward_weight1<STORAGE>);

}  // namespace pycnn
