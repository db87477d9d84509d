/*
adaptive_avg_pool2d forward, version 1: one thread per output element.

Math      y[n,p,q,c] = mean of x[n,h,w,c] over floor(p*H/P) <= h < ceil((p+1)*H/P), w likewise
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)
Threads   one y element each, c fastest. It adds the rows of the window, then their sums: rounding grows with H + W, not H * W
Limit     64-bit divisions and one 4-byte access at a time; few outputs are few threads
Next      adaptive_avg_forward_2_vectorized.cuh gives a thread 16 bytes of channels and several outputs
Storage   float half bfloat16 double
*/
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void adaptive_avg_pool2d_forward_kernel1(const T* x, T* y, AdaptivePoolShape sh, int64_t x_pitch, int64_t y_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.outputs()) return;
  int64_t c = i % sh.C, pixel = i / sh.C, q = pixel % sh.Q, p = pixel / sh.Q % sh.P, n = pixel / (sh.Q * sh.P);
  const Span rows = share(p, sh.P, sh.H), columns = share(q, sh.Q, sh.W);

  Accumulator<T> sum = 0;
  for (int64_t h = rows.begin; h < rows.end; h++) {
    Accumulator<T> row = 0;
    for (int64_t w = columns.begin; w < columns.end; w++) row += Accumulator<T>(x[((n * sh.H + h) * sh.W + w) * x_pitch + c]);
    sum += row;
  }
  y[pixel * y_pitch + c] = T(sum / Accumulator<T>(rows.size() * columns.size()));
}

template <class T>
void adaptive_avg_pool2d_forward1(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  launch<adaptive_avg_pool2d_forward_kernel1<T>>({grid_size(ceil_div(sh.outputs(), 256)), 256}, x.as<const T>(), y.as<T>(), sh,
                                                 x.pitch, y.pitch);
}

REGISTER_VERSION(AdaptiveAvgPool2dForward, plain, 1, "one thread per output element", supports_all<AdaptivePoolShape>,
                 adaptive_avg_pool2d_forward1<STORAGE>);

}  // namespace pycnn
