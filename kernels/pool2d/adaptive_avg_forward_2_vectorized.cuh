/*
adaptive_avg_pool2d forward, version 2: a thread takes 16 bytes of channels and a run of outputs, where version 1 takes one element.

Math      y[n,p,q,c] = mean of x[n,h,w,c] over floor(p*H/P) <= h < ceil((p+1)*H/P), w likewise
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)
Threads   V channels of up to 4 outputs next to each other, c fastest: a warp reads 512 contiguous bytes. Rows of the window
          are added first, then their sums
Limit     memory; a global mean of few images with few channels has too few threads to wait for it
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "adaptive.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void adaptive_avg_pool2d_forward_kernel2(const T* x, T* y, AdaptivePoolShape sh, int64_t x_pitch, int64_t y_pitch,
                                                    RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const Span rows = share(part.row % sh.P, sh.P, sh.H);
  const T* image = x + part.row / sh.P * sh.H * sh.W * x_pitch;

  for (int q = part.begin; q < part.end; q++) {
    const Span columns = share(q, sh.Q, sh.W);
    for_lanes<kBundle * kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int all = decltype(lanes)::value, count = kBundled<all, kWideLanes<T, kMaxV>>, V = all / count;
      Wide<A, V> sum[count] = {};
      for (int64_t h = rows.begin; h < rows.end; h++) {
        Wide<A, V> row[count] = {};
        const T* pixel = image + (h * sh.W + columns.begin) * x_pitch + c;
        for (int64_t w = columns.begin; w < columns.end; w++, pixel += x_pitch)
          UNROLLED for (int i = 0; i < count; i++) row[i] += load_wide<A, V>(pixel + i * V);
        UNROLLED for (int i = 0; i < count; i++) sum[i] += row[i];
      }
      T* to = y + (part.row * sh.Q + q) * y_pitch + c;
      UNROLLED for (int i = 0; i < count; i++) store_wide<A, V>(sum[i] / A(rows.size() * columns.size()), to + i * V);
    });
  }
}

template <class T>
void adaptive_avg_pool2d_forward2(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    launch<adaptive_avg_pool2d_forward_kernel2<T, V>>(parts.geometry(), x.as<const T>(), y.as<T>(), sh, x.pitch, y.pitch, parts);
  });
}

REGISTER_VERSION(AdaptiveAvgPool2dForward, vectorized, 2, "16 bytes of channels and a run of outputs a thread",
                 (supports_vectorized<STORAGE, AdaptivePoolShape>), adaptive_avg_pool2d_forward2<STORAGE>);

}  // namespace pycnn
