/*
max_pool2d forward, version 1: one thread per output element.

Math      y[n,p,q,c] = max over r,s of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c],  argmax = its r*S+s
Memory    x: N,H,W,C   y, argmax: N,P,Q,C   (c contiguous)
Threads   one y element each, c fastest: a warp reads 32 neighboring channels of the same pixels
Limit     three 64-bit divisions and one 4-byte access at a time for each element
Next      max_forward_2_vectorized.cuh gives a thread 16 bytes of channels and several outputs
Storage   float half bfloat16 double
*/
#include "pool2d.h"

namespace pycnn {

template <class T>
__global__ void max_pool2d_forward_kernel1(const T* x, T* y, uint8_t* argmax, PoolShape sh, int64_t x_pitch, int64_t y_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.outputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, q = pixel % sh.Q, p = pixel / sh.Q % sh.P, n = pixel / (sh.Q * sh.P);
  int64_t h0 = p * sh.stride_h - sh.pad_h, w0 = q * sh.stride_w - sh.pad_w;

  using A = Accumulator<T>;
  A best = -INFINITY;
  int64_t tap = first_tap(h0, sh.dilation_h) * sh.S + first_tap(w0, sh.dilation_w);  // what a window of -inf names
  for (int64_t r = 0; r < sh.R; r++) {
    for (int64_t s = 0; s < sh.S; s++) {
      int64_t h = h0 + r * sh.dilation_h, w = w0 + s * sh.dilation_w;
      if (h < 0 || h >= sh.H || w < 0 || w >= sh.W) continue;  // padding is -inf
      A value = A(x[((n * sh.H + h) * sh.W + w) * x_pitch + c]);
      if (value > best || value != value) best = value, tap = r * sh.S + s;
    }
  }
  y[pixel * y_pitch + c] = T(best);
  if (argmax) argmax[i] = uint8_t(tap);
}

template <class T>
void max_pool2d_forward1(const Plan& plan, Array x, Array y, Array argmax) {
  const auto& sh = plan.problem<PoolShape>();
  launch<max_pool2d_forward_kernel1<T>>({grid_size(ceil_div(sh.outputs(), 256)), 256}, x.as<const T>(), y.as<T>(),
                                        argmax.as<uint8_t>(), sh, x.pitch, y.pitch);
}

REGISTER_VERSION(MaxPool2dForward, plain, 1, "one thread per output element", supports_all<PoolShape>,
                 max_pool2d_forward1<STORAGE>);

}  // namespace pycnn
