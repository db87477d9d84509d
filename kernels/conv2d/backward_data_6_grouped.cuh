/*
conv2d backward_data (dgrad), version 6: groups of few channels, one channel of a group and several pixels a thread.

Math      dx[n,h,w,c] = bias[c] + sum over r,s,k of dy[n,p,q,k] * weight[k,r,s,c],
          p = (h+pad-r*dilation)/stride, q likewise, over the filters k of the group of channel c
Memory    dy: N,P,Q,K   dx: N,H,W,C    (dy and dx with a pitch)   weight: K,R,S,C/groups
Threads   one c of 4 pixels stride_w apart, c fastest: they see the same taps s, each at an output q of its own next to the
          other's, so a weight is read once for 4 pixels. A warp covers several groups and reads a stretch of dy of its own
          length. Under a stride a thread visits only the taps that exist: first + i * step
Limit     4 products for 5 loads, which L1 serves: with 16 filters a group and more, a matrix product reuses more
Next      -
Storage   float half bfloat16 double
*/
#include "grouped.h"

namespace pycnn {

template <class T>
__global__ void conv2d_backward_data_kernel6(const T* dy, int64_t dy_pitch, const T* weight, const T* bias, T* dx,
                                             int64_t dx_pitch, ConvShape sh, TapStep step_h, TapStep step_w) {
  using A = Accumulator<T>;
  const int64_t span = sh.stride_w * kRun, runs = ceil_div(sh.W, span) * sh.stride_w;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.H * runs * sh.C) return;
  const int64_t c = i % sh.C, run = i / sh.C % runs, line = i / (sh.C * runs);
  const int64_t h = line % sh.H + sh.pad_h, w0 = run / sh.stride_w * span + run % sh.stride_w, w = w0 + sh.pad_w;
  const int64_t C = sh.group_C(), K = sh.group_K(), first_k = c / C * K, next_filter = sh.gemm_k();
  dy += line / sh.H * sh.P * sh.Q * dy_pitch + first_k;
  weight += first_k * next_filter + c % C;

  A sum[kRun];
  UNROLLED for (int j = 0; j < kRun; j++) sum[j] = bias ? A(bias[c]) : A(0);
  for (int64_t r = step_h.first(h); r < sh.R; r += step_h.step) {
    const int64_t p = (h - r * sh.dilation_h) / sh.stride_h;
    if (h < r * sh.dilation_h || p >= sh.P) continue;
    for (int64_t s = step_w.first(w); s < sh.S; s += step_w.step) {
      const int64_t q = (w - s * sh.dilation_w) / sh.stride_w;  // exact, also where it is negative
      const T* gradient = dy + (p * sh.Q + q) * dy_pitch;
      const T* tap = weight + (r * sh.S + s) * C;
      bool inside[kRun];
      UNROLLED for (int j = 0; j < kRun; j++) inside[j] = q + j >= 0 && q + j < sh.Q;
      for (int64_t k = 0; k < K; k++) {
        const A factor = A(tap[k * next_filter]);
        UNROLLED for (int j = 0; j < kRun; j++) {
          if (inside[j]) sum[j] += A(gradient[j * dy_pitch + k]) * factor;
        }
      }
    }
  }
  UNROLLED for (int j = 0; j < kRun; j++) {
    const int64_t column = w0 + j * sh.stride_w;
    if (column >= sh.W) break;
    T& out = dx[(line * sh.W + column) * dx_pitch + c];
    out = T(sh.accumulate ? A(out) + sum[j] : sum[j]);
  }
}

template <class T>
void conv2d_backward_data6(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  const int block = 128;
  const int64_t runs = ceil_div(sh.W, sh.stride_w * kRun) * sh.stride_w;
  launch<conv2d_backward_data_kernel6<T>>({grid_size(ceil_div(sh.N * sh.H * runs * sh.C, block)), block}, dy.as<const T>(),
                                          dy.pitch, weight.as<const T>(), bias.as<const T>(), dx.as<T>(), dx.pitch, sh,
                                          TapStep(sh.stride_h, sh.dilation_h), TapStep(sh.stride_w, sh.dilation_w));
}

REGISTER_VERSION(Conv2dBackwardData, grouped, 6, "one channel of a group and 4 pixels of a class a thread", supports_grouped,
                 conv2d_backward_data6<STORAGE>);

}  // namespace pycnn
