/*
conv2d backward_weight (wgrad), version 5: depthwise, a thread sums all taps of 16 bytes of channels, where version 4 sums one.

Math      partial[piece,r,s,c] = sum over the lines (n,p) of a piece and all q of
          dy[n,p,q,c] * x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c];  dweight[c,r,s] = the sum of the pieces,
          first to last
Memory    dy: N,P,Q,C   x: N,H,W,C   dweight: C,R,S in the accumulator type   (dy and x with a pitch)
          partial: pieces,R,S,C in the workspace
Threads   V channels of a piece, c fastest: a warp reads 512 contiguous bytes. The sums of 3 x 3 taps stay in registers while
          tiles of 2 x 4 pixels of dy pass by, each of which meets all its pixels of x (stride 1 or 2). On a CPU a tile of 4 x 1
          meets all channels before the next, so that memory is read in order, and the sums stay in L1, those of a column of
          taps in registers. Other filters: one tap after the other
Limit     a GPU has C/V threads for each of at most 256 pieces, few for a layer of 32 channels
Next      backward_weight_6_grouped.cuh
Storage   float half bfloat16 double
*/
#include "depthwise.h"

namespace pycnn {

// Adds the products of the tile of outputs at (p, q) to the sums, column by column of x. With kInside all of it and all its taps
// exist. On a CPU its outputs always do: the lines left over are a lower tile.
template <bool kInside, int kStride, int kRows, class A, int V, int kWides, class T>
__device__ __forceinline__ void add_tile(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch, int p, int q, int p_end,
                                         const ConvShape& sh, TapSums<A, V, kWides>& sums) {
  constexpr bool kWhole = kInside || !PYCNN_CUDA;
  const int h0 = p * kStride - int(sh.pad_h), w0 = q * kStride - int(sh.pad_w);
  const int64_t line = sh.W * x_pitch;
  Wide<A, V> gradient[kRows][kTileColumns][kWides];
  UNROLLED for (int a = 0; a < kRows; a++) {
    const T* row = unknown(dy + (int64_t(p + a) * sh.Q + q) * dy_pitch);
    UNROLLED for (int b = 0; b < kTileColumns; b++) {
      if (!kWhole && (p + a >= p_end || q + b >= sh.Q)) continue;
      UNROLLED for (int k = 0; k < kWides; k++) gradient[a][b][k] = load_wide<A, V>(row + b * dy_pitch + k * V);
    }
  }
  UNROLLED for (int j = 0; j < (kTileColumns - 1) * kStride + 3; j++) {
    if (!kInside && (w0 + j < 0 || w0 + j >= sh.W)) continue;  // padding contributes zero
    auto&& column = sums.column(j);
    const T* pixel = unknown(x + (int64_t(h0) * sh.W + w0 + j) * x_pitch);
    UNROLLED for (int i = 0; i < (kRows - 1) * kStride + 3; i++) {
      if (!kInside && (h0 + i < 0 || h0 + i >= sh.H)) continue;
      UNROLLED for (int k = 0; k < kWides; k++) {
        const auto value = load_once<A, V>(pixel + i * line + k * V);
        UNROLLED for (int a = 0; a < kRows; a++) {
          UNROLLED for (int b = 0; b < kTileColumns; b++) {
            const int r = i - a * kStride, s = j - b * kStride;
            if (r < 0 || r >= 3 || s < 0 || s >= 3) continue;
            if (!kWhole && (p + a >= p_end || q + b >= sh.Q)) continue;
            column.at(r, s, k) += value * gradient[a][b][k];
          }
        }
      }
    }
    sums.keep(j, column);
  }
}

// body(rows) with 1 <= rows <= kRows as a constant; a GPU's tiles are all of kRows.
template <int kRows, class Body>
__device__ __forceinline__ void with_height(int rows, const Body& body) {
  if constexpr (PYCNN_CUDA || kRows == 1) body(std::integral_constant<int, kRows>{});
  else rows == kRows ? body(std::integral_constant<int, kRows>{}) : with_height<kRows - 1>(rows, body);
}

template <class T, int kMaxV, int kStride>
__global__ void conv2d_backward_weight_kernel5(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch,
                                               Accumulator<T>* partial, ConvShape sh, LinePieces pieces, ChannelParts channels) {
  using A = Accumulator<T>;
  constexpr int kRows = kTileRows<kMaxV, kStride>;
  const int64_t item = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (item >= pieces.count * channels.count) return;
  const int64_t piece = item / channels.count;
  const int c_begin = channels.begin(item % channels.count), c_end = channels.begin(item % channels.count + 1);
  partial += piece * 9 * sh.C;

  // body(image of dy, image of x, p, q, end of the piece in this image, rows of the tile, all of it exists) for each tile
  auto for_tiles = [&](auto body) {
    int64_t line = pieces.begin(piece);
    while (line < pieces.begin(piece + 1)) {
      const int64_t n = line / sh.P, left = pieces.begin(piece + 1) - line;
      const int p_begin = int(line % sh.P), p_end = int(left < sh.P - p_begin ? p_begin + left : sh.P);
      const T *dy_image = dy + n * sh.P * sh.Q * dy_pitch, *x_image = x + n * sh.H * sh.W * x_pitch;
      for (int p = p_begin, rows; p < p_end; p += rows) {
        rows = PYCNN_CUDA || p + kRows <= p_end ? kRows : p_end - p;
        const int h0 = p * kStride - int(sh.pad_h);
        const bool inside_h = p + kRows <= p_end && h0 >= 0 && h0 + (kRows - 1) * kStride + 3 <= sh.H;
        for (int q = 0; q < sh.Q; q += kTileColumns) {
          const int w0 = q * kStride - int(sh.pad_w);
          body(dy_image, x_image, p, q, p_end, rows,
               inside_h && q + kTileColumns <= sh.Q && w0 >= 0 && w0 + (kTileColumns - 1) * kStride + 3 <= sh.W);
        }
      }
      line += p_end - p_begin;
    }
  };
  auto add = [&](int c, const T* dy_image, const T* x_image, int p, int q, int p_end, int rows, bool inside, auto& sums) {
    auto add_rows = [&](auto all_inside, auto count) {
      add_tile<all_inside, kStride, count>(dy_image + c, dy_pitch, x_image + c, x_pitch, p, q, p_end, sh, sums);
    };
    if (inside) add_rows(std::true_type{}, std::integral_constant<int, kRows>{});
    else with_height<kRows>(rows, [&](auto count) { add_rows(std::false_type{}, count); });
  };

#if PYCNN_CUDA
  for_strips<kMaxV>(c_begin, c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    TapSums<A, V, 1> sums;
    for_tiles([&](const T* dy_image, const T* x_image, int p, int q, int p_end, int rows, bool inside) {
      add(c, dy_image, x_image, p, q, p_end, rows, inside, sums);
    });
    for (int tap = 0; tap < 9; tap++) store_wide<A, V>(sums.at(tap / 3, tap % 3, 0), partial + tap * sh.C + c);
  });
#else
  A sums[ChannelParts::kMost * 9] = {};  // strip by strip: taps C apart would share few sets of the cache
  for_tiles([&](const T* dy_image, const T* x_image, int p, int q, int p_end, int rows, bool inside) {
    for_strips<kMaxV>(c_begin, c_end, [&](auto lanes, int c) {
      constexpr int V = kWideLanes<A, decltype(lanes)::value>, kWides = decltype(lanes)::value / V;
      TapSums<A, V, kWides> strip(sums + (c - c_begin) * 9);
      add(c, dy_image, x_image, p, q, p_end, rows, inside, strip);
    });
  });
  for_strips<kMaxV>(c_begin, c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    for (int tap = 0; tap < 9; tap++) std::copy_n(sums + (c - c_begin) * 9 + tap * V, V, partial + tap * sh.C + c);
  });
#endif
}

// Any filter, stride and dilation.
template <class T, int kMaxV>
__global__ void conv2d_backward_weight_any_kernel5(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch,
                                                   Accumulator<T>* partial, ConvShape sh, LinePieces pieces,
                                                   ChannelParts channels) {
  using A = Accumulator<T>;
  const int64_t item = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, taps = sh.R * sh.S;
  if (item >= pieces.count * taps * channels.count) return;
  const int64_t part = item % channels.count, tap = item / channels.count % taps, piece = item / channels.count / taps;
  const int r = int(tap / sh.S), s = int(tap % sh.S);

  for_strips<kMaxV>(channels.begin(part), channels.begin(part + 1), [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    Wide<A, V> sum = {};
    for (int64_t line = pieces.begin(piece); line < pieces.begin(piece + 1); line++) {
      const int64_t h = line % sh.P * sh.stride_h - sh.pad_h + r * sh.dilation_h;
      if (h < 0 || h >= sh.H) continue;  // padding contributes zero
      for (int q = 0; q < sh.Q; q++) {
        const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
        if (w < 0 || w >= sh.W) continue;
        const auto value = load_wide<A, V>(x + ((line / sh.P * sh.H + h) * sh.W + w) * x_pitch + c);
        sum += value * load_wide<A, V>(dy + (line * sh.Q + q) * dy_pitch + c);
      }
    }
    store_sums<A, V>(sum, partial + (piece * taps + tap) * sh.C + c, false);
  });
}

template <class T>
void conv2d_backward_weight5(const Plan& plan, Array dy, Array x, Array dweight) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ConvShape>();
  const LinePieces pieces(sh);
  A* partial = plan.workspace_as<A>();
  with_lanes<T>(int(plan.config[0]), [&](auto lanes) {
    with_filter(sh, [&](auto filter, auto stride) {
      constexpr int line = kLineLanes<T, decltype(lanes)::value>, strip = kStripLanes<T, decltype(lanes)::value>;
      constexpr int V = filter ? line : strip;
      const ChannelParts channels(sh.C, V);
      const int64_t items = pieces.count * channels.count * (filter ? 1 : sh.R * sh.S);
      constexpr unsigned block = PYCNN_CUDA ? 128 : 1;
      constexpr int step = filter ? stride : 1;
      constexpr auto kernel =
          filter ? conv2d_backward_weight_kernel5<T, line, step> : conv2d_backward_weight_any_kernel5<T, strip>;
      launch<kernel>({grid_size(ceil_div(items, block)), block}, dy.as<const T>(), dy.pitch, x.as<const T>(), x.pitch, partial,
                     sh, pieces, channels);
    });
  });
  add_line_pieces(partial, pieces, dweight.as<A>(), sh.K, sh.R * sh.S, sh.accumulate != 0);
}

template <class T>
const char* supports_backward_weight5(const ConvShape& sh, const Request& request, Plan& plan) {
  if (sh.K != sh.C) return "its lanes need one filter for each channel (K = C)";
  if (const char* reason = supports_depthwise_pieces<T>(sh, request, plan)) return reason;
  return supports_vectorized<T>(sh, request, plan);
}

REGISTER_VERSION(Conv2dBackwardWeight, depthwise_strips, 5, "depthwise, all taps of 16 bytes of channels of a piece a thread",
                 supports_backward_weight5<STORAGE>, conv2d_backward_weight5<STORAGE>);

}  // namespace pycnn
