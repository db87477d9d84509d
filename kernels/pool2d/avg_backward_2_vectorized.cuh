/*
avg_pool2d backward, version 2: a thread takes 16 bytes of channels and a run of pixels, where version 1 takes one element.

Math      dx[n,h,w,c] = sum over the windows p,q that cover h,w of dy[n,p,q,c] / divisor(p,q);  += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other, c fastest; sums in the order p, q: the same bits every time
Limit     dy is read, and scaled, once for each pixel of its window
Next      avg_backward_3_tiles.cuh does so once where windows do not overlap
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/wide.h"
#include "pool2d.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void avg_pool2d_backward_kernel2(const T* dy, T* dx, AvgPoolShape sh, int64_t dy_pitch, int64_t dx_pitch,
                                            RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int64_t image = part.row / sh.H * sh.P;
  const auto rows = windows_over(int(part.row % sh.H), int(sh.R), int(sh.stride_h), int(sh.pad_h), 1, int(sh.P));

  for (int w = part.begin; w < part.end; w++) {
    const auto columns = windows_over(w, int(sh.S), int(sh.stride_w), int(sh.pad_w), 1, int(sh.Q));
    T* pixel = dx + (part.row * sh.W + w) * dx_pitch;

    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      auto sum = wide<V>(A(0));
      for (int p = rows.begin; p < rows.end; p++) {
        for (int q = columns.begin; q < columns.end; q++) {
          const A scale = A(1) / A(sh.divisor_of(p, q));
          sum = sum + load_wide<A, V>(dy + ((image + p) * sh.Q + q) * dy_pitch + c) * scale;
        }
      }
      store_sums<A, V>(sum, pixel + c, sh.accumulate);
    });
  }
}

template <class T>
void avg_pool2d_backward2(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<AvgPoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.H, sh.W, sh.C, V);
    launch<avg_pool2d_backward_kernel2<T, V>>(parts.geometry(), dy.as<const T>(), dx.as<T>(), sh, dy.pitch, dx.pitch, parts);
  });
}

REGISTER_VERSION(AvgPool2dBackward, vectorized, 2, "16 bytes of channels and a run of pixels a thread",
                 (supports_vectorized<STORAGE, AvgPoolShape>), avg_pool2d_backward2<STORAGE>);

}  // namespace pycnn
