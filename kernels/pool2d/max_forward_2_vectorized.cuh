/*
max_pool2d forward, version 2: a thread takes 16 bytes of channels and a run of outputs, where version 1 takes one element.

Math      y[n,p,q,c] = max over r,s of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c],  argmax = its r*S+s
Memory    x: N,H,W,C   y, argmax: N,P,Q,C   (c contiguous)
Threads   V channels of up to 4 outputs next to each other, c fastest: a warp reads 512 contiguous bytes; the columns that
          neighboring windows share come from L1. Windows of 2 x 2 and 3 x 3 are unrolled
Limit     memory: x is read once, y and argmax are written once
Next      -
Storage   float half bfloat16 double
*/
#include "vectorized.h"

namespace pycnn {

template <class T, int kMaxV, int kWindow>
__global__ void max_pool2d_forward_kernel2(const T* x, T* y, uint8_t* argmax, PoolShape sh, int64_t x_pitch, int64_t y_pitch,
                                           RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int R = kWindow ? kWindow : int(sh.R), S = kWindow ? kWindow : int(sh.S), H = int(sh.H), W = int(sh.W);
  const int dilation_h = kWindow ? 1 : int(sh.dilation_h), dilation_w = kWindow ? 1 : int(sh.dilation_w);
  const int h0 = int(part.row % sh.P * sh.stride_h - sh.pad_h);
  const int64_t image = part.row / sh.P * H;

  for (int q = part.begin; q < part.end; q++) {
    const int w0 = q * int(sh.stride_w) - int(sh.pad_w);
    const int first = int(first_tap(h0, dilation_h)) * S + int(first_tap(w0, dilation_w));  // what a window of -inf names
    const int64_t pixel = part.row * sh.Q + q;

    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      auto best = wide<V>(A(-INFINITY)), tap = wide<V>(A(first));  // as wide as the value: one comparison selects both
      for (int r = 0; r < R; r++) {
        for (int s = 0; s < S; s++) {
          const int h = h0 + r * dilation_h, w = w0 + s * dilation_w;
          if (h < 0 || h >= H || w < 0 || w >= W) continue;  // padding is -inf
          const auto value = load_wide<A, V>(x + ((image + h) * W + w) * x_pitch + c);
          const auto larger = (value > best) | (value != value);
          best = where(larger, value, best);
          tap = where(larger, wide<V>(A(r * S + s)), tap);
        }
      }
      store_wide<A, V>(best, y + pixel * y_pitch + c);
      if (argmax) store_wide<A, V>(tap, argmax + pixel * sh.C + c);
    });
  }
}

template <class T>
void max_pool2d_forward2(const Plan& plan, Array x, Array y, Array argmax) {
  const auto& sh = plan.problem<PoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    auto with_window = [&](auto window) {
      launch<max_pool2d_forward_kernel2<T, V, window>>(parts.geometry(), x.as<const T>(), y.as<T>(), argmax.as<uint8_t>(), sh,
                                                       x.pitch, y.pitch, parts);
    };
    const bool square = sh.R == sh.S && sh.dilation_h == 1 && sh.dilation_w == 1;
    if (square && sh.R == 2) with_window(std::integral_constant<int, 2>{});
    else if (square && sh.R == 3) with_window(std::integral_constant<int, 3>{});
    else with_window(std::integral_constant<int, 0>{});
  });
}

REGISTER_VERSION(MaxPool2dForward, vectorized, 2, "16 bytes of channels and a run of outputs a thread",
                 (supports_vectorized<STORAGE, PoolShape>), max_pool2d_forward2<STORAGE>);

}  // namespace pycnn
