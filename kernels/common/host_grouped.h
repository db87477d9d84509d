// Grouped convolutions of a CPU whose groups are too narrow for a matrix product each. A vector holds neighbouring filters: those
// of several groups, each of which then needs the c-th channel of its own group (one shuffle of a vector of channels), or a
// part of one wide group, which needs the c-th channel in all lanes. No column matrix; all groups run in one parallel loop.
#pragma once
#include <vector>

#include "conv_shape.h"
#include "host_gemm.h"

namespace pycnn::host {

inline constexpr int kLanePixels = std::min(kTileRows + 4, 12);  // pixels of a tile of one vector of filters
inline constexpr int kMaxGroupedTaps = 16;                       // along one axis
template <class T> inline constexpr int kLine = 64 / sizeof(T);  // channels that share a cache line
template <class T> inline constexpr int kLineBuffer = 32768 / sizeof(T);

// One axis of the images and filters.
struct GroupedAxis {
  int64_t taps, stride, pad, dilation;
  int64_t in;                // pixels of the input
  int64_t pixels;            // output pixels i < pixels are computed
  int64_t out, first, step;  // and lie at first + step * i of `out`

  int64_t reach() const { return std::max<int64_t>(0, (taps - 1) * dilation); }  // from the first tap to the last
};

// Output pixels that see the same taps: all of them, or one class of a strided backward pass.
template <class T> struct GroupedPart {
  GroupedAxis h, w;
  const T* weight;  // packed: units of filters, then as pack_lanes says
};

// A convolution of `images` images, its filters' lanes being channels of `out`.
template <class T> struct GroupedShape {
  int64_t images, groups, ins, outs;  // channels of one group, as this pass sees them
  const T* in;
  int64_t in_pitch;
  T* out;
  int64_t out_pitch;
  std::vector<GroupedPart<T>> parts;  // alike in stride, dilation and images

  const T* in_line(int64_t image, int64_t line) const { return in + (image * parts[0].h.in + line) * parts[0].w.in * in_pitch; }
  T* out_pixel(const GroupedPart<T>& part, int64_t image, int64_t p, int64_t q) const {
    const GroupedAxis &h = part.h, &w = part.w;
    return out + ((image * h.out + h.first + p * h.step) * w.out + w.first + q * w.step) * out_pitch;
  }
};

// Several groups share a vector: as many filters as channels in each.
template <class T> bool shares_vectors(int64_t ins, int64_t outs) {
  return ins == outs && outs < kLanes<T> && (outs == 2 || outs == 4 || outs == 8);
}

// Whether a pass from groups of `ins` to groups of `outs` channels runs as above; wider ones are better off as matrix products.
template <class T> bool runs_in_lanes(const ConvShape& sh, int64_t ins, int64_t outs) {
  constexpr int L = kLanes<T>;
  const int64_t lines = (sh.R - 1) * sh.dilation_h + 1,
                columns = (kLanePixels - 1) * sh.stride_w + (sh.S - 1) * sh.dilation_w + 1;
  const bool fits = sh.R <= kMaxGroupedTaps && lines * columns * std::max<int64_t>(ins, kLine<T>) <= kLineBuffer<T>;
  if (sh.groups < 2 || sh.groups * outs % L || !fits) return false;
  return shares_vectors<T>(ins, outs) || (outs % L == 0 && outs <= 32 && ins % L == 0 && ins % 8 == 0 && ins <= 64);
}

// Vectors of filters that are computed together.
template <class T> int unit_vectors(int64_t ins, int64_t outs) {
  return !shares_vectors<T>(ins, outs) && outs % (2 * kLanes<T>) == 0 ? 2 : 1;
}

// Neighbouring taps whose pixels are loaded once for all of them. Two vectors of filters share a pixel already.
inline int joint_taps(const GroupedAxis& w, int vectors, bool shared) {
  if (vectors > 1 || w.dilation > 1) return 1;
  if (w.taps == 3 && w.stride == 1) return 3;
  return !shared && ((w.taps == 3 && w.stride == 2) || (w.taps == 2 && w.stride == 1)) ? int(w.taps) : 1;
}

// Lines are copied to planes: one for each vector of channels, its pixels side by side. Where pixels were a cache line apart,
// they would share a bank of L1, and one could be loaded in a cycle.
template <class T, int planes> void copy_pixels(const T* in, int64_t in_pitch, int64_t pixels, T* out, int64_t plane) {
  for (int64_t i = 0; i < pixels; i++, in += in_pitch, out += kLanes<T>) {
    PYCNN_UNROLL
    for (int v = 0; v < planes; v++) store(out + v * plane, load(in + v * kLanes<T>));
  }
}

// Pixels w, w+1, ... of a line, `channels` of each, whole vectors; outside the image they are zero. From plane to plane: `plane`.
template <class T>
void copy_line(const T* in, int64_t in_pitch, int64_t W, int64_t w, int64_t pixels, int64_t channels, T* out, int64_t plane) {
  constexpr int L = kLanes<T>, together = kLine<T> / L;
  const int64_t low = std::clamp<int64_t>(-w, 0, pixels), high = std::clamp<int64_t>(W - w, low, pixels);
  for (int64_t v = 0; v < channels / L; v++) {
    std::fill_n(out + v * plane, low * L, T(0));
    std::fill_n(out + v * plane + high * L, (pixels - high) * L, T(0));
  }
  in += (w + low) * in_pitch, out += low * L;
  int64_t v = 0;
  for (; v + together <= channels / L; v += together)
    copy_pixels<T, together>(in + v * L, in_pitch, high - low, out + v * plane, plane);
  for (; v < channels / L; v++) copy_pixels<T, 1>(in + v * L, in_pitch, high - low, out + v * plane, plane);
}

// Asks for what copy_line will read.
template <class T> void prefetch_line(const T* in, int64_t in_pitch, int64_t W, int64_t w, int64_t pixels, int64_t channels) {
  for (int64_t i = std::max<int64_t>(0, w); i < std::min(W, w + pixels); i++)
    for (int64_t c = 0; c < channels; c += kLine<T>) __builtin_prefetch(in + i * in_pitch + c, 0, 2);
}

// Lane i of the result is the c-th channel of the group of lane i.
template <int G, int c, class T, int... i> Vec<T> spread(Vec<T> x, std::integer_sequence<int, i...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(x, x, (i / G * G + c)...);
#else
  return Vec<T>{x[i / G * G + c]...};
#endif
}

// A load that stays one, into a register. g++ 12 would load what is used by up to four pixels again for each, and keep on the
// stack what is used for several channels.
template <class T> Vec<T> load_once(const T* p) { return *reinterpret_cast<const volatile Vec<T>*>(p); }

// Channel c of a pixel in every lane: of each lane's own group of G, or of the one group there is (G = 0).
template <int G, int c, class T> Vec<T> channel_of(const T* pixel) {
  if constexpr (G > 0) return spread<G, c, T>(load_once(pixel), std::make_integer_sequence<int, kLanes<T>>{});
  else return *pixel - Vec<T>{};
}

// f(0) ... f(n-1), their arguments constants.
template <int... i, class F> inline __attribute__((always_inline)) void unrolled(std::integer_sequence<int, i...>, F f) {
  (f(std::integral_constant<int, i>{}), ...);
}
template <int n, class F> inline __attribute__((always_inline)) void unrolled(F f) {
  unrolled(std::make_integer_sequence<int, n>{}, f);
}

// What a tile of neighbouring output pixels is computed from, and where it goes.
template <class T> struct LaneTile {
  int64_t rows;          // of taps inside the image
  const T* const* line;  // of each: its line in the buffer
  int64_t column;        // of the tile's first tap in it
  const T* weight;       // of the first row
  int64_t S, ins, tap_step, pixel_step, plane_step;
  T* out;
  int64_t out_step;
  const T* bias;
  bool add;
};

// sum[b] += channel c of the pixels at `in` * the weights of `taps` neighbouring taps.
template <class T, int pixels, int vectors, int G, int c, int taps, int stride>
inline __attribute__((always_inline)) void add_taps(const T* in, int64_t pixel_step, const T* weight,
                                                    Vec<T> (&sum)[pixels][vectors]) {
  constexpr int L = kLanes<T>;
  Vec<T> w[taps][vectors];
  unrolled<taps * vectors>([&](auto i)
                               __attribute__((always_inline)) { w[i / vectors][i % vectors] = load_once(weight + i * L); });
  unrolled<(pixels - 1) * stride + taps>([&](auto j) __attribute__((always_inline)) {
    const Vec<T> x = channel_of<G, c>(in + j * pixel_step);
    unrolled<taps * vectors>([&](auto i) __attribute__((always_inline)) {
      constexpr int from = j - i / vectors, b = from / stride;
      if constexpr (from >= 0 && from % stride == 0 && b < pixels) sum[b][i % vectors] += x * w[i / vectors][i % vectors];
    });
  });
}

// `pixels` x `vectors` sums in registers. G: channels of a group that shares its vector with others, 0: one group.
// taps > 1 are joint (joint_taps), the pixels of the tile `stride` apart; else they are pixel_step apart.
template <class T, int pixels, int vectors, int G, int taps, int stride> void lane_tile(const LaneTile<T>& t) {
  constexpr int L = kLanes<T>, size = taps * vectors * L;
  Vec<T> sum[pixels][vectors] = {};
  unrolled<pixels>([&](auto b) __attribute__((always_inline)) { __builtin_prefetch(t.out + b * t.out_step, 1); });
  const int64_t step = taps > 1 ? L : t.pixel_step;
  const T* weight = t.weight;
  for (int64_t r = 0; r < t.rows; r++) {
    const T* in = t.line[r] + t.column;
    for (int64_t s = 0; s < t.S; s += taps, in += taps * t.tap_step) {
      if constexpr (G > 0) {
        unrolled<G>([&](auto c) __attribute__((always_inline)) {
          add_taps<T, pixels, vectors, G, c, taps, stride>(in, step, weight + c * size, sum);
        });
        weight += G * size;
      } else {
        const T* plane = in;
        for (int64_t c = 0; c < t.ins; c += L, plane += t.plane_step)
          for (int i = 0; i < L; i++, weight += size)
            add_taps<T, pixels, vectors, 0, 0, taps, stride>(plane + i, step, weight, sum);
      }
    }
  }
  if (t.bias) {
    unrolled<pixels * vectors>(
        [&](auto i) __attribute__((always_inline)) { sum[i / vectors][i % vectors] += load(t.bias + i % vectors * L); });
  }
  if (t.add) {
    unrolled<pixels * vectors>([&](auto i) __attribute__((always_inline)) {
      sum[i / vectors][i % vectors] += load(t.out + i / vectors * t.out_step + i % vectors * L);
    });
  }
  unrolled<pixels * vectors>([&](auto i) __attribute__((always_inline)) {
    store(t.out + i / vectors * t.out_step + i % vectors * L, sum[i / vectors][i % vectors]);
  });
}

template <class T> using LaneKernel = void (*)(const LaneTile<T>&);

template <class T, int vectors, int G, int taps, int stride, int... pixels>
LaneKernel<T> lane_kernel(int64_t count, std::integer_sequence<int, pixels...>) {
  static constexpr LaneKernel<T> kernels[] = {lane_tile<T, pixels + 1, vectors, G, taps, stride>...};
  return kernels[count - 1];
}

template <class T, int G> LaneKernel<T> lane_kernel(int64_t pixels, int64_t taps, int64_t stride) {
  const std::make_integer_sequence<int, kLanePixels> all{};
  if (taps == 3 && stride == 1) return lane_kernel<T, 1, G, 3, 1>(pixels, all);
  if constexpr (G == 0) {
    if (taps == 3) return lane_kernel<T, 1, G, 3, 2>(pixels, all);
    if (taps == 2) return lane_kernel<T, 1, G, 2, 1>(pixels, all);
  }
  return lane_kernel<T, 1, G, 1, 1>(pixels, all);
}

template <class T> LaneKernel<T> lane_kernel(int64_t pixels, int vectors, int64_t G, int64_t taps, int64_t stride) {
  if (vectors == 2) return lane_kernel<T, 2, 0, 1, 1>(pixels, std::make_integer_sequence<int, kTileRows>{});
  if (G == 0) return lane_kernel<T, 0>(pixels, taps, stride);
  if (G == 2) return lane_kernel<T, 2>(pixels, taps, stride);
  if constexpr (kLanes<T> > 4)
    if (G == 4) return lane_kernel<T, 4>(pixels, taps, stride);
  if constexpr (kLanes<T> > 8)
    if (G == 8) return lane_kernel<T, 8>(pixels, taps, stride);
  return nullptr;
}

// How the channels are shared out: a unit is the filters computed together, a bundle the units whose channels are copied together,
// a cache line of each pixel or the channels of one group: no two threads write to one cache line.
template <class T> struct LaneUnits {
  bool shared;
  int64_t lanes, own;            // filters of a unit, channels they see
  int64_t alike, bundle, units;  // units that see the same channels, of a bundle, in all
  int64_t channels, planes;      // in all; vectors of them in a bundle
  LaneUnits(int64_t groups, int64_t ins, int64_t outs, int vectors) : shared(shares_vectors<T>(ins, outs)) {
    lanes = vectors * kLanes<T>, own = shared ? lanes : ins;
    alike = shared ? 1 : outs / lanes, bundle = std::max<int64_t>(1, kLine<T> / own) * alike, units = groups * outs / lanes;
    channels = groups * ins, planes = std::max<int64_t>(own, kLine<T>) / kLanes<T>;
  }
  int64_t bundles() const { return ceil_div(units, bundle); }
  int64_t channel(int64_t unit) const { return unit / alike * own; }  // its first
  int64_t bundle_channels(int64_t unit) const { return std::min(channels - channel(unit), std::max<int64_t>(own, kLine<T>)); }
};

// The taps of all parts along one axis: pixel i of the output sees pixels first + stride * i ... last + stride * i at most.
template <class T> struct Window {
  int64_t first = INT64_MAX, last = INT64_MIN, pixels = 0;
  Window(const std::vector<GroupedPart<T>>& parts, GroupedAxis GroupedPart<T>::* axis) {
    for (const auto& part : parts) {
      const GroupedAxis& a = part.*axis;
      pixels = std::max(pixels, a.pixels);
      if (a.taps > 0) first = std::min(first, -a.pad), last = std::max(last, a.reach() - a.pad);
    }
  }
  int64_t size() const { return last - first + 1; }
};

// y = the convolution. bias: of all filters, or nullptr.
template <class T> void grouped_product(const GroupedShape<T>& g, const T* bias, bool accumulate) {
  constexpr int L = kLanes<T>;
  const int vectors = unit_vectors<T>(g.ins, g.outs);
  const LaneUnits<T> n(g.groups, g.ins, g.outs, vectors);
  const Window<T> h(g.parts, &GroupedPart<T>::h), w(g.parts, &GroupedPart<T>::w);
  const int64_t stride_h = g.parts[0].h.stride, stride_w = g.parts[0].w.stride, H = g.parts[0].h.in, W = g.parts[0].w.in;
  const int64_t most = vectors == 2 ? kTileRows : kLanePixels;
  // A band is some lines of one image; a chunk of it as wide as fits into the buffer.
  constexpr int64_t kBand = 8;
  const int64_t bands = ceil_div(h.pixels, kBand), bundles = n.bundles();
  const int64_t fitting = kLineBuffer<T> / (h.size() * n.planes * L);  // columns
  const int64_t chunk = std::min(w.pixels, (fitting - w.size()) / stride_w + 1), columns = (chunk - 1) * stride_w + w.size();
  const int64_t plane = columns * L;
  double operations = 0;
  for (const auto& part : g.parts)
    operations += 2.0 * g.images * part.h.pixels * part.w.pixels * part.h.taps * part.w.taps * g.groups * g.outs * g.ins;

  for_each(g.images * bands * bundles, operations, [&](int64_t item) {
    const int64_t unit = item % bundles * n.bundle, image = item / bundles / bands, band = item / bundles % bands;
    const int64_t units = std::min(n.units - unit, n.bundle), channel = n.channel(unit), channels = n.bundle_channels(unit);
    alignas(64) T buffer[kLineBuffer<T>];
    const auto slot = [&](int64_t line) { return buffer + line % h.size() * n.planes * plane; };
    for (int64_t q0 = 0; q0 < w.pixels; q0 += chunk) {
      const int64_t w0 = q0 * stride_w + w.first, used = (std::min(chunk, w.pixels - q0) - 1) * stride_w + w.size();
      int64_t held = -1;  // lines up to this one are in the buffer
      for (int64_t p = band * kBand; p < std::min(h.pixels, (band + 1) * kBand); p++) {
        const int64_t last = std::min(H - 1, p * stride_h + h.last), next = std::min(H - 1, last + stride_h);
        for (held = std::max(held, p * stride_h + h.first - 1); held < last;) {
          const T* in = g.in_line(image, ++held) + channel;
          copy_line(in, g.in_pitch, W, w0, used, channels, slot(held), plane);
        }
        for (const auto& part : g.parts) {
          if (p >= part.h.pixels || q0 >= part.w.pixels) continue;
          const T* line[kMaxGroupedTaps];
          int64_t rows = 0, first_row = 0;
          for (int64_t r = 0; r < part.h.taps; r++) {
            const int64_t at = p * stride_h - part.h.pad + r * part.h.dilation;
            if (at < 0) first_row = r + 1;
            else if (at < H) line[rows++] = slot(at);
          }
          const int64_t row_size = part.w.taps * g.ins * n.lanes, pixels = std::min(chunk, part.w.pixels - q0);
          const int64_t tiles = ceil_div(pixels, most), taps = joint_taps(part.w, vectors, n.shared);
          for (int64_t t = 0; t < tiles; t++) {
            const int64_t q = t * pixels / tiles, count = (t + 1) * pixels / tiles - q;
            for (int64_t at = held + 1; at <= next && &part == g.parts.data(); at++)  // while the tile is computed
              prefetch_line(g.in_line(image, at) + channel, g.in_pitch, W, w0 + t * used / tiles, ceil_div(used, tiles),
                            channels);
            const auto kernel = lane_kernel<T>(count, vectors, n.shared ? g.outs : 0, taps, stride_w);
            for (int64_t u = unit; u < unit + units; u++) {
              const int64_t column = (q * stride_w - part.w.pad - w.first) * L + (n.channel(u) - channel) / L * plane;
              kernel({rows, line, column, part.weight + (u * part.h.taps + first_row) * row_size, part.w.taps, g.ins,
                      part.w.dilation * L, stride_w * L, plane, g.out_pixel(part, image, p, q0 + q) + u * n.lanes,
                      part.w.step * g.out_pitch, bias ? bias + u * n.lanes : nullptr, accumulate});
            }
          }
        }
      }
    }
  });
}

// packed[unit][r][s / taps][c][s % taps][lane] = filter(lane)[offset(r, s, c)], the lanes of a unit being neighbouring filters.
// direction: whether the terms c of a filter are contiguous (across), or its lanes (along), unless groups share a vector.
template <class T, Source direction, class Filter, class Offset>
void pack_lanes(int64_t filters, int64_t lanes, int64_t R, int64_t S, int64_t taps, int64_t ins, bool shared, T* packed,
                const Filter& filter, const Offset& offset) {
  constexpr int L = kLanes<T>;
  const int64_t step = taps * lanes;  // from channel to channel
  for_each(filters / L, 8.0 * filters * R * S * ins, [&](int64_t i) {
    const int64_t first = i * L, unit = first / lanes;
    for (int64_t r = 0; r < R; r++) {
      for (int64_t s = 0; s < S; s++) {
        T* out = packed + ((unit * R + r) * S + s - s % taps) * ins * lanes + s % taps * lanes + first % lanes;
        if (shared) {
          for (int64_t c = 0; c < ins; c++)
            for (int64_t k = 0; k < L; k++) out[c * step + k] = filter(first + k)[offset(r, s, c)];
        } else if (direction == Source::along) {
          for (int64_t c = 0; c < ins; c++) store(out + c * step, load(filter(first) + offset(r, s, c)));
        } else {
          for (int64_t c = 0; c < ins; c += L)
            transpose(filter(first) + offset(r, s, c), filter(first + 1) - filter(first), out + c * step, step,
                      std::make_integer_sequence<int, L>{});
        }
      }
    }
  });
}

template <class T>
void grouped_forward(const ConvShape& sh, Array x, Array weight, Array bias, Array y, T* packed) {
  const int64_t C = sh.group_C(), K = sh.group_K();
  const int vectors = unit_vectors<T>(C, K);
  const bool shared = shares_vectors<T>(C, K);
  const GroupedAxis h{sh.R, sh.stride_h, sh.pad_h, sh.dilation_h, sh.H, sh.P, sh.P, 0, 1};
  const GroupedAxis w{sh.S, sh.stride_w, sh.pad_w, sh.dilation_w, sh.W, sh.Q, sh.Q, 0, 1};
  const T* filters = weight.as<const T>();
  pack_lanes<T, Source::across>(sh.K, vectors * kLanes<T>, sh.R, sh.S, joint_taps(w, vectors, shared), C, shared, packed,
                                [&](int64_t k) { return filters + k * sh.gemm_k(); },
                                [&](int64_t r, int64_t s, int64_t c) { return (r * sh.S + s) * C + c; });
  grouped_product<T>({sh.N, sh.groups, C, K, x.as<const T>(), x.pitch, y.as<T>(), y.pitch, {{h, w, packed}}}, bias.as<const T>(),
                     sh.accumulate != 0);
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

// dx: a part for each class of pixels modulo the stride.
template <class T>
void grouped_backward_data(const ConvShape& sh, Array dy, Array weight, Array bias, Array dx, T* packed) {
  const int64_t C = sh.group_C(), K = sh.group_K();
  const int vectors = unit_vectors<T>(K, C);
  const bool shared = shares_vectors<T>(K, C);
  const T* filters = weight.as<const T>();
  GroupedShape<T> g{sh.N, sh.groups, K, C, dy.as<const T>(), dy.pitch, dx.as<T>(), dx.pitch, {}};
  for (int64_t part = 0; part < sh.stride_h * sh.stride_w; part++) {
    const LaneClass h(part / sh.stride_w, sh.stride_h, sh.pad_h, sh.dilation_h, sh.P, sh.H, sh.R);
    const LaneClass w(part % sh.stride_w, sh.stride_w, sh.pad_w, sh.dilation_w, sh.Q, sh.W, sh.S);
    if (h.pixels == 0 || w.pixels == 0) continue;
    pack_lanes<T, Source::along>(sh.C, vectors * kLanes<T>, h.taps, w.taps, joint_taps(w, vectors, shared), K, shared, packed,
                                 [&](int64_t c) {
      return filters + c / C * K * sh.gemm_k() + c % C;
    }, [&](int64_t r, int64_t s, int64_t k) { return ((k * sh.R + h.last - r * h.step) * sh.S + w.last - s * w.step) * C; });
    g.parts.push_back({h, w, packed});
    packed += sh.C * h.taps * w.taps * K;
  }
  if (!g.parts.empty()) grouped_product<T>(g, bias.as<const T>(), sh.accumulate != 0);
}

}  // namespace pycnn::host
