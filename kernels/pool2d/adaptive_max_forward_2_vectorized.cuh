/*
adaptive_max_pool2d forward, version 2: a thread takes 16 bytes of channels and a run of outputs, where version 1 takes one element.

Math      y[n,p,q,c] = max of x[n,h,w,c] over floor(p*H/P) <= h < ceil((p+1)*H/P), w likewise,  indices = its h*W+w
Memory    x: N,H,W,C   y, indices: N,P,Q,C   (c contiguous)
Threads   V channels of up to 4 outputs next to each other, c fastest: a warp reads 512 contiguous bytes
Limit     memory; a global maximum of few images with few channels has too few threads to wait for it
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "adaptive.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void adaptive_max_pool2d_forward_kernel2(const T* x, T* y, int64_t* indices, AdaptivePoolShape sh, int64_t x_pitch,
                                                    int64_t y_pitch, RowParts parts) {
  using A = Accumulator<T>;
  using Place = IntLike<A>;  // as wide as the value, so that one comparison selects both
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const Span rows = share(part.row % sh.P, sh.P, sh.H);
  const T* image = x + part.row / sh.P * sh.H * sh.W * x_pitch;

  for (int q = part.begin; q < part.end; q++) {
    const Span columns = share(q, sh.Q, sh.W);
    const int64_t output = part.row * sh.Q + q;
    for_lanes<kBundle * kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int all = decltype(lanes)::value, count = kBundled<all, kWideLanes<T, kMaxV>>, V = all / count;
      Wide<A, V> best[count];
      Wide<Place, V> place[count];
      UNROLLED for (int i = 0; i < count; i++) {
        best[i] = wide<V>(A(-INFINITY));
        place[i] = wide<V>(Place(rows.begin * sh.W + columns.begin));  // what a window of -inf names
      }
      for (int64_t h = rows.begin; h < rows.end; h++) {
        const T* pixel = image + (h * sh.W + columns.begin) * x_pitch + c;
        for (int64_t w = columns.begin; w < columns.end; w++, pixel += x_pitch) {
          const auto here = wide<V>(Place(h * sh.W + w));
          UNROLLED for (int i = 0; i < count; i++) {
            const auto value = load_wide<A, V>(pixel + i * V);
            const auto larger = (value > best[i]) | (value != value);
            best[i] = where(larger, value, best[i]);
            place[i] = where(larger, here, place[i]);
          }
        }
      }
      UNROLLED for (int i = 0; i < count; i++) {
        store_wide<A, V>(best[i], y + output * y_pitch + c + i * V);
        if (indices) store_wide<Place, V>(place[i], indices + output * sh.C + c + i * V);
      }
    });
  }
}

template <class T>
void adaptive_max_pool2d_forward2(const Plan& plan, Array x, Array y, Array indices) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    launch<adaptive_max_pool2d_forward_kernel2<T, V>>(parts.geometry(), x.as<const T>(), y.as<T>(), indices.as<int64_t>(), sh,
                                                      x.pitch, y.pitch, parts);
  });
}

REGISTER_VERSION(AdaptiveMaxPool2dForward, vectorized, 2, "16 bytes of channels and a run of outputs a thread",
                 (supports_vectorized<STORAGE, AdaptivePoolShape>), adaptive_max_pool2d_forward2<STORAGE>);

}  // namespace pycnn
