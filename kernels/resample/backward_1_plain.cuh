/*
Resample backward, version 1: one thread per input element.

Math      dx[n,h,w,c] = sum over the outputs p,q that (h, w) is part of, of its weights in both axes times dy[n,p,q,c];
          += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   one dx element each, c fastest; it gathers its outputs, in the order p, q: the same bits every time
Limit     the outputs are searched for, and their weights computed, anew for each element
Next      backward_2_vectorized.cuh does so once for 16 bytes of channels and goes on to the next pixel from there
Storage   float half bfloat16 double
*/
#include "resample.h"

namespace pycnn {

template <class T>
__global__ void resample_backward_kernel1(const T* dy, T* dx, ResampleShape sh, ResampleAxis<Accumulator<T>> rows,
                                          ResampleAxis<Accumulator<T>> columns, int64_t dy_pitch, int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.H * sh.W * sh.C) return;
  const int64_t c = i % sh.C, pixel = i / sh.C, n = pixel / (sh.W * sh.H);
  const int w = int(pixel % sh.W), h = int(pixel / sh.W % sh.H);

  const int p_end = rows.end(h), q_begin = columns.begin(w), q_end = columns.end(w);
  A sum = 0;
  for (int p = rows.begin(h); p < p_end; p++)
    for (int q = q_begin; q < q_end; q++)
      sum += rows.weight(p, h) * columns.weight(q, w) * A(dy[((n * sh.P + p) * sh.Q + q) * dy_pitch + c]);
  T* to = dx + pixel * dx_pitch + c;
  *to = T(sh.accumulate ? A(*to) + sum : sum);
}

template <class T>
void resample_backward1(const Plan& plan, Array dy, Array dx) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ResampleShape>();
  launch<resample_backward_kernel1<T>>({grid_size(ceil_div(dx.size(), 256)), 256}, dy.as<const T>(), dx.as<T>(), sh, sh.rows<A>(),
                                       sh.columns<A>(), dy.pitch, dx.pitch);
}

REGISTER_VERSION(ResampleBackward, plain, 1, "one thread per input element", supports_all<ResampleShape>,
                 resample_backward1<STORAGE>);

}  // namespace pycnn
