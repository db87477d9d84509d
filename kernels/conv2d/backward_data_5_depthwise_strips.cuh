/*
conv2d backward_data (dgrad), version 5: depthwise, a thread takes 16 bytes of channels of a tile of pixels, where version 4
takes one element.

Math      dx[n,h,w,c] = bias[c] + sum over r,s of dy[n,p,q,c] * weight[c,r,s]  with p = (h+pad-r*dilation)/stride, q likewise
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)   taps: in the workspace, laid out by a kernel of its own (TapStrips)
Threads   V channels of 2 x 4 pixels of dx (on a CPU a cache line of 4 x 1), c fastest: a warp reads 512 contiguous bytes. Each
          pixel of dy is loaded once and multiplied with all taps that meet it, which are in registers, on a CPU a column of taps
          at a time (3 x 3, stride 1 or 2). A tile starts where a window does, so which taps meet is known to the compiler: under
          a stride no tap is tried in vain. Other filters: pixel by pixel
Limit     memory, with 3 x 3 filters: rows of dy that two tiles share come from L1 and L2
Next      backward_data_6_grouped.cuh sums over the filters of a group
Storage   float half bfloat16 double
*/
#include "depthwise.h"

namespace pycnn {

// How many outputs before that of a tile's first pixel still reach into the tile.
template <int kStride> inline constexpr int kReach = (3 - 1) / kStride;

// The tile of pixels: whole steps of a stride.
template <int V, int kStride> inline constexpr int kPixelRows = kTileRows<V, 1> < kStride ? kStride : kTileRows<V, 1>;
template <int kStride> inline constexpr int kPixelColumns = kTileColumns < kStride ? kStride : kTileColumns;

// sum[a][b] += the products of the tile whose first pixel is the first tap of output (p0, q0) of image dy, for kWides times V
// channels, column by column. With kInside all outputs that reach into it exist.
template <bool kInside, int kStride, int kRows, int kColumns, class A, int V, int kWides, class T>
__device__ __forceinline__ void add_gradients(const T* dy, int64_t dy_pitch, int p0, int q0, const ConvShape& sh,
                                              const FilterTaps<A, V, kWides>& taps, Wide<A, V> (&sum)[kRows][kColumns][kWides]) {
  const int64_t line = sh.Q * dy_pitch;
  UNROLLED for (int j = -kReach<kStride>; j <= (kColumns - 1) / kStride; j++) {
    if (!kInside && (q0 + j < 0 || q0 + j >= sh.Q)) continue;
    const auto& column = taps.template column<kColumns>(-j);
    const T* pixel = unknown(dy + (int64_t(p0) * sh.Q + q0 + j) * dy_pitch);
    UNROLLED for (int i = -kReach<kStride>; i <= (kRows - 1) / kStride; i++) {
      if (!kInside && (p0 + i < 0 || p0 + i >= sh.P)) continue;
      UNROLLED for (int k = 0; k < kWides; k++) {
        const auto value = load_once<A, V>(pixel + i * line + k * V);
        UNROLLED for (int a = 0; a < kRows; a++) {
          UNROLLED for (int b = 0; b < kColumns; b++) {
            const int r = a - i * kStride, s = b - j * kStride;
            if (r < 0 || r >= 3 || s < 0 || s >= 3) continue;
            sum[a][b][k] += value * column.at(r, s, k);
          }
        }
      }
    }
  }
}

template <class T, int kMaxV, int kStride>
__global__ void conv2d_backward_data_kernel5(const T* dy, int64_t dy_pitch, const Accumulator<T>* taps, const T* bias, T* dx,
                                             int64_t dx_pitch, ConvShape sh, RowParts parts, TapStrips strips) {
  using A = Accumulator<T>;
  constexpr int kRows = kPixelRows<kMaxV, kStride>, kColumns = kPixelColumns<kStride>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int H = int(sh.H), W = int(sh.W);
  const int before_h = int(sh.pad_h % kStride), before_w = int(sh.pad_w % kStride);  // pixels of the first tiles outside dx
  const int64_t tile_rows = ceil_div(H + before_h, kRows), n = part.row / tile_rows;
  const int h = int(part.row % tile_rows) * kRows - before_h, p0 = (h + int(sh.pad_h)) / kStride;
  dy += n * sh.P * sh.Q * dy_pitch;
  dx += n * H * W * dx_pitch;

  for (int column = part.begin; column < part.end; column += kColumns) {
    const int w = column - before_w, q0 = (w + int(sh.pad_w)) / kStride;
    const bool inside = p0 >= kReach<kStride> && p0 + (kRows - 1) / kStride < sh.P && q0 >= kReach<kStride> &&
                        q0 + (kColumns - 1) / kStride < sh.Q;
    for_strips<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = kWideLanes<A, decltype(lanes)::value>, kWides = decltype(lanes)::value / V;
      const FilterTaps<A, V, kWides> tap(strips.first(taps, c), strips.step<V * kWides>());
      Wide<A, V> sum[kRows][kColumns][kWides];
      UNROLLED for (int k = 0; k < kWides; k++) {
        const Wide<A, V> first = bias ? load_wide<A, V>(bias + c + k * V) : Wide<A, V>{};
        UNROLLED for (int a = 0; a < kRows; a++) UNROLLED for (int b = 0; b < kColumns; b++) sum[a][b][k] = first;
      }
      if (inside) add_gradients<true, kStride, kRows, kColumns, A, V, kWides>(dy + c, dy_pitch, p0, q0, sh, tap, sum);
      else add_gradients<false, kStride, kRows, kColumns, A, V, kWides>(dy + c, dy_pitch, p0, q0, sh, tap, sum);

      UNROLLED for (int a = 0; a < kRows; a++) {
        if (h + a < 0 || h + a >= H) continue;
        T* row = unknown(dx + (int64_t(h + a) * W + w) * dx_pitch + c);
        UNROLLED for (int b = 0; b < kColumns; b++) {
          if (w + b < 0 || w + b >= W) continue;
          UNROLLED for (int k = 0; k < kWides; k++) store_sums<A, V>(sum[a][b][k], row + b * dx_pitch + k * V, sh.accumulate);
        }
      }
    });
  }
}

// Any filter, stride and dilation.
template <class T, int kMaxV>
__global__ void conv2d_backward_data_any_kernel5(const T* dy, int64_t dy_pitch, const Accumulator<T>* taps, const T* bias, T* dx,
                                                 int64_t dx_pitch, ConvShape sh, RowParts parts, TapStrips strips) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int h = int(part.row % sh.H + sh.pad_h), stride_h = int(sh.stride_h), dilation_h = int(sh.dilation_h);
  const int stride_w = int(sh.stride_w), dilation_w = int(sh.dilation_w);
  const Outputs over_h(h, int(sh.R), stride_h, dilation_h, int(sh.P));
  dy += part.row / sh.H * sh.P * sh.Q * dy_pitch;

  for (int column = part.begin; column < part.end; column++) {
    const int w = column + int(sh.pad_w);
    const Outputs over_w(w, int(sh.S), stride_w, dilation_w, int(sh.Q));
    for_strips<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      Wide<A, V> sum = bias ? load_wide<A, V>(bias + c) : Wide<A, V>{};
      for (int p = over_h.begin; p < over_h.end; p++) {
        const int r = (h - p * stride_h) / dilation_h;
        if (r * dilation_h != h - p * stride_h) continue;  // between two taps
        for (int q = over_w.begin; q < over_w.end; q++) {
          const int s = (w - q * stride_w) / dilation_w;
          if (s * dilation_w != w - q * stride_w) continue;
          const auto value = load_wide<A, V>(dy + (int64_t(p) * sh.Q + q) * dy_pitch + c);
          sum += value * load_wide<A, V>(strips.first(taps, c) + (r * sh.S + s) * strips.step<V>());
        }
      }
      store_sums<A, V>(sum, dx + (part.row * sh.W + column) * dx_pitch + c, sh.accumulate);
    });
  }
}

template <class T>
void conv2d_backward_data5(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto lanes) {
    with_filter(sh, [&](auto filter, auto stride) {
      constexpr int line = kLineLanes<T, decltype(lanes)::value>, strip = kStripLanes<T, decltype(lanes)::value>;
      constexpr int V = filter ? line : strip;
      const TapStrips strips(sh, V);
      const auto* taps = depthwise_taps<T>(plan, strips, weight);
      constexpr int step = filter ? stride : 1, height = filter ? kPixelRows<V, step> : 1;
      const RowParts parts(sh.N * ceil_div(sh.H + sh.pad_h % step, height), sh.W + sh.pad_w % step, sh.C, V);
      constexpr auto kernel = filter ? conv2d_backward_data_kernel5<T, line, step> : conv2d_backward_data_any_kernel5<T, strip>;
      launch<kernel>(parts.geometry(), dy.as<const T>(), dy.pitch, taps, bias.as<const T>(), dx.as<T>(), dx.pitch, sh, parts,
                     strips);
    });
  });
}

REGISTER_VERSION(Conv2dBackwardData, depthwise_strips, 5, "depthwise, 16 bytes of channels of a tile of pixels a thread",
                 supports_depthwise_strips<STORAGE>, conv2d_backward_data5<STORAGE>);

}  // namespace pycnn
