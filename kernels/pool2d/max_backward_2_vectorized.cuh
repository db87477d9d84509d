/*
max_pool2d backward, version 2: a thread takes 16 bytes of channels and a run of pixels, where version 1 takes one element.

Math      dx[n,h,w,c] = sum of dy[n,p,q,c] over the windows p,q with argmax[n,p,q,c] = the tap that meets h,w;  += when accumulating
Memory    dy, argmax: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other, c fastest; sums in the order p, q: the same bits every time
Limit     dy and argmax are read once for each pixel of their window: 4 times for a window of 2 x 2, from L1 and L2
Next      max_backward_3_tiles.cuh reads them once where windows do not overlap
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/wide.h"
#include "pool2d.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void max_pool2d_backward_kernel2(const T* dy, const uint8_t* argmax, T* dx, PoolShape sh, int64_t dy_pitch,
                                            int64_t dx_pitch, RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int dilation_h = int(sh.dilation_h), dilation_w = int(sh.dilation_w);
  const int h = int(part.row % sh.H);
  const int64_t image = part.row / sh.H * sh.P;
  const auto rows = windows_over(h, int(sh.R), int(sh.stride_h), int(sh.pad_h), dilation_h, int(sh.P));

  for (int w = part.begin; w < part.end; w++) {
    const auto columns = windows_over(w, int(sh.S), int(sh.stride_w), int(sh.pad_w), dilation_w, int(sh.Q));
    T* pixel = dx + (part.row * sh.W + w) * dx_pitch;

    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      auto sum = wide<V>(A(0));
      for (int p = rows.begin; p < rows.end; p++) {
        for (int q = columns.begin; q < columns.end; q++) {
          int r = h + int(sh.pad_h) - p * int(sh.stride_h), s = w + int(sh.pad_w) - q * int(sh.stride_w);
          if (dilation_h > 1 || dilation_w > 1) {
            if (r % dilation_h || s % dilation_w) continue;  // the window steps over this pixel
            r /= dilation_h, s /= dilation_w;
          }
          const int64_t output = (image + p) * sh.Q + q;
          const auto tap = load_wide<A, V>(argmax + output * sh.C + c);
          const auto gradient = load_wide<A, V>(dy + output * dy_pitch + c);
          sum = where(tap == A(r * int(sh.S) + s), sum + gradient, sum);
        }
      }
      store_sums<A, V>(sum, pixel + c, sh.accumulate);
    });
  }
}

template <class T>
void max_pool2d_backward2(const Plan& plan, Array dy, Array argmax, Array dx) {
  const auto& sh = plan.problem<PoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.H, sh.W, sh.C, V);
    launch<max_pool2d_backward_kernel2<T, V>>(parts.geometry(), dy.as<const T>(), argmax.as<const uint8_t>(), dx.as<T>(), sh,
                                              dy.pitch, dx.pitch, parts);
  });
}

REGISTER_VERSION(MaxPool2dBackward, vectorized, 2, "16 bytes of channels and a run of pixels a thread",
                 (supports_vectorized<STORAGE, PoolShape>), max_pool2d_backward2<STORAGE>);

}  // namespace pycnn
