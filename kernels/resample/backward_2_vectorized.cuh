/*
Resample backward, version 2: a thread takes 16 bytes of channels and a run of pixels, where version 1 takes one element.

Math      dx[n,h,w,c] = sum over the outputs p,q that (h, w) is part of, of its weights in both axes times dy[n,p,q,c];
          += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other, c fastest; sums in the order p, q: the same bits every time
Limit     an output is read once for each pixel that is part of it, 4 times in bilinear mode
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "resample.h"

namespace pycnn {

inline constexpr int kKept = PYCNN_CUDA ? 4 : 16;

template <class T, int kMaxV>
__global__ void resample_backward_kernel2(const T* dy, T* dx, ResampleShape sh, ResampleAxis<Accumulator<T>> rows,
                                          ResampleAxis<Accumulator<T>> columns, int64_t dy_pitch, int64_t dx_pitch,
                                          RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int h = int(part.row % sh.H), p_begin = rows.begin(h), p_end = rows.end(h);
  const T* image = dy + part.row / sh.H * sh.P * sh.Q * dy_pitch;
  T* to = dx + (part.row * sh.W + part.begin) * dx_pitch;

  A kept_rows[kKept];  // weights of the first output rows
  for (int i = 0; i < kKept && p_begin + i < p_end; i++) kept_rows[i] = rows.weight(p_begin + i, h);

  int q_begin = columns.begin(part.begin), q_end = columns.end(part.begin);
  for (int w = part.begin; w < part.end; w++, to += dx_pitch) {
    const int before = sh.nearest || sh.W == sh.Q ? w : w - 1;
    while (q_begin < sh.Q && columns[q_begin].first < before) q_begin++;
    while (q_end < sh.Q && columns[q_end].first <= w) q_end++;

    A kept[kKept];  // weights of the first outputs along the row
    for (int i = 0; i < kKept && q_begin + i < q_end; i++) kept[i] = columns.weight(q_begin + i, w);

    for_lanes<kBundle * kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int all = decltype(lanes)::value, count = kBundled<all, kWideLanes<T, kMaxV>>, V = all / count;
      Wide<A, V> sum[count] = {};
      for (int p = p_begin; p < p_end; p++) {
        const A of_row = p - p_begin < kKept ? kept_rows[p - p_begin] : rows.weight(p, h);
        const T* from = image + (int64_t(p) * sh.Q + q_begin) * dy_pitch + c;
        for (int q = q_begin; q < q_end; q++, from += dy_pitch) {
          const A weight = of_row * (q - q_begin < kKept ? kept[q - q_begin] : columns.weight(q, w));
          UNROLLED for (int i = 0; i < count; i++) sum[i] += load_wide<A, V>(from + i * V) * weight;
        }
      }
      UNROLLED for (int i = 0; i < count; i++) store_sums<A, V>(sum[i], to + c + i * V, sh.accumulate);
    });
  }
}

template <class T>
void resample_backward2(const Plan& plan, Array dy, Array dx) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ResampleShape>();
  if (!dx.size()) return;
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.H, sh.W, sh.C, V);
    launch<resample_backward_kernel2<T, V>>(parts.geometry(), dy.as<const T>(), dx.as<T>(), sh, sh.rows<A>(), sh.columns<A>(),
                                            dy.pitch, dx.pitch, parts);
  });
}

REGISTER_VERSION(ResampleBackward, vectorized, 2, "16 bytes of channels and a run of pixels a thread",
                 (supports_vectorized<STORAGE, ResampleShape>), resample_backward2<STORAGE>);

}  // namespace pycnn
