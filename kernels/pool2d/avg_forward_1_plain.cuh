/*
avg_pool2d forward, version 1: one thread per output element.

Math      y[n,p,q,c] = sum over r,s of x[n, p*stride-pad+r, q*stride-pad+s, c] / divisor(p,q)
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)
Threads   one y element each, c fastest: a warp reads 32 neighboring channels of the same pixels
Limit     three 64-bit divisions and one 4-byte access at a time for each element
Next      avg_forward_2_vectorized.cuh gives a thread 16 bytes of channels and several outputs
Storage   float half bfloat16 double
*/
#include "pool2d.h"

namespace pycnn {

template <class T>
__global__ void avg_pool2d_forward_kernel1(const T* x, T* y, AvgPoolShape sh, int64_t x_pitch, int64_t y_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.outputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, q = pixel % sh.Q, p = pixel / sh.Q % sh.P, n = pixel / (sh.Q * sh.P);

  Accumulator<T> sum = 0;
  for (int64_t r = 0; r < sh.R; r++) {
    for (int64_t s = 0; s < sh.S; s++) {
      int64_t h = p * sh.stride_h - sh.pad_h + r, w = q * sh.stride_w - sh.pad_w + s;
      if (h < 0 || h >= sh.H || w < 0 || w >= sh.W) continue;  // padding is 0
      sum += Accumulator<T>(x[((n * sh.H + h) * sh.W + w) * x_pitch + c]);
    }
  }
  y[pixel * y_pitch + c] = T(sum / Accumulator<T>(sh.divisor_of(p, q)));
}

template <class T>
void avg_pool2d_forward1(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<AvgPoolShape>();
  launch<avg_pool2d_forward_kernel1<T>>({grid_size(ceil_div(sh.outputs(), 256)), 256}, x.as<const T>(), y.as<T>(), sh, x.pitch,
                                        y.pitch);
}

REGISTER_VERSION(AvgPool2dForward, plain, 1, "one thread per output element", supports_all<AvgPoolShape>,
                 avg_pool2d_forward1<STORAGE>);

}  // namespace pycnn
