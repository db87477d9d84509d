// Grouped convolutions of a CPU whose groups are too narrow for a matrix product each. A vector holds neighbouring filters: those
// of several groups, each of which then needs the c-th channel of its own group (one shuffle of a vector of channels), or a
// part of one wide group, which needs the c-th channel in all lanes. No column matrix; all groups run in one parallel loop.
#pragma once
#include "host_gemm.h"

#include "conv_shape.h"

namespace pycnn::host {

inline constexpr int kLanePixels = kTileRows + 2;  // pixels of a tile of one vector of filters
inline constexpr int kMaxGroupedTaps = 16;         // along one axis
template <class T> inline constexpr int kLineBuffer = 32768 / sizeof(T);

// A convolution of `images` images, its filters' lanes being channels of `out`.
template <class T> struct GroupedShape {
  int64_t images, groups, ins, outs;  // channels of one group, as this pass sees them
  int64_t R, S, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  const T* in;
  int64_t in_pitch, H, W;
  T* out;
  int64_t out_pitch, P, Q;                                 // pixels (p,q) are computed
  int64_t out_H, out_W, first_h, first_w, step_h, step_w;  // and lie at first + step * (p,q) of an image of out_H x out_W
  T* out_pixel(int64_t image, int64_t p, int64_t q) const {
    return out + ((image * out_H + first_h + p * step_h) * out_W + first_w + q * step_w) * out_pitch;
  }
};

// Several groups share a vector: as many filters as channels in each.
template <class T> bool shares_vectors(int64_t ins, int64_t outs) {
  return ins == outs && outs < kLanes<T> && (outs == 2 || outs == 4 || outs == 8);
}

// Whether a pass from groups of `ins` to groups of `outs` channels runs as above; wider ones are better off as matrix products.
template <class T> bool runs_in_lanes(const ConvShape& sh, int64_t ins, int64_t outs) {
  const bool fits = sh.R <= kMaxGroupedTaps && ((sh.R - 1) * sh.dilation_h + 1) * std::max<int64_t>(ins, kLanes<T>) *
                                                       ((kLanePixels - 1) * sh.stride_w + (sh.S - 1) * sh.dilation_w + 1) <=
                                                   kLineBuffer<T>;
  if (sh.groups < 2 || sh.groups * outs % kLanes<T> || !fits) return false;
  return shares_vectors<T>(ins, outs) || (outs % kLanes<T> == 0 && outs <= 64 && ins % 8 == 0 && ins <= 64);
}

// Vectors of filters that are computed together.
template <class T> int unit_vectors(int64_t ins, int64_t outs) {
  return !shares_vectors<T>(ins, outs) && outs % (2 * kLanes<T>) == 0 ? 2 : 1;
}

// Pixels w, w+1, ... of a line, `width` channels of each side by side (whole half vectors); outside the image they are zero.
template <class T>
void copy_line(const T* in, int64_t in_pitch, int64_t W, int64_t w, int64_t pixels, int64_t width, T* out) {
  const int64_t low = std::clamp<int64_t>(-w, 0, pixels), high = std::clamp<int64_t>(W - w, low, pixels);
  std::fill_n(out, low * width, T(0));
  if (low < high) {
    const T* first = in + (w + low) * in_pitch;
    copy_rows(first, in_pitch, high - low, width, out + low * width, width, end_of(first, high - low, in_pitch, width));
  }
  std::fill_n(out + high * width, (pixels - high) * width, T(0));
}

// Lane i of the result is the c-th channel of the group of lane i.
template <int G, int c, class T, int... i> Vec<T> spread(Vec<T> x, std::integer_sequence<int, i...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(x, x, (i / G * G + c)...);
#else
  return Vec<T>{x[i / G * G + c]...};
#endif
}

// sum[c] += the c-th channel of each lane's group * weight[c], for the c given.
template <int G, class T, int... c>
void add_spread(Vec<T> x, const Vec<T>* weight, Vec<T>& sum, std::integer_sequence<int, c...>) {
  ((sum += spread<G, c, T>(x, std::make_integer_sequence<int, kLanes<T>>{}) * weight[c]), ...);
}

// sum[c] += the c-th channel of each lane's group * gradient, for the c given.
template <int G, class T, int... c>
void add_products(Vec<T> x, Vec<T> gradient, Vec<T>* sum, std::integer_sequence<int, c...>) {
  ((sum[c] += spread<G, c, T>(x, std::make_integer_sequence<int, kLanes<T>>{}) * gradient), ...);
}

// What a tile of neighbouring output pixels is computed from, and where it goes.
template <class T> struct LaneTile {
  int64_t rows;            // of taps inside the image
  const T* const* line;    // of each: its line in the buffer, at the tile's first tap
  const T* const* weight;  // of each: its packed weights
  int64_t S, ins, tap_step, pixel_step;
  T* out;
  int64_t out_step;
  const T* bias;
  bool add;
};

// `pixels` x `vectors` sums in registers. G: channels of a group that shares its vector with others, 0: one group.
template <class T, int pixels, int vectors, int G> void lane_tile(const LaneTile<T>& t) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[pixels][vectors] = {};
  for (int64_t r = 0; r < t.rows; r++) {
    const T *weight = t.weight[r], *in = t.line[r];
    for (int64_t s = 0; s < t.S; s++, in += t.tap_step) {
      if constexpr (G > 0) {
        Vec<T> w[G];
        PYCNN_UNROLL
        for (int c = 0; c < G; c++) w[c] = load(weight + c * L);
        PYCNN_UNROLL
        for (int b = 0; b < pixels; b++)
          add_spread<G, T>(load(in + b * t.pixel_step), w, sum[b][0], std::make_integer_sequence<int, G>{});
        weight += G * L;
      } else {
        for (int64_t c = 0; c < t.ins; c++, weight += vectors * L) {
          Vec<T> w[vectors];
          PYCNN_UNROLL
          for (int v = 0; v < vectors; v++) w[v] = load(weight + v * L);
          PYCNN_UNROLL
          for (int b = 0; b < pixels; b++) {
            const T x = in[b * t.pixel_step + c];
            PYCNN_UNROLL
            for (int v = 0; v < vectors; v++) sum[b][v] += x * w[v];
          }
        }
      }
    }
  }
  PYCNN_UNROLL
  for (int b = 0; b < pixels; b++) {
    T* out = t.out + b * t.out_step;
    PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) {
      if (t.bias) sum[b][v] += load(t.bias + v * L);
      if (t.add) sum[b][v] += load(out + v * L);
      store(out + v * L, sum[b][v]);
    }
  }
}

template <class T> using LaneKernel = void (*)(const LaneTile<T>&);

template <class T, int vectors, int G, int... pixels>
LaneKernel<T> lane_kernel(int64_t count, std::integer_sequence<int, pixels...>) {
  static constexpr LaneKernel<T> kernels[] = {lane_tile<T, pixels + 1, vectors, G>...};
  return kernels[count - 1];
}

template <class T> LaneKernel<T> lane_kernel(int64_t pixels, int vectors, int64_t G) {
  const std::make_integer_sequence<int, kLanePixels> one{};
  if (vectors == 2) return lane_kernel<T, 2, 0>(pixels, std::make_integer_sequence<int, kTileRows>{});
  if (G == 0) return lane_kernel<T, 1, 0>(pixels, one);
  if (G == 2) return lane_kernel<T, 1, 2>(pixels, one);
  if constexpr (kLanes<T> > 4)
    if (G == 4) return lane_kernel<T, 1, 4>(pixels, one);
  if constexpr (kLanes<T> > 8)
    if (G == 8) return lane_kernel<T, 1, 8>(pixels, one);
  return nullptr;
}

// y = the convolution. `weight` is packed: units of filters, each R, S, ins, lanes. bias: of all filters, or nullptr.
template <class T>
void grouped_product(const GroupedShape<T>& g, const T* weight, const T* bias, bool accumulate) {
  constexpr int L = kLanes<T>;
  const bool shared = shares_vectors<T>(g.ins, g.outs);
  const int vectors = unit_vectors<T>(g.ins, g.outs);
  const int64_t lanes = vectors * L, units = g.groups * g.outs / lanes, width = shared ? L : g.ins;
  const int64_t most = vectors == 2 ? kTileRows : kLanePixels;
  // A band is some lines of one image; a chunk of it as wide as fits into the buffer.
  constexpr int64_t kBand = 8;
  const int64_t bands = ceil_div(g.P, kBand), reach = std::max<int64_t>(0, (g.S - 1) * g.dilation_w);
  const int64_t slots = std::max<int64_t>(1, (g.R - 1) * g.dilation_h + 1);
  const int64_t chunk = std::min(g.Q, std::max(most, (kLineBuffer<T> / (slots * width) - reach - 1) / g.stride_w + 1));
  const int64_t columns = (chunk - 1) * g.stride_w + reach + 1;

  for_each(g.images * bands * units, 2.0 * g.images * g.P * g.Q * g.groups * g.outs * g.R * g.S * g.ins, [&](int64_t item) {
    const int64_t unit = item % units, image = item / units / bands, band = item / units % bands;
    const int64_t channel = shared ? unit * L : unit * lanes / g.outs * g.ins;
    const T* unit_weight = weight + unit * g.R * g.S * g.ins * lanes;
    alignas(64) T buffer[kLineBuffer<T> + L];
    for (int64_t q0 = 0; q0 < g.Q; q0 += chunk) {
      const int64_t pixels = std::min(chunk, g.Q - q0), tiles = ceil_div(pixels, most);
      const int64_t w0 = q0 * g.stride_w - g.pad_w, used = (pixels - 1) * g.stride_w + reach + 1;
      int64_t held = -1;  // lines up to this one are in the buffer, line h in slot h % slots
      for (int64_t p = band * kBand; p < std::min(g.P, (band + 1) * kBand); p++) {
        const T *line[kMaxGroupedTaps], *line_weight[kMaxGroupedTaps];
        int64_t rows = 0;
        for (int64_t r = 0; r < g.R; r++) {
          const int64_t h = p * g.stride_h - g.pad_h + r * g.dilation_h;
          if (h < 0 || h >= g.H) continue;
          T* slot = buffer + h % slots * columns * width;
          if (h > held || g.dilation_h > 1) {
            copy_line(g.in + (image * g.H + h) * g.W * g.in_pitch + channel, g.in_pitch, g.W, w0, used, width, slot);
            held = h;
          }
          line[rows] = slot;
          line_weight[rows++] = unit_weight + r * g.S * g.ins * lanes;
        }
        for (int64_t t = 0; t < tiles; t++) {
          const int64_t q = t * pixels / tiles, count = (t + 1) * pixels / tiles - q;
          const T* at[kMaxGroupedTaps];
          for (int64_t i = 0; i < rows; i++) at[i] = line[i] + q * g.stride_w * width;
          lane_kernel<T>(count, vectors,
                         shared ? g.outs : 0)({rows, at, line_weight, g.S, g.ins, g.dilation_w * width, g.stride_w * width,
                                               g.out_pixel(image, p, q0 + q) + unit * lanes, g.step_w * g.out_pitch,
                                               bias ? bias + unit * lanes : nullptr, accumulate});
        }
      }
    }
  });
}

// packed[unit][r][s][c][lane] = filter(lane)[offset(r, s, c)], the lanes of a unit being neighbouring filters.
template <class T, class Filter, class Offset>
void pack_lanes(int64_t filters, int64_t lanes, int64_t R, int64_t S, int64_t ins, T* packed, const Filter& filter,
                const Offset& offset) {
  for_each(filters / lanes, 8.0 * filters * R * S * ins, [&](int64_t unit) {
    T* out = packed + unit * R * S * ins * lanes;
    const T* from[2 * kLanes<T>];
    for (int64_t i = 0; i < lanes; i++) from[i] = filter(unit * lanes + i);
    for (int64_t r = 0; r < R; r++) {
      for (int64_t s = 0; s < S; s++) {
        for (int64_t c = 0; c < ins; c++, out += lanes) {
          const int64_t at = offset(r, s, c);
          for (int64_t i = 0; i < lanes; i++) out[i] = from[i][at];
        }
      }
    }
  });
}

template <class T>
void grouped_forward(const ConvShape& sh, Array x, Array weight, Array bias, Array y, T* packed) {
  const int64_t C = sh.group_C(), K = sh.group_K();
  const T* w = weight.as<const T>();
  pack_lanes(sh.K, unit_vectors<T>(C, K) * kLanes<T>, sh.R, sh.S, C, packed, [&](int64_t k) { return w + k * sh.gemm_k(); },
             [&](int64_t r, int64_t s, int64_t c) { return (r * sh.S + s) * C + c; });
  const GroupedShape<T> g{sh.N,
                          sh.groups,
                          C,
                          K,
                          sh.R,
                          sh.S,
                          sh.stride_h,
                          sh.stride_w,
                          sh.pad_h,
                          sh.pad_w,
                          sh.dilation_h,
                          sh.dilation_w,
                          x.as<const T>(),
                          x.pitch,
                          sh.H,
                          sh.W,
                          y.as<T>(),
                          y.pitch,
                          sh.P,
                          sh.Q,
                          sh.P,
                          sh.Q,
                          0,
                          0,
                          1,
                          1};
  grouped_product(g, packed, bias.as<const T>(), sh.accumulate != 0);
}

// ---- backward_data ---------------------------------------------------------------------------------------------

// Along one axis the pixels first + stride * i of dx, i < pixels, see the taps last - step * j of dy at i - pad + dilation * j.
struct LaneClass {
  int64_t first, pixels, taps, last, step, pad, dilation;
  LaneClass(int64_t a, int64_t stride, int64_t padding, int64_t spread, int64_t extent, int64_t filter) {
    first = ((a - padding) % stride + stride) % stride;
    pixels = first < extent ? (extent - 1 - first) / stride + 1 : 0;
    taps = a < filter ? (filter - 1 - a) / stride + 1 : 0;
    last = a + (taps - 1) * stride, step = stride, dilation = spread;
    pad = (taps - 1) * spread - (first + padding - a) / stride;
  }
};

// Whether backward_data runs in lanes: between strided classes and dilated taps it does not.
template <class T> bool backward_data_runs_in_lanes(const ConvShape& sh) {
  const bool plain = (sh.stride_h == 1 || sh.dilation_h == 1) && (sh.stride_w == 1 || sh.dilation_w == 1);
  return plain && runs_in_lanes<T>(sh, sh.group_K(), sh.group_C());
}

// dx: one product for each class of pixels modulo the stride.
template <class T>
void grouped_backward_data(const ConvShape& sh, Array dy, Array weight, Array bias, Array dx, T* packed) {
  const int64_t C = sh.group_C(), K = sh.group_K();
  const T* filters = weight.as<const T>();
  for (int64_t part = 0; part < sh.stride_h * sh.stride_w; part++) {
    const LaneClass h(part / sh.stride_w, sh.stride_h, sh.pad_h, sh.dilation_h, sh.H, sh.R);
    const LaneClass w(part % sh.stride_w, sh.stride_w, sh.pad_w, sh.dilation_w, sh.W, sh.S);
    if (h.pixels == 0 || w.pixels == 0) continue;
    pack_lanes(sh.C, unit_vectors<T>(K, C) * kLanes<T>, h.taps, w.taps, K, packed, [&](int64_t c) {
      return filters + c / C * K * sh.gemm_k() + c % C;
    }, [&](int64_t r, int64_t s, int64_t k) { return ((k * sh.R + h.last - r * h.step) * sh.S + w.last - s * w.step) * C; });
    const GroupedShape<T> g{sh.N, sh.groups, K,          C,           h.taps,     w.taps,           1,
                            1,    h.pad,     w.pad,      h.dilation,  w.dilation, dy.as<const T>(), dy.pitch,
                            sh.P, sh.Q,      dx.as<T>(), dx.pitch,    h.pixels,   w.pixels,         sh.H,
                            sh.W, h.first,   w.first,    sh.stride_h, sh.stride_w};
    grouped_product<T>(g, packed, bias.as<const T>(), sh.accumulate != 0);
  }
}

// ---- backward_weight -------------------------------------------------------------------------------------------

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
