// backward_weight of the convolutions of host_grouped.h: vectors of neighbouring filters again, their sums over the pixels in registers.
#pragma once
#include "host_grouped.h"

namespace pycnn::host {

// Channels whose sums are kept in registers together.
template <int G, int taps> inline constexpr int lane_channels = G ? G : taps == 1 ? 8 : 4;
template <class T> inline constexpr int kMaxPlanes = 64 / kLanes<T>;  // of x and dy

// The cut of the lines (n,p) of dy: blocks that are copied into cache together, and pieces of blocks with sums of their own.
template <class T> struct LaneCut {
  static constexpr int64_t kRows = 24576 / sizeof(T), kPixels = 256;  // elements of x in a plane, pixels of dy in a block
  int64_t lines, columns, block, pieces, elements;
  bool fits;
  explicit LaneCut(const ConvShape& sh) : lines(sh.N * sh.P) {
    columns = (sh.Q - 1) * sh.stride_w + (sh.S - 1) * sh.dilation_w + 1;
    elements = sh.K * sh.R * sh.S * sh.group_C();
    const int64_t span = (sh.R - 1) * sh.dilation_h + 1, line = columns * kLanes<T>, P = std::max<int64_t>(1, sh.P);
    const auto held = [&](int64_t lines) { return ((lines - 1) * sh.stride_h + (ceil_div(lines - 1, P) + 1) * span) * line; };
    block = std::max<int64_t>(1, kPixels / std::max<int64_t>(1, sh.Q));
    while (block > 1 && held(block) > kRows) block--;
    fits = sh.Q <= kPixels && span * line <= kRows && sh.R <= kMaxGroupedTaps;
    pieces = std::max<int64_t>(1, std::min({int64_t(32), lines / block, (2 << 20) / std::max<int64_t>(1, elements)}));
  }
};

template <class T> bool backward_weight_runs_in_lanes(const ConvShape& sh) {
  return runs_in_lanes<T>(sh, sh.group_C(), sh.group_K()) && LaneCut<T>(sh).fits;
}

// Lines of dy and x as copied: line i of dy at dy + i * Q * lanes, its first tap's line of x at x + row[i].
template <class T> struct LaneBlock {
  const T *dy, *x;
  const int64_t* row;
  int64_t lines, Q, pixel_step, tap_step;
};

// sums[tap][c] (+)= over the pixels of a block dy * channel c at `taps` neighbouring taps. x: offset of the first.
// stride > 0: taps are one pixel apart and dy's pixels `stride`; then each pixel of x is loaded once for all taps that meet it.
template <class T, int G, int taps, int stride>
void lane_sums(const LaneBlock<T>& b, int64_t x, T* sums, int64_t tap_size, bool add) {
  constexpr int L = kLanes<T>, channels = lane_channels<G, taps>;
  Vec<T> sum[taps][channels];
  unrolled<taps * channels>([&](auto i) INLINED {
    sum[i / channels][i % channels] = add ? load(sums + i / channels * tap_size + i % channels * L) : Vec<T>{};
  });
  const T* dy = b.dy;
  for (int64_t line = 0; line < b.lines; line++, dy += b.Q * L) {
    const T* in = b.x + b.row[line] + x;
    if constexpr (stride > 0) {
      constexpr int most = (taps - 1) / stride;
      // Pixels q * stride ... of x meet pixels q - first ... q - last of dy.
      const auto add_pixels = [&](int64_t q, auto first, auto last) INLINED {
        Vec<T> gradient[taps];
        unrolled<last - first + 1>([&](auto i) INLINED { gradient[first + i] = load_once(dy + (q - first - i) * L); });
        unrolled<std::min<int>(stride, taps - first * stride) * channels>([&](auto i) INLINED {
          constexpr int pixel = i / channels, c = i % channels;
          const Vec<T> value = channel_of<G, c>(in + (q * stride + pixel) * L + (G ? 0 : c));
          unrolled<last - first + 1>([&](auto j) INLINED {
            constexpr int tap = pixel + (first + j) * stride;
            if constexpr (tap < taps) sum[tap][c] += value * gradient[first + j];
          });
        });
      };
      const std::integral_constant<int, 0> none;
      const std::integral_constant<int, most> all;
      unrolled<most>([&](auto i) INLINED { add_pixels(i, none, i); });
      for (int64_t q = most; q < b.Q; q++) add_pixels(q, none, all);
      unrolled<most>([&](auto i) INLINED { add_pixels(b.Q + i, std::integral_constant<int, i + 1>(), all); });
    } else {
      for (int64_t q = 0; q < b.Q; q++, in += b.pixel_step) {
        const Vec<T> gradient = load_once(dy + q * L);
        unrolled<taps * channels>([&](auto i) INLINED {
          constexpr int tap = i / channels, c = i % channels;
          sum[tap][c] += channel_of<G, c>(in + tap * b.tap_step + (G ? 0 : c)) * gradient;
        });
      }
    }
  }
  unrolled<taps * channels>(
      [&](auto i) INLINED { store(sums + i / channels * tap_size + i % channels * L, sum[i / channels][i % channels]); });
}

// The sums of one unit of filters.
template <class T, int G> void lane_sums_of_taps(const ConvShape& sh, const LaneBlock<T>& b, int64_t columns, T* sums, bool add) {
  constexpr int L = kLanes<T>, two = G ? 0 : 2;  // where groups share a vector, taps are not joint under a stride
  const int64_t C = sh.group_C(), tap_size = C * L;
  const int64_t stride = sh.stride_w <= 2 && sh.dilation_w == 1 && sh.Q >= 2 ? sh.stride_w : 0;
  for (int64_t plane = 0; plane < C; plane += L) {
    for (int64_t r = 0; r < sh.R; r++) {
      for (int64_t s = 0; s < sh.S; s += 3) {
        const int64_t count = std::min<int64_t>(3, sh.S - s), step = count == 1 ? lane_channels<G, 1> : lane_channels<G, 3>;
        auto* const kernel = count == 1    ? lane_sums<T, G, 1, 0>
                             : count == 2  ? lane_sums<T, G, 2, 0>
                             : stride == 1 ? lane_sums<T, G, 3, 1>
                             : stride == 2 ? lane_sums<T, G, 3, two>
                                           : lane_sums<T, G, 3, 0>;
        const int64_t x = plane / L * LaneCut<T>::kRows + r * sh.dilation_h * columns * L + s * b.tap_step;
        for (int64_t c = 0; c < std::min<int64_t>(C, L); c += step)
          kernel(b, x + c, sums + ((r * sh.S + s) * C + plane + c) * L, tap_size, add);
      }
    }
  }
}

template <class T> auto* lane_sums_kernel(int64_t G) {
  if constexpr (kLanes<T> > 8)
    if (G == 8) return lane_sums_of_taps<T, 8>;
  if constexpr (kLanes<T> > 4)
    if (G == 4) return lane_sums_of_taps<T, 4>;
  return G == 2 ? lane_sums_of_taps<T, 2> : lane_sums_of_taps<T, 0>;
}

template <class T>
void grouped_backward_weight(const ConvShape& sh, Array dy, Array x, Array dweight, T* partial) {
  constexpr int L = kLanes<T>;
  constexpr int64_t dy_plane = LaneCut<T>::kPixels * L;
  const LaneCut<T> cut(sh);
  const int64_t C = sh.group_C(), K = sh.group_K(), units = sh.K / L, unit_size = sh.R * sh.S * C * L;
  const LaneUnits<T> n(sh.groups, C, K, 1);
  auto* const kernel = lane_sums_kernel<T>(n.shared ? C : 0);
  for_each(cut.pieces * n.bundles(), 2.0 * cut.lines * sh.Q * cut.elements, [&](int64_t item) {
    const int64_t unit = item % n.bundles() * n.bundle, bundle = n.end(unit) - unit, piece = item / n.bundles();
    const int64_t channel = n.channel(unit), channels = n.channels(unit), line_size = cut.columns * L;
    const int64_t begin = piece * cut.lines / cut.pieces, end = (piece + 1) * cut.lines / cut.pieces;
    T* sums = partial + piece * cut.elements + unit * unit_size;
    alignas(64) T x_block[kMaxPlanes<T> * LaneCut<T>::kRows], dy_block[kMaxPlanes<T> * dy_plane];
    int64_t row[LaneCut<T>::kPixels];
    if (begin == end) std::fill_n(sums, bundle * unit_size, T(0));
    for (int64_t first = begin; first < end; first += cut.block) {
      const int64_t lines = std::min(cut.block, end - first), pixels = lines * sh.Q;
      int64_t used = 0, held = 0;  // lines of x copied; the line after the last of them
      for (int64_t i = 0; i < lines; i++) {
        const int64_t image = (first + i) / sh.P, p = (first + i) % sh.P, h0 = p * sh.stride_h - sh.pad_h;
        if (i == 0 || p == 0) held = h0;
        row[i] = (used + h0 - held) * line_size;
        for (; held < h0 + (sh.R - 1) * sh.dilation_h + 1; held++, used++) {
          const bool outside = held < 0 || held >= sh.H;
          const T* in = x.as<const T>() + (outside ? 0 : (image * sh.H + held) * sh.W * x.pitch) + channel;
          copy_line(in, x.pitch, outside ? 0 : sh.W, -sh.pad_w, cut.columns, channels, x_block + used * line_size, cut.kRows);
        }
      }
      const T* gradient = dy.as<const T>() + first * sh.Q * dy.pitch + unit * L;
      copy_line(gradient, dy.pitch, pixels, 0, pixels, bundle * L, dy_block, dy_plane);
      for (int64_t u = 0; u < bundle; u++) {
        const T* x_unit = x_block + (n.channel(unit + u) - channel) / L * cut.kRows;
        kernel(sh, {dy_block + u * dy_plane, x_unit, row, lines, sh.Q, sh.stride_w * L, sh.dilation_w * L}, cut.columns,
               sums + u * unit_size, first > begin);
      }
    }
  });
  for_each(units, double(cut.pieces * cut.elements), [&](int64_t unit) {
    T* out = dweight.as<T>() + unit * unit_size;
    for (int64_t i = 0; i < unit_size / L; i++) {
      Vec<T> sum = load(partial + unit * unit_size + i * L);
      for (int64_t piece = 1; piece < cut.pieces; piece++) sum += load(partial + piece * cut.elements + unit * unit_size + i * L);
      for (int64_t k = 0; k < L; k++) {
        T& weight = out[k * (unit_size / L) + i];
        weight = sh.accumulate ? weight + sum[k] : sum[k];
      }
    }
  });
}

}  // namespace pycnn::host
