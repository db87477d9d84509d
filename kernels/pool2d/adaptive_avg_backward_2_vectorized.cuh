/*
adaptive_avg_pool2d backward, version 2: a thread takes 16 bytes of channels and a run of pixels, where version 1 takes one element.

Math      dx[n,h,w,c] = sum over floor(h*P/H) <= p < ceil((h+1)*P/H), q likewise, of dy[n,p,q,c] / size of window p,q;
          += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other, c fastest; sums in the order p, q: the same bits every time
Limit     memory: dx is written once, dy comes from L1 and L2
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "adaptive.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void adaptive_avg_pool2d_backward_kernel2(const T* dy, T* dx, AdaptivePoolShape sh, int64_t dy_pitch, int64_t dx_pitch,
                                                     RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const Span rows = share(part.row % sh.H, sh.H, sh.P);
  const T* image = dy + part.row / sh.H * sh.P * sh.Q * dy_pitch;

  auto scale_of = [&](int64_t p, int64_t q) { return A(1) / A(share(p, sh.P, sh.H).size() * share(q, sh.Q, sh.W).size()); };
  Span columns = {-1, -1};
  A scale_of_first = 0;  // most pixels have one window, and share it with the pixel before
  for (int w = part.begin; w < part.end; w++) {
    const int64_t q_before = columns.begin;
    columns = share(w, sh.W, sh.Q);
    if (columns.begin != q_before) scale_of_first = scale_of(rows.begin, columns.begin);
    T* pixel = dx + (part.row * sh.W + w) * dx_pitch;
    for_lanes<kBundle * kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int all = decltype(lanes)::value, count = kBundled<all, kWideLanes<T, kMaxV>>, V = all / count;
      Wide<A, V> sum[count] = {};
      for (int64_t p = rows.begin; p < rows.end; p++) {
        for (int64_t q = columns.begin; q < columns.end; q++) {
          const A scale = p == rows.begin && q == columns.begin ? scale_of_first : scale_of(p, q);
          const T* from = image + (p * sh.Q + q) * dy_pitch + c;
          UNROLLED for (int i = 0; i < count; i++) sum[i] += load_wide<A, V>(from + i * V) * scale;
        }
      }
      UNROLLED for (int i = 0; i < count; i++) store_sums<A, V>(sum[i], pixel + c + i * V, sh.accumulate);
    });
  }
}

template <class T>
void adaptive_avg_pool2d_backward2(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.H, sh.W, sh.C, V);
    launch<adaptive_avg_pool2d_backward_kernel2<T, V>>(parts.geometry(), dy.as<const T>(), dx.as<T>(), sh, dy.pitch, dx.pitch,
                                                       parts);
  });
}

REGISTER_VERSION(AdaptiveAvgPool2dBackward, vectorized, 2, "16 bytes of channels and a run of pixels a thread",
                 (supports_vectorized<STORAGE, AdaptivePoolShape>), adaptive_avg_pool2d_backward2<STORAGE>);

}  // namespace pycnn
