/*
avg_pool2d forward, version 2: a thread takes 16 bytes of channels and a run of outputs, where version 1 takes one element.

Math      y[n,p,q,c] = sum over r,s of x[n, p*stride-pad+r, q*stride-pad+s, c] / divisor(p,q)
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)
Threads   V channels of up to 4 outputs next to each other, c fastest: a warp reads 512 contiguous bytes
Limit     memory: x is read once, y is written once
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/wide.h"
#include "pool2d.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void avg_pool2d_forward_kernel2(const T* x, T* y, AvgPoolShape sh, int64_t x_pitch, int64_t y_pitch, RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int p = int(part.row % sh.P), h0 = p * int(sh.stride_h) - int(sh.pad_h);
  const int h_begin = h0 > 0 ? h0 : 0, h_end = h0 + sh.R < sh.H ? h0 + int(sh.R) : int(sh.H);
  const int64_t image = part.row / sh.P * sh.H;

  for (int q = part.begin; q < part.end; q++) {
    const int w0 = q * int(sh.stride_w) - int(sh.pad_w);
    const int w_begin = w0 > 0 ? w0 : 0, w_end = w0 + sh.S < sh.W ? w0 + int(sh.S) : int(sh.W);
    const A divisor = A(sh.divisor_of(p, q));

    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      auto sum = wide<V>(A(0));
      for (int h = h_begin; h < h_end; h++) {
        const T* row = x + ((image + h) * sh.W + w_begin) * x_pitch + c;
        for (int w = w_begin; w < w_end; w++, row += x_pitch) sum = sum + load_wide<A, V>(row);
      }
      store_wide<A, V>(sum / divisor, y + (part.row * sh.Q + q) * y_pitch + c);
    });
  }
}

template <class T>
void avg_pool2d_forward2(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<AvgPoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    launch<avg_pool2d_forward_kernel2<T, V>>(parts.geometry(), x.as<const T>(), y.as<T>(), sh, x.pitch, y.pitch, parts);
  });
}

REGISTER_VERSION(AvgPool2dForward, vectorized, 2, "16 bytes of channels and a run of outputs a thread",
                 (supports_vectorized<STORAGE, AvgPoolShape>), avg_pool2d_forward2<STORAGE>);

}  // namespace pycnn
