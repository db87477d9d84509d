/*
adaptive_avg_pool2d backward, version 1: one thread per input element gathers from the windows over it.

Math      dx[n,h,w,c] = sum over floor(h*P/H) <= p < ceil((h+1)*P/H), q likewise, of dy[n,p,q,c] / size of window p,q;
          += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   one dx element each, c fastest. It adds in the order p, q: no atomics, the same bits every time
Limit     64-bit divisions and 4-byte accesses for each element
Next      adaptive_avg_backward_2_vectorized.cuh gives a thread 16 bytes of channels and several pixels
Storage   float half bfloat16 double
*/
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void adaptive_avg_pool2d_backward_kernel1(const T* dy, T* dx, AdaptivePoolShape sh, int64_t dy_pitch,
                                                     int64_t dx_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.inputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, w = pixel % sh.W, h = pixel / sh.W % sh.H, n = pixel / (sh.W * sh.H);
  const Span rows = share(h, sh.H, sh.P), columns = share(w, sh.W, sh.Q);

  Accumulator<T> sum = 0;
  for (int64_t p = rows.begin; p < rows.end; p++) {
    for (int64_t q = columns.begin; q < columns.end; q++) {
      const int64_t size = share(p, sh.P, sh.H).size() * share(q, sh.Q, sh.W).size();
      sum += Accumulator<T>(dy[((n * sh.P + p) * sh.Q + q) * dy_pitch + c]) / Accumulator<T>(size);
    }
  }
  T* target = dx + pixel * dx_pitch + c;
  *target = T(sh.accumulate ? Accumulator<T>(*target) + sum : sum);
}

template <class T>
void adaptive_avg_pool2d_backward1(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  launch<adaptive_avg_pool2d_backward_kernel1<T>>({grid_size(ceil_div(sh.inputs(), 256)), 256}, dy.as<const T>(), dx.as<T>(), sh,
                                                  dy.pitch, dx.pitch);
}

REGISTER_VERSION(AdaptiveAvgPool2dBackward, plain, 1, "one thread per input element", supports_all<AdaptivePoolShape>,
                 adaptive_avg_pool2d_backward1<STORAGE>);

}  // namespace pycnn
