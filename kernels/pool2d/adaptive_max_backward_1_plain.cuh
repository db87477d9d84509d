/*
adaptive_max_pool2d backward, version 1: one thread per input element gathers from the windows over it.

Math      dx[n,h,w,c] = sum of dy[n,p,q,c] over the windows p,q with indices[n,p,q,c] = h*W+w;  += when accumulating
Memory    dy, indices: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   one dx element each, c fastest. It reads and adds in the order p, q: no atomics, the same bits every time
Limit     64-bit divisions and 4- and 8-byte accesses for each element
Next      adaptive_max_backward_2_vectorized.cuh gives a thread 16 bytes of channels and several pixels
Storage   float half bfloat16 double
*/
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void adaptive_max_pool2d_backward_kernel1(const T* dy, const int64_t* indices, T* dx, AdaptivePoolShape sh,
                                                     int64_t dy_pitch, int64_t dx_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.inputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, w = pixel % sh.W, h = pixel / sh.W % sh.H, n = pixel / (sh.W * sh.H);
  const Span rows = share(h, sh.H, sh.P), columns = share(w, sh.W, sh.Q);

  Accumulator<T> sum = 0;
  for (int64_t p = rows.begin; p < rows.end; p++) {
    for (int64_t q = columns.begin; q < columns.end; q++) {
      const int64_t output = (n * sh.P + p) * sh.Q + q;
      if (indices[output * sh.C + c] == h * sh.W + w) sum += Accumulator<T>(dy[output * dy_pitch + c]);
    }
  }
  T* target = dx + pixel * dx_pitch + c;
  *target = T(sh.accumulate ? Accumulator<T>(*target) + sum : sum);
}

template <class T>
void adaptive_max_pool2d_backward1(const Plan& plan, Array dy, Array indices, Array dx) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  launch<adaptive_max_pool2d_backward_kernel1<T>>({grid_size(ceil_div(sh.inputs(), 256)), 256}, dy.as<const T>(),
                                                  indices.as<const int64_t>(), dx.as<T>(), sh, dy.pitch, dx.pitch);
}

REGISTER_VERSION(AdaptiveMaxPool2dBackward, plain, 1, "one thread per input element", supports_all<AdaptivePoolShape>,
                 adaptive_max_pool2d_backward1<STORAGE>);

}  // namespace pycnn
