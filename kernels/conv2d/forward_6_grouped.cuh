/*
conv2d forward, version 6: groups of few channels, one filter of a group and several pixels a thread.

Math      y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c0+c] * weight[k,r,s,c]
          over the channels c of the group of filter k, which starts at channel c0
Memory    x: N,H,W,C   y: N,P,Q,K    (x and y with a pitch)   weight: K,R,S,C/groups
Threads   one k of 4 outputs next to each other, k fastest: a warp covers the filters of several groups, whose channels lie
          side by side as they do in x, so it reads a stretch of x of its own length and every weight once for 4 pixels
Limit     4 products for 5 loads, which L1 serves: with 16 channels a group and more, a matrix product reuses more
Next      -
Storage   float half bfloat16 double
*/
#include "grouped.h"

namespace pycnn {

template <class T>
__global__ void conv2d_forward_kernel6(const T* x, int64_t x_pitch, const T* weight, const T* bias, T* y, int64_t y_pitch,
                                       ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, runs = ceil_div(sh.Q, kRun);
  if (i >= sh.N * sh.P * runs * sh.K) return;
  const int64_t k = i % sh.K, q = i / sh.K % runs * kRun, line = i / (sh.K * runs);
  const int C = int(sh.group_C()), stride = int(sh.stride_w), dilation = int(sh.dilation_w), W = int(sh.W);
  const int h0 = int(line % sh.P * sh.stride_h - sh.pad_h), w0 = int(q * sh.stride_w - sh.pad_w);
  x += line / sh.P * sh.H * sh.W * x_pitch + k / sh.group_K() * C;
  weight += k * sh.gemm_k();

  A sum[kRun] = {};
  for (int r = 0; r < sh.R; r++) {
    const int h = h0 + r * int(sh.dilation_h);
    if (h < 0 || h >= sh.H) continue;  // padding contributes zero
    for (int s = 0; s < sh.S; s++) {
      const int w = w0 + s * dilation;
      const T* pixel = x + (int64_t(h) * W + w) * x_pitch;
      const T* tap = weight + (r * sh.S + s) * C;
      bool inside[kRun];
      UNROLLED for (int j = 0; j < kRun; j++) inside[j] = q + j < sh.Q && w + j * stride >= 0 && w + j * stride < W;
      for (int c = 0; c < C; c++) {
        const A factor = A(tap[c]);
        UNROLLED for (int j = 0; j < kRun; j++) {
          if (inside[j]) sum[j] += A(pixel[j * stride * x_pitch + c]) * factor;
        }
      }
    }
  }
  UNROLLED for (int j = 0; j < kRun; j++) {
    if (q + j >= sh.Q) break;
    if (bias) sum[j] += A(bias[k]);
    T& out = y[(line * sh.Q + q + j) * y_pitch + k];
    out = T(sh.accumulate ? A(out) + sum[j] : sum[j]);
  }
}

template <class T>
void conv2d_forward6(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 128;
  launch<conv2d_forward_kernel6<T>>({grid_size(ceil_div(sh.N * sh.P * ceil_div(sh.Q, kRun) * sh.K, block)), block},
                                    x.as<const T>(), x.pitch, weight.as<const T>(), bias.as<const T>(), y.as<T>(), y.pitch, sh);
}

REGISTER_VERSION(Conv2dForward, grouped, 6, "one filter of a group and 4 pixels a thread", supports_grouped,
                 conv2d_forward6<STORAGE>);

}  // namespace pycnn
