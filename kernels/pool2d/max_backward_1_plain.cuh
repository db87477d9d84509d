/*
max_pool2d backward, version 1: one thread per input element gathers from the windows over it.

Math      dx[n,h,w,c] = sum of dy[n,p,q,c] over the windows p,q with argmax[n,p,q,c] = the tap that meets h,w;  += when accumulating
Memory    dy, argmax: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   one dx element each, c fastest. It reads and adds in the order p, q: no atomics, the same bits every time
Limit     64-bit divisions and 1- and 4-byte accesses for each element
Next      max_backward_2_vectorized.cuh gives a thread 16 bytes of channels and several pixels
Storage   float half bfloat16 double
*/
#include "pool2d.h"

namespace pycnn {

template <class T>
__global__ void max_pool2d_backward_kernel1(const T* dy, const uint8_t* argmax, T* dx, PoolShape sh, int64_t dy_pitch,
                                            int64_t dx_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.inputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, w = pixel % sh.W, h = pixel / sh.W % sh.H, n = pixel / (sh.W * sh.H);
  const auto rows = windows_over(h, sh.R, sh.stride_h, sh.pad_h, sh.dilation_h, sh.P);
  const auto columns = windows_over(w, sh.S, sh.stride_w, sh.pad_w, sh.dilation_w, sh.Q);

  Accumulator<T> sum = 0;
  for (int64_t p = rows.begin; p < rows.end; p++) {
    for (int64_t q = columns.begin; q < columns.end; q++) {
      int64_t down = h + sh.pad_h - p * sh.stride_h, right = w + sh.pad_w - q * sh.stride_w;  // from the window's corner
      if (down % sh.dilation_h || right % sh.dilation_w) continue;
      int64_t output = (n * sh.P + p) * sh.Q + q;
      if (argmax[output * sh.C + c] == down / sh.dilation_h * sh.S + right / sh.dilation_w)
        sum += Accumulator<T>(dy[output * dy_pitch + c]);
    }
  }
  T* target = dx + pixel * dx_pitch + c;
  *target = T(sh.accumulate ? Accumulator<T>(*target) + sum : sum);
}

template <class T>
void max_pool2d_backward1(const Plan& plan, Array dy, Array argmax, Array dx) {
  const auto& sh = plan.problem<PoolShape>();
  launch<max_pool2d_backward_kernel1<T>>({grid_size(ceil_div(sh.inputs(), 256)), 256}, dy.as<const T>(),
                                         argmax.as<const uint8_t>(), dx.as<T>(), sh, dy.pitch, dx.pitch);
}

REGISTER_VERSION(MaxPool2dBackward, plain, 1, "one thread per input element", supports_all<PoolShape>,
                 max_pool2d_backward1<STORAGE>);

}  // namespace pycnn
