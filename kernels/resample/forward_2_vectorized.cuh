/*
Resample forward, version 2: a thread takes 16 bytes of channels and a run of outputs, where version 1 takes one element.

Math      nearest: y[n,p,q,c] = x[n,h(p),w(q),c];  bilinear: the mean of the 4 neighbors of (h(p), w(q)), by their distance
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)
Threads   V channels of up to 4 outputs next to each other, c fastest: a warp writes 512 contiguous bytes
Limit     memory: x is read once from DRAM, its repetitions come from a cache
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "resample.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void resample_forward_kernel2(const T* x, T* y, ResampleShape sh, ResampleAxis<Accumulator<T>> rows,
                                         ResampleAxis<Accumulator<T>> columns, int64_t x_pitch, int64_t y_pitch, RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const Taps<A> h = rows[int(part.row % sh.P)];
  const int64_t image = part.row / sh.P * sh.H;
  const T *above = x + (image + h.first) * sh.W * x_pitch, *below = x + (image + h.second) * sh.W * x_pitch;
  T* to = y + (part.row * sh.Q + part.begin) * y_pitch;

  for (int q = part.begin; q < part.end; q++, to += y_pitch) {
    const Taps<A> w = columns[q];
    const int64_t first = w.first * x_pitch, second = w.second * x_pitch;
    const A w1 = w.weight, w0 = A(1) - w1, h1 = h.weight, h0 = A(1) - h1;
    for_lanes<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      if (sh.nearest) return store_lanes<V>(load_lanes<V>(above + first + c).value, to + c);
      const auto a = values_at<V>(above + first + c), b = values_at<V>(above + second + c);
      const auto d = values_at<V>(below + first + c), e = values_at<V>(below + second + c);
      A mean[V];
      LANES for (int i = 0; i < V; i++) mean[i] = h0 * (w0 * A(a[i]) + w1 * A(b[i])) + h1 * (w0 * A(d[i]) + w1 * A(e[i]));
      store_lanes<V>(mean, to + c);
    });
  }
}

template <class T>
void resample_forward2(const Plan& plan, Array x, Array y) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ResampleShape>();
  if (!y.size()) return;
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    launch<resample_forward_kernel2<T, V>>(parts.geometry(), x.as<const T>(), y.as<T>(), sh, sh.rows<A>(), sh.columns<A>(),
                                           x.pitch, y.pitch, parts);
  });
}

REGISTER_VERSION(ResampleForward, vectorized, 2, "16 bytes of channels and a run of outputs a thread",
                 (supports_vectorized<STORAGE, ResampleShape>), resample_forward2<STORAGE>);

}  // namespace pycnn
