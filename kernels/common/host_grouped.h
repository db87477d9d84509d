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

// One axis of the images and filters.
struct GroupedAxis {
  int64_t taps, stride, pad, dilation;
  int64_t in;                // pixels of the input
  int64_t pixels;            // output pixels i < pixels are computed
  int64_t out, first, step;  // and lie at first + step * i of `out`

  int64_t reach() const { return std::max<int64_t>(0, (taps - 1) * dilation); }  // from the first tap to the last
};

// A convolution of `images` images, its filters' lanes being channels of `out`.
template <class T> struct GroupedShape {
  int64_t images, groups, ins, outs;  // channels of one group, as this pass sees them
  GroupedAxis h, w;
  const T* in;
  int64_t in_pitch;
  T* out;
  int64_t out_pitch;
  const T* in_line(int64_t image, int64_t line) const { return in + (image * h.in + line) * w.in * in_pitch; }
  T* out_pixel(int64_t image, int64_t p, int64_t q) const {
    return out + ((image * h.out + h.first + p * h.step) * w.out + w.first + q * w.step) * out_pitch;
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
  return shares_vectors<T>(ins, outs) || (outs % kLanes<T> == 0 && outs <= kTileColumns<T> && ins % 8 == 0 && ins <= 64);
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
  const GroupedAxis &h = g.h, &w = g.w;
  const bool shared = shares_vectors<T>(g.ins, g.outs);
  const int vectors = unit_vectors<T>(g.ins, g.outs);
  const int64_t lanes = vectors * L, units = g.groups * g.outs / lanes, own = shared ? L : g.ins;
  const int64_t most = vectors == 2 ? kTileRows : kLanePixels;
  // A band is some lines of one image; a chunk of it as wide as fits into the buffer.
  constexpr int64_t kBand = 8;
  const int64_t bands = ceil_div(h.pixels, kBand), slots = h.reach() + 1;
  // Two units whose channels share a cache line are one thread's work: they are copied together, and no two threads write to it.
  const bool neighbours = (shared || g.outs == lanes) && own * sizeof(T) < 64 && units % 2 == 0;
  const bool both_fit = 2 * own * slots * ((most - 1) * w.stride + w.reach() + 1) <= kLineBuffer<T>;
  const int64_t bundle = neighbours && both_fit ? 2 : 1, width = own * bundle, bundles = units / bundle;
  const int64_t chunk = std::min(w.pixels, std::max(most, (kLineBuffer<T> / (slots * width) - w.reach() - 1) / w.stride + 1));
  const int64_t columns = (chunk - 1) * w.stride + w.reach() + 1;

  for_each(g.images * bands * bundles, 2.0 * g.images * h.pixels * w.pixels * g.groups * g.outs * h.taps * w.taps * g.ins,
           [&](int64_t item) {
    const int64_t first = item % bundles * bundle, image = item / bundles / bands, band = item / bundles % bands;
    const int64_t channel = shared ? first * L : first * lanes / g.outs * g.ins, unit_size = h.taps * w.taps * g.ins * lanes;
    const T* first_weight = weight + first * unit_size;
    alignas(64) T buffer[kLineBuffer<T> + L];
    for (int64_t q0 = 0; q0 < w.pixels; q0 += chunk) {
      const int64_t pixels = std::min(chunk, w.pixels - q0), tiles = ceil_div(pixels, most);
      const int64_t w0 = q0 * w.stride - w.pad, used = (pixels - 1) * w.stride + w.reach() + 1;
      int64_t held = -1;  // lines up to this one are in the buffer, line `at` in slot at % slots
      for (int64_t p = band * kBand; p < std::min(h.pixels, (band + 1) * kBand); p++) {
        const T *line[kMaxGroupedTaps], *line_weight[kMaxGroupedTaps];
        int64_t rows = 0;
        for (int64_t r = 0; r < h.taps; r++) {
          const int64_t at = p * h.stride - h.pad + r * h.dilation;
          if (at < 0 || at >= h.in) continue;
          T* slot = buffer + at % slots * columns * width;
          if (at > held || h.dilation > 1) {
            copy_line(g.in_line(image, at) + channel, g.in_pitch, w.in, w0, used, width, slot);
            held = at;
          }
          line[rows] = slot;
          line_weight[rows++] = first_weight + r * w.taps * g.ins * lanes;
        }
        for (int64_t u = 0; u < bundle; u++) {
          T* out = g.out_pixel(image, p, q0) + (first + u) * lanes;
          const T *tile_line[kMaxGroupedTaps], *tile_weight[kMaxGroupedTaps];
          for (int64_t i = 0; i < rows; i++) tile_weight[i] = line_weight[i] + u * unit_size;
          for (int64_t t = 0; t < tiles; t++) {
            const int64_t q = t * pixels / tiles, count = (t + 1) * pixels / tiles - q;
            for (int64_t i = 0; i < rows; i++) tile_line[i] = line[i] + q * w.stride * width + u * own;
            lane_kernel<T>(count, vectors, shared ? g.outs : 0)(
                {rows, tile_line, tile_weight, w.taps, g.ins, w.dilation * width, w.stride * width,
                 out + q * w.step * g.out_pitch, w.step * g.out_pitch, bias ? bias + (first + u) * lanes : nullptr, accumulate});
          }
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
  GroupedShape<T> g;
  g.images = sh.N, g.groups = sh.groups, g.ins = C, g.outs = K;
  g.h = {sh.R, sh.stride_h, sh.pad_h, sh.dilation_h, sh.H, sh.P, sh.P, 0, 1};
  g.w = {sh.S, sh.stride_w, sh.pad_w, sh.dilation_w, sh.W, sh.Q, sh.Q, 0, 1};
  g.in = x.as<const T>(), g.in_pitch = x.pitch;
  g.out = y.as<T>(), g.out_pitch = y.pitch;
  grouped_product(g, packed, bias.as<const T>(), sh.accumulate != 0);
}

// ---- backward_data ---------------------------------------------------------------------------------------------

// One class of the pixels of dx along one axis: first + stride * i, i < pixels. They see the taps last - stride * j of the filter,
// at the pixels i - pad + dilation * j of dy.
struct LaneClass : GroupedAxis {
  int64_t last;
  LaneClass(int64_t a, int64_t filter_stride, int64_t padding, int64_t spread, int64_t dy_pixels, int64_t dx_pixels,
            int64_t filter) {
    in = dy_pixels, out = dx_pixels, stride = 1, step = filter_stride, dilation = spread;
    first = ((a - padding) % step + step) % step;
    pixels = first < out ? (out - 1 - first) / step + 1 : 0;
    taps = a < filter ? (filter - 1 - a) / step + 1 : 0;
    last = a + (taps - 1) * step;
    pad = (taps - 1) * spread - (first + padding - a) / step;
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
    const LaneClass h(part / sh.stride_w, sh.stride_h, sh.pad_h, sh.dilation_h, sh.P, sh.H, sh.R);
    const LaneClass w(part % sh.stride_w, sh.stride_w, sh.pad_w, sh.dilation_w, sh.Q, sh.W, sh.S);
    if (h.pixels == 0 || w.pixels == 0) continue;
    pack_lanes(sh.C, unit_vectors<T>(K, C) * kLanes<T>, h.taps, w.taps, K, packed, [&](int64_t c) {
      return filters + c / C * K * sh.gemm_k() + c % C;
    }, [&](int64_t r, int64_t s, int64_t k) { return ((k * sh.R + h.last - r * h.step) * sh.S + w.last - s * w.step) * C; });
    GroupedShape<T> g;
    g.images = sh.N, g.groups = sh.groups, g.ins = K, g.outs = C;
    g.h = h, g.w = w;
    g.in = dy.as<const T>(), g.in_pitch = dy.pitch;
    g.out = dx.as<T>(), g.out_pitch = dx.pitch;
    grouped_product<T>(g, packed, bias.as<const T>(), sh.accumulate != 0);
  }
}

}  // namespace pycnn::host
