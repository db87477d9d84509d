/*
max_unpool2d backward, version 2: a thread takes 16 bytes of channels and a run of pixels, where version 1 takes one element.

Math      dx[n,p,q,c] = dy[n,h,w,c] with h*W+w = indices[n,p,q,c];  += when accumulating
Memory    indices, dx: N,P,Q,C   dy: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other, c fastest
Limit     memory: 8 bytes of index for each element, and dy, of which a cache line serves few elements
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/wide.h"
#include "adaptive.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void max_unpool2d_backward_kernel2(const T* dy, const int64_t* indices, T* dx, UnpoolShape sh, int64_t dy_pitch,
                                              int64_t dx_pitch, RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int64_t outputs = sh.H * sh.W;
  const T* image = dy + part.row / sh.P * outputs * dy_pitch;

  for (int q = part.begin; q < part.end; q++) {
    const int64_t output = part.row * sh.Q + q;
    T* pixel = dx + output * dx_pitch;
    for_lanes<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      const auto index = load_lanes<V>(indices + output * sh.C + c);
      A gradient[V];
      for (int i = 0; i < V; i++)
        gradient[i] = index[i] >= 0 && index[i] < outputs ? A(image[index[i] * dy_pitch + c + i]) : A(0);
      if (sh.accumulate) {
        const auto before = load_lanes<V>(pixel + c);
        LANES for (int i = 0; i < V; i++) gradient[i] = A(before[i]) + gradient[i];
      }
      store_lanes<V>(gradient, pixel + c);
    });
  }
}

template <class T>
void max_unpool2d_backward2(const Plan& plan, Array dy, Array indices, Array dx) {
  const auto& sh = plan.problem<UnpoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    launch<max_unpool2d_backward_kernel2<T, V>>(parts.geometry(), dy.as<const T>(), indices.as<const int64_t>(), dx.as<T>(), sh,
                                                dy.pitch, dx.pitch, parts);
  });
}

REGISTER_VERSION(MaxUnpool2dBackward, vectorized, 2, "16 bytes of channels and a run of pixels a thread",
                 (supports_vectorized<STORAGE, UnpoolShape>), max_unpool2d_backward2<STORAGE>);

}  // namespace pycnn
