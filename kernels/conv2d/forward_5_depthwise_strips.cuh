/*
conv2d forward, version 5: depthwise, a thread takes 16 bytes of channels of a tile of outputs, where version 4 takes one element.

Math      y[n,p,q,c] = bias[c] + sum over r,s of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[c,r,s]
Memory    x: N,H,W,C   y: N,P,Q,C   (c contiguous)   taps: in the workspace, laid out by a kernel of its own (TapStrips)
Threads   V channels of 2 x 4 outputs (on a CPU a cache line of 4 x 1), c fastest: a warp reads 512 contiguous bytes. Each pixel
          of x is loaded once and multiplied with all taps that meet it, which are in registers, on a CPU a column of taps at a
          time (3 x 3, stride 1 or 2). Other filters: pixel by pixel
Limit     memory, with 3 x 3 filters: rows of x that two tiles share come from L1 and L2
Next      forward_6_grouped.cuh sums over the channels of a group
Storage   float half bfloat16 double
*/
#include "depthwise.h"

namespace pycnn {

// sum[a][b] += the products of the tile whose first tap is at (h0, w0) of image x, for kWides times V channels, column by column.
// With kInside no tap is outside.
template <bool kInside, int kStride, int kRows, class A, int V, int kWides, class T>
__device__ __forceinline__ void add_products(const T* x, int64_t x_pitch, int h0, int w0, const ConvShape& sh,
                                             const FilterTaps<A, V, kWides>& taps,
                                             Wide<A, V> (&sum)[kRows][kTileColumns][kWides]) {
  const int64_t line = sh.W * x_pitch;
  UNROLLED for (int j = 0; j < (kTileColumns - 1) * kStride + 3; j++) {
    if (!kInside && (w0 + j < 0 || w0 + j >= sh.W)) continue;  // padding contributes zero
    const auto& column = taps.template column<kTileColumns>(j);
    const T* pixel = unknown(x + (int64_t(h0) * sh.W + w0 + j) * x_pitch);
    UNROLLED for (int i = 0; i < (kRows - 1) * kStride + 3; i++) {
      if (!kInside && (h0 + i < 0 || h0 + i >= sh.H)) continue;
      UNROLLED for (int k = 0; k < kWides; k++) {
        const auto value = load_once<A, V>(pixel + i * line + k * V);
        UNROLLED for (int a = 0; a < kRows; a++) {
          UNROLLED for (int b = 0; b < kTileColumns; b++) {
            const int r = i - a * kStride, s = j - b * kStride;
            if (r < 0 || r >= 3 || s < 0 || s >= 3) continue;
            sum[a][b][k] += value * column.at(r, s, k);
          }
        }
      }
    }
  }
}

template <class T, int kMaxV, int kStride>
__global__ void conv2d_forward_kernel5(const T* x, int64_t x_pitch, const Accumulator<T>* taps, const T* bias, T* y,
                                       int64_t y_pitch, ConvShape sh, RowParts parts, TapStrips strips) {
  using A = Accumulator<T>;
  constexpr int kRows = kTileRows<kMaxV, kStride>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int64_t tile_rows = ceil_div(sh.P, kRows), n = part.row / tile_rows;
  const int P = int(sh.P), Q = int(sh.Q), p = int(part.row % tile_rows) * kRows;
  const int h0 = p * kStride - int(sh.pad_h), h_end = h0 + (kRows - 1) * kStride + 3;
  x += n * sh.H * sh.W * x_pitch;
  y += n * P * Q * y_pitch;

  for (int q = part.begin; q < part.end; q += kTileColumns) {
    const int w0 = q * kStride - int(sh.pad_w), w_end = w0 + (kTileColumns - 1) * kStride + 3;
    const bool inside = h0 >= 0 && h_end <= sh.H && w0 >= 0 && w_end <= sh.W;
    for_strips<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = kWideLanes<A, decltype(lanes)::value>, kWides = decltype(lanes)::value / V;
      const FilterTaps<A, V, kWides> tap(strips.first(taps, c), strips.step<V * kWides>());
      Wide<A, V> sum[kRows][kTileColumns][kWides];
      UNROLLED for (int k = 0; k < kWides; k++) {
        const Wide<A, V> first = bias ? load_wide<A, V>(bias + c + k * V) : Wide<A, V>{};
        UNROLLED for (int a = 0; a < kRows; a++) UNROLLED for (int b = 0; b < kTileColumns; b++) sum[a][b][k] = first;
      }
      if (inside) add_products<true, kStride, kRows, A, V, kWides>(x + c, x_pitch, h0, w0, sh, tap, sum);
      else add_products<false, kStride, kRows, A, V, kWides>(x + c, x_pitch, h0, w0, sh, tap, sum);

      UNROLLED for (int a = 0; a < kRows; a++) {
        if (p + a >= P) break;
        T* row = unknown(y + (int64_t(p + a) * Q + q) * y_pitch + c);
        UNROLLED for (int b = 0; b < kTileColumns; b++) {
          if (q + b >= Q) break;
          UNROLLED for (int k = 0; k < kWides; k++) store_sums<A, V>(sum[a][b][k], row + b * y_pitch + k * V, sh.accumulate);
        }
      }
    });
  }
}

// Any filter, stride and dilation.
template <class T, int kMaxV>
__global__ void conv2d_forward_any_kernel5(const T* x, int64_t x_pitch, const Accumulator<T>* taps, const T* bias, T* y,
                                           int64_t y_pitch, ConvShape sh, RowParts parts, TapStrips strips) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int h0 = int(part.row % sh.P * sh.stride_h - sh.pad_h), dilation_h = int(sh.dilation_h), dilation_w = int(sh.dilation_w);
  x += part.row / sh.P * sh.H * sh.W * x_pitch;

  for (int q = part.begin; q < part.end; q++) {
    const int w0 = int(q * sh.stride_w - sh.pad_w);
    for_strips<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      Wide<A, V> sum = bias ? load_wide<A, V>(bias + c) : Wide<A, V>{};
      for (int r = 0; r < sh.R; r++) {
        const int h = h0 + r * dilation_h;
        if (h < 0 || h >= sh.H) continue;  // padding contributes zero
        for (int s = 0; s < sh.S; s++) {
          const int w = w0 + s * dilation_w;
          if (w < 0 || w >= sh.W) continue;
          const auto value = load_wide<A, V>(x + (int64_t(h) * sh.W + w) * x_pitch + c);
          sum += value * load_wide<A, V>(strips.first(taps, c) + (r * sh.S + s) * strips.step<V>());
        }
      }
      store_sums<A, V>(sum, y + (part.row * sh.Q + q) * y_pitch + c, sh.accumulate);
    });
  }
}

template <class T>
void conv2d_forward5(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto lanes) {
    with_filter(sh, [&](auto filter, auto stride) {
      constexpr int line = kLineLanes<T, decltype(lanes)::value>, strip = kStripLanes<T, decltype(lanes)::value>;
      constexpr int V = filter ? line : strip;
      const TapStrips strips(sh, V);
      const auto* taps = depthwise_taps<T>(plan, strips, weight);
      constexpr int step = filter ? stride : 1, height = filter ? kTileRows<V, step> : 1;
      const RowParts parts(sh.N * ceil_div(sh.P, height), sh.Q, sh.C, V);
      constexpr auto kernel = filter ? conv2d_forward_kernel5<T, line, step> : conv2d_forward_any_kernel5<T, strip>;
      launch<kernel>(parts.geometry(), x.as<const T>(), x.pitch, taps, bias.as<const T>(), y.as<T>(), y.pitch, sh, parts, strips);
    });
  });
}

REGISTER_VERSION(Conv2dForward, depthwise_strips, 5, "depthwise, 16 bytes of channels of a tile of outputs a thread",
                 supports_depthwise_strips<STORAGE>, conv2d_forward5<STORAGE>);

}  // namespace pycnn
