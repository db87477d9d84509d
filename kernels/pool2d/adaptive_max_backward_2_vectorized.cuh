/*
adaptive_max_pool2d backward, version 2: a thread takes 16 bytes of channels and a run of pixels, where version 1 takes one element.

Math      dx[n,h,w,c] = sum of dy[n,p,q,c] over the windows p,q with indices[n,p,q,c] = h*W+w;  += when accumulating
Memory    dy, indices: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other, c fastest; sums in the order p, q: the same bits every time
Limit     memory: dx is written once, dy and indices come from L1 and L2
Next      adaptive_max_backward_3_scatter.cuh reads an index once for several pixels
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/wide.h"
#include "adaptive.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void adaptive_max_pool2d_backward_kernel2(const T* dy, const int64_t* indices, T* dx, AdaptivePoolShape sh,
                                                     int64_t dy_pitch, int64_t dx_pitch, RowParts parts) {
  using A = Accumulator<T>;
  using Place = IntLike<A>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int64_t h = part.row % sh.H, image = part.row / sh.H * sh.P;
  const Span rows = share(h, sh.H, sh.P);

  for (int w = part.begin; w < part.end; w++) {
    const Span columns = share(w, sh.W, sh.Q);
    T* pixel = dx + (part.row * sh.W + w) * dx_pitch;
    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      auto sum = wide<V>(A(0));
      for (int64_t p = rows.begin; p < rows.end; p++) {
        for (int64_t q = columns.begin; q < columns.end; q++) {
          const int64_t output = (image + p) * sh.Q + q;
          const auto here = load_wide<Place, V>(indices + output * sh.C + c) == Place(h * sh.W + w);
          sum = where(here, sum + load_wide<A, V>(dy + output * dy_pitch + c), sum);
        }
      }
      store_sums<A, V>(sum, pixel + c, sh.accumulate);
    });
  }
}

template <class T>
void adaptive_max_pool2d_backward2(const Plan& plan, Array dy, Array indices, Array dx) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.H, sh.W, sh.C, V);
    launch<adaptive_max_pool2d_backward_kernel2<T, V>>(parts.geometry(), dy.as<const T>(), indices.as<const int64_t>(),
                                                       dx.as<T>(), sh, dy.pitch, dx.pitch, parts);
  });
}

REGISTER_VERSION(AdaptiveMaxPool2dBackward, vectorized, 2, "16 bytes of channels and a run of pixels a thread",
                 (supports_vectorized<STORAGE, AdaptivePoolShape>), adaptive_max_pool2d_backward2<STORAGE>);

}  // namespace pycnn
