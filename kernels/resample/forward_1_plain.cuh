/*
Resample forward, version 1: one thread per output element.

Math      nearest: y[n,p,q,c] = x[n,h(p),w(q),c];  bilinear: the mean of the 4 neighbors of (h(p), w(q)), by their distance
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)
Threads   one y element each, c fastest: a warp reads 32 neighboring channels of the same pixels
Limit     three 64-bit divisions, and the positions of the taps computed anew, for each element
Next      forward_2_vectorized.cuh gives a thread 16 bytes of channels and several outputs
Storage   float half bfloat16 double
*/
#include "resample.h"

namespace pycnn {

template <class T>
__global__ void resample_forward_kernel1(const T* x, T* y, ResampleShape sh, ResampleAxis<Accumulator<T>> rows,
                                         ResampleAxis<Accumulator<T>> columns, int64_t x_pitch, int64_t y_pitch) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.P * sh.Q * sh.C) return;
  const int64_t c = i % sh.C, pixel = i / sh.C, q = pixel % sh.Q, p = pixel / sh.Q % sh.P, n = pixel / (sh.Q * sh.P);

  const Taps<A> h = rows[int(p)], w = columns[int(q)];
  auto at = [&](int row, int column) { return x[((n * sh.H + row) * sh.W + column) * x_pitch + c]; };
  T* to = y + pixel * y_pitch + c;
  if (sh.nearest) {
    *to = at(h.first, w.first);
    return;
  }
  const A above = (A(1) - w.weight) * A(at(h.first, w.first)) + w.weight * A(at(h.first, w.second));
  const A below = (A(1) - w.weight) * A(at(h.second, w.first)) + w.weight * A(at(h.second, w.second));
  *to = T((A(1) - h.weight) * above + h.weight * below);
}

template <class T>
void resample_forward1(const Plan& plan, Array x, Array y) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ResampleShape>();
  launch<resample_forward_kernel1<T>>({grid_size(ceil_div(y.size(), 256)), 256}, x.as<const T>(), y.as<T>(), sh, sh.rows<A>(),
                                      sh.columns<A>(), x.pitch, y.pitch);
}

REGISTER_VERSION(ResampleForward, plain, 1, "one thread per output element", supports_all<ResampleShape>,
                 resample_forward1<STORAGE>);

}  // namespace pycnn
