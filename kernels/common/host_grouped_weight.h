// backward_weight of the convolutions of host_grouped.h: vectors of neighbouring filters again, their sums over the pixels in registers.
#pragma once
#include "host_grouped.h"

namespace pycnn::host {

// sum[c] += the c-th channel of each lane's group * gradient, for the c given.
template <int G, class T, int... c>
void add_products(Vec<T> x, Vec<T> gradient, Vec<T>* sum, std::integer_sequence<int, c...>) {
  ((sum[c] += spread<G, c, T>(x, std::make_integer_sequence<int, kLanes<T>>{}) * gradient), ...);
}

// The cut of the lines (n,p) of dy: blocks that are copied into cache together, and pieces of blocks with sums of their own.
template <class T> struct LaneCut {
  static constexpr int64_t kRows = 98304 / sizeof(T), kPixels = 256;  // elements of x, pixels of dy in a block
  int64_t lines, columns, width, block, pieces, elements;
  explicit LaneCut(const ConvShape& sh) : lines(sh.N * sh.P) {
    columns = (sh.Q - 1) * sh.stride_w + (sh.S - 1) * sh.dilation_w + 1;
    width = std::max<int64_t>(sh.group_C(), kLanes<T>);
    elements = sh.K * sh.R * sh.S * sh.group_C();
    const int64_t span = (sh.R - 1) * sh.dilation_h + 1;
    block = std::max<int64_t>(1, kPixels / std::max<int64_t>(1, sh.Q));
    while (block > 1 && (block * sh.stride_h + (block / std::max<int64_t>(1, sh.P) + 2) * span) * columns * width > kRows)
      block--;
    fits = sh.Q <= kPixels && span * columns * width <= kRows && sh.R <= kMaxGroupedTaps;
    pieces = std::max<int64_t>(1, std::min({int64_t(32), lines / block, (2 << 20) / std::max<int64_t>(1, elements)}));
  }
  bool fits;
};

template <class T> bool backward_weight_runs_in_lanes(const ConvShape& sh) {
  return runs_in_lanes<T>(sh, sh.group_C(), sh.group_K()) && LaneCut<T>(sh).fits;
}

// Lines of dy and x as copied: line i of dy at dy + i * Q * L, its first tap's line of x at x + row[i].
template <class T> struct LaneBlock {
  const T *dy, *x;
  const int64_t* row;
  int64_t lines, Q, pixel_step, tap_step;
};

// sums[tap][c] (+)= over the pixels of a block dy * channel c at `taps` neighbouring taps. x: offset of the first.
template <class T, int G, int taps>
void lane_sums(const LaneBlock<T>& b, int64_t x, T* sums, int64_t tap_size, bool add) {
  constexpr int L = kLanes<T>, channels = G ? G : 8;
  Vec<T> sum[taps][channels];
  PYCNN_UNROLL
  for (int t = 0; t < taps; t++) {
    PYCNN_UNROLL
    for (int c = 0; c < channels; c++) sum[t][c] = add ? load(sums + t * tap_size + c * L) : Vec<T>{};
  }
  const T* dy = b.dy;
  for (int64_t line = 0; line < b.lines; line++) {
    const T* in = b.x + b.row[line] + x;
    for (int64_t q = 0; q < b.Q; q++, dy += L, in += b.pixel_step) {
      const Vec<T> gradient = load(dy);
      PYCNN_UNROLL
      for (int t = 0; t < taps; t++) {
        if constexpr (G > 0) {
          const Vec<T> value = load(in + t * b.tap_step);
          add_products<G, T>(value, gradient, sum[t], std::make_integer_sequence<int, G>{});
        } else {
          PYCNN_UNROLL
          for (int c = 0; c < channels; c++) sum[t][c] += in[t * b.tap_step + c] * gradient;
        }
      }
    }
  }
  PYCNN_UNROLL
  for (int t = 0; t < taps; t++) {
    PYCNN_UNROLL
    for (int c = 0; c < channels; c++) store(sums + t * tap_size + c * L, sum[t][c]);
  }
}

template <class T, int G>
void lane_sums_of_taps(const ConvShape& sh, const LaneBlock<T>& b, int64_t columns, int64_t width, T* sums, bool add) {
  const int64_t C = sh.group_C(), tap_size = C * kLanes<T>;
  for (int64_t r = 0; r < sh.R; r++) {
    const int64_t line = r * sh.dilation_h * columns * width;
    for (int64_t s = 0; s < sh.S;) {
      T* out = sums + (r * sh.S + s) * tap_size;
      if constexpr (G > 0) {
        const int64_t count = std::min<int64_t>(3, sh.S - s);
        (count == 3   ? lane_sums<T, G, 3>
         : count == 2 ? lane_sums<T, G, 2>
                      : lane_sums<T, G, 1>)(b, line + s * b.tap_step, out, tap_size, add);
        s += count;
      } else {
        for (int64_t c = 0; c < C; c += 8) lane_sums<T, 0, 1>(b, line + s * b.tap_step + c, out + c * kLanes<T>, tap_size, add);
        s++;
      }
    }
  }
}

template <class T>
void grouped_backward_weight(const ConvShape& sh, Array dy, Array x, Array dweight, T* partial) {
  constexpr int L = kLanes<T>;
  const LaneCut<T> cut(sh);
  const int64_t C = sh.group_C(), K = sh.group_K(), units = sh.K / L, unit_size = sh.R * sh.S * C * L;
  const bool shared = shares_vectors<T>(C, K);
  const int64_t width = shared ? L : C;
  auto* const kernel = !shared  ? lane_sums_of_taps<T, 0>
                       : C == 2 ? lane_sums_of_taps<T, 2>
                       : C == 4 ? lane_sums_of_taps<T, 4>
                                : lane_sums_of_taps<T, 8>;
  for_each(cut.pieces * units, 2.0 * cut.lines * sh.Q * cut.elements, [&](int64_t item) {
    const int64_t unit = item % units, piece = item / units, end = (piece + 1) * cut.lines / cut.pieces;
    const int64_t channel = shared ? unit * L : unit * L / K * C;
    T* sums = partial + piece * cut.elements + unit * unit_size;
    alignas(64) T x_block[LaneCut<T>::kRows], dy_block[LaneCut<T>::kPixels * L];
    int64_t row[LaneCut<T>::kPixels];
    const int64_t begin = piece * cut.lines / cut.pieces;
    if (begin == end) std::fill_n(sums, unit_size, T(0));
    for (int64_t first = begin; first < end; first += cut.block) {
      const int64_t lines = std::min(cut.block, end - first);
      int64_t used = 0, held = 0;  // lines of x copied; the line after the last of them
      for (int64_t i = 0; i < lines; i++) {
        const int64_t image = (first + i) / sh.P, p = (first + i) % sh.P, h0 = p * sh.stride_h - sh.pad_h;
        if (i == 0 || p == 0) held = h0;
        row[i] = (used + h0 - held) * cut.columns * width;
        for (; held < h0 + (sh.R - 1) * sh.dilation_h + 1; held++, used++) {
          T* out = x_block + used * cut.columns * width;
          if (held < 0 || held >= sh.H) std::fill_n(out, cut.columns * width, T(0));
          else
            copy_line(x.as<const T>() + (image * sh.H + held) * sh.W * x.pitch + channel, x.pitch, sh.W, -sh.pad_w, cut.columns,
                      width, out);
        }
        copy_line(dy.as<const T>() + (first + i) * sh.Q * dy.pitch + unit * L, dy.pitch, sh.Q, 0, sh.Q, L,
                  dy_block + i * sh.Q * L);
      }
      kernel(sh, {dy_block, x_block, row, lines, sh.Q, sh.stride_w * width, sh.dilation_w * width}, cut.columns, width, sums,
             first > begin);
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
