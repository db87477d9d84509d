/*
avg_pool2d backward, version 1: one thread per input element gathers from the windows over it.

Math      dx[n,h,w,c] = sum over the windows p,q that cover h,w of dy[n,p,q,c] / divisor(p,q);  += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   one dx element each, c fastest. It adds in the order p, q: no atomics, the same bits every time
Limit     64-bit divisions and 4-byte accesses for each element
Next      avg_backward_2_vectorized.cuh gives a thread 16 bytes of channels and several pixels
Storage   float half bfloat16 double
*/
#include "pool2d.h"

namespace pycnn {

template <class T>
__global__ void avg_pool2d_backward_kernel1(const T* dy, T* dx, AvgPoolShape sh, int64_t dy_pitch, int64_t dx_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.inputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, w = pixel % sh.W, h = pixel / sh.W % sh.H, n = pixel / (sh.W * sh.H);
  const auto rows = windows_over(h, sh.R, sh.stride_h, sh.pad_h, int64_t(1), sh.P);
  const auto columns = windows_over(w, sh.S, sh.stride_w, sh.pad_w, int64_t(1), sh.Q);

  Accumulator<T> sum = 0;
  for (int64_t p = rows.begin; p < rows.end; p++)
    for (int64_t q = columns.begin; q < columns.end; q++)
      sum += Accumulator<T>(dy[((n * sh.P + p) * sh.Q + q) * dy_pitch + c]) / Accumulator<T>(sh.divisor_of(p, q));
  T* target = dx + pixel * dx_pitch + c;
  *target = T(sh.accumulate ? Accumulator<T>(*target) + sum : sum);
}

template <class T>
void avg_pool2d_backward1(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<AvgPoolShape>();
  launch<avg_pool2d_backward_kernel1<T>>({grid_size(ceil_div(sh.inputs(), 256)), 256}, dy.as<const T>(), dx.as<T>(), sh, dy.pitch,
                                         dx.pitch);
}

REGISTER_VERSION(AvgPool2dBackward, plain, 1, "one thread per input element", supports_all<AvgPoolShape>,
                 avg_pool2d_backward1<STORAGE>);

}  // namespace pycnn
