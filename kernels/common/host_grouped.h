// Grouped convolutions of a CPU whose groups are too narrow for a matrix product each. A vector holds neighbouring filters: those
// of several groups, each of which then needs the c-th channel of its own group (one shuffle of a vector of channels), or a
// part of one wide group, which needs the c-th channel in all lanes. No column matrix; all groups run in one parallel loop.
#pragma once
#include <functional>
#include <vector>

#include "conv_shape.h"
#include "host_gemm.h"
#include "host_lanes.h"

namespace pycnn::host {

inline constexpr int kMaxGroupedTaps = 16;  // along one axis
template <class T> inline constexpr int kLineBuffer = 65536 / sizeof(T);

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
  T* weight;          // packed: units of filters, then as pack_unit says
  int64_t unit_size;  // of a unit's weights
  std::function<void(int64_t unit, T* out)> pack;
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
  const bool fits = sh.R <= kMaxGroupedTaps && lines * columns * std::max<int64_t>(ins, kCacheLine<T>) <= kLineBuffer<T>;
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

// How the channels are shared out. A unit is the filters that are computed together, a bundle the units whose channels are copied
// together, at least a cache line of each pixel: no two threads write to one.
template <class T> struct LaneUnits {
  bool shared;
  int64_t lanes, own;            // filters of a unit, channels they see
  int64_t alike, bundle, units;  // units that see the same channels, of a bundle, in all
  LaneUnits(int64_t groups, int64_t ins, int64_t outs, int vectors, int64_t least = 1) : shared(shares_vectors<T>(ins, outs)) {
    lanes = vectors * kLanes<T>, own = shared ? lanes : ins, units = groups * outs / lanes;
    alike = shared ? 1 : outs / lanes, bundle = round_up(std::max(least, kCacheLine<T> / own * alike), alike);
  }
  int64_t bundles() const { return ceil_div(units, bundle); }
  int64_t end(int64_t unit) const { return std::min(units, unit + bundle); }
  int64_t channel(int64_t unit) const { return unit / alike * own; }  // its first
  int64_t channels(int64_t unit) const { return channel(end(unit) - 1) + own - channel(unit); }
  int64_t planes() const { return bundle / alike * own / kLanes<T>; }  // vectors of channels of a bundle
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
  int64_t most_taps = 0;
  double operations = 0;
  for (const auto& part : g.parts) {
    most_taps = std::max(most_taps, part.h.taps * part.w.taps);
    operations += 2.0 * g.images * part.h.pixels * part.w.pixels * part.h.taps * part.w.taps * g.groups * g.outs * g.ins;
  }
  const Window<T> h(g.parts, &GroupedPart<T>::h), w(g.parts, &GroupedPart<T>::w);
  const int64_t stride_h = g.parts[0].h.stride, stride_w = g.parts[0].w.stride, H = g.parts[0].h.in, W = g.parts[0].w.in;
  const int64_t most = vectors == 2 ? kTileRows : kLanePixels;
  // Units that share a cache line of the output are computed side by side, those of two lines where every other pixel of it is
  // written, if weights and pixels leave them room. A unit is done with all lines of a band before the next one, its weights in L1.
  const int64_t weights = most_taps * g.ins * vectors * L * sizeof(T), line = std::max<int64_t>(1, kCacheLine<T> / (vectors * L));
  int64_t beside = g.parts.size() > 1 && 2 * line * weights <= 16384 ? 2 * line : line;
  const auto units_of = [&] { return LaneUnits<T>(g.groups, g.ins, g.outs, vectors, beside); };
  while (beside > 1 && h.size() * ((most - 1) * stride_w + w.size()) * units_of().planes() * L > kLineBuffer<T>) beside /= 2;
  const LaneUnits<T> n = units_of();
  // A band is some lines of one image, of which the buffer holds what they see; a chunk of it as wide as fits.
  const int64_t bundles = n.bundles(), pixel = n.planes() * L, fitting = kLineBuffer<T> / (h.size() * pixel);  // columns
  const int64_t chunk = std::min(w.pixels, (fitting - w.size()) / stride_w + 1), columns = (chunk - 1) * stride_w + w.size();
  const int64_t band = std::min<int64_t>(8, (kLineBuffer<T> / (columns * pixel) - h.size()) / stride_h + 1);
  const int64_t bands = ceil_div(h.pixels, band), plane = columns * L;

  const auto pack = [&](int64_t unit) {
    for (const auto& part : g.parts) part.pack(unit, part.weight + unit * part.unit_size);
  };
  const auto compute = [&](int64_t unit, int64_t image, int64_t p0) {
    const int64_t unit_end = n.end(unit), p_end = std::min(h.pixels, p0 + band), channel = n.channel(unit);
    const int64_t first = p0 * stride_h + h.first, last = (p_end - 1) * stride_h + h.last;  // lines of the band
    alignas(64) T buffer[kLineBuffer<T>];
    const auto held = [&](int64_t line) { return buffer + (line - first) * n.planes() * plane; };
    for (int64_t q0 = 0; q0 < w.pixels; q0 += chunk) {
      const int64_t w0 = q0 * stride_w + w.first, used = (std::min(chunk, w.pixels - q0) - 1) * stride_w + w.size();
      for (int64_t line = std::max<int64_t>(0, first); line <= std::min(H - 1, last); line++)
        copy_line(g.in_line(image, line) + channel, g.in_pitch, W, w0, used, n.channels(unit), held(line), plane);
      for (int64_t side = unit; side < unit_end; side += beside) {
        for (int64_t p = p0; p < p_end; p++) {
          for (const auto& part : g.parts) {
            if (p >= part.h.pixels || q0 >= part.w.pixels) continue;
            const T* line[kMaxGroupedTaps];
            int64_t rows = 0, first_row = 0;
            for (int64_t r = 0; r < part.h.taps; r++) {
              const int64_t at = p * stride_h - part.h.pad + r * part.h.dilation;
              if (at < 0) first_row = r + 1;
              else if (at < H) line[rows++] = held(at);
            }
            const int64_t row_size = part.w.taps * g.ins * n.lanes, pixels = std::min(chunk, part.w.pixels - q0);
            const int64_t tiles = ceil_div(pixels, most), taps = joint_taps(part.w, vectors, n.shared);
            for (int64_t t = 0; t < tiles; t++) {
              const int64_t q = t * pixels / tiles, count = (t + 1) * pixels / tiles - q;
              const auto kernel = lane_kernel<T>(count, vectors, n.shared ? g.outs : 0, taps, stride_w);
              for (int64_t u = side; u < std::min(unit_end, side + beside); u++) {
                const int64_t column = (q * stride_w - part.w.pad - w.first) * L + (n.channel(u) - channel) / L * plane;
                kernel({rows, line, column, part.weight + u * part.unit_size + first_row * row_size, part.w.taps, g.ins,
                        part.w.dilation * L, stride_w * L, plane, g.out_pixel(part, image, p, q0 + q) + u * n.lanes,
                        part.w.step * g.out_pitch, bias ? bias + u * n.lanes : nullptr, accumulate});
              }
            }
          }
        }
      }
    }
  };

  // Many weights: whoever packs those of a bundle has them in cache for all images. Few: neighbouring bundles one after the other.
  if (n.units * weights > 131072 && bundles >= 4 * cpu::get_num_threads()) {
    for_each(bundles, operations, [&](int64_t i) {
      const int64_t unit = i * n.bundle;
      for (int64_t u = unit; u < n.end(unit); u++) pack(u);
      for (int64_t j = 0; j < g.images * bands; j++) compute(unit, j / bands, j % bands * band);
    });
  } else {
    for_each(n.units, 8.0 * n.units * most_taps * g.ins * n.lanes, pack);
    for_each(g.images * bands * bundles, operations,
             [&](int64_t i) { compute(i % bundles * n.bundle, i / bundles / bands, i / bundles % bands * band); });
  }
}

// out[r][s / taps][c][s % taps][lane] = filter(lane)[offset(r, s, c)], the lanes being neighbouring filters from `first` on.
// direction: whether the terms c of a filter are contiguous (across), or its lanes (along), unless groups share a vector.
template <class T, Source direction, class Filter, class Offset>
void pack_unit(int64_t first, int64_t lanes, int64_t R, int64_t S, int64_t taps, int64_t ins, bool shared, T* unit,
               const Filter& filter, const Offset& offset) {
  constexpr int L = kLanes<T>;
  const int64_t step = taps * lanes;  // from channel to channel
  for (int64_t k = 0; k < lanes; k += L) {
    const T* from = filter(first + k);
    for (int64_t r = 0; r < R; r++) {
      for (int64_t s = 0; s < S; s++) {
        T* out = unit + (r * S + s - s % taps) * ins * lanes + s % taps * lanes + k;
        if (shared) {
          for (int64_t c = 0; c < ins; c++)
            for (int64_t i = 0; i < L; i++) out[c * step + i] = filter(first + k + i)[offset(r, s, c)];
        } else if (direction == Source::along) {
          for (int64_t c = 0; c < ins; c++) store(out + c * step, load(from + offset(r, s, c)));
        } else {
          for (int64_t c = 0; c < ins; c += L)
            transpose(from + offset(r, s, c), filter(first + k + 1) - from, out + c * step, step,
                      std::make_integer_sequence<int, L>{});
        }
      }
    }
  }
}

template <class T>
void grouped_forward(const ConvShape& sh, Array x, Array weight, Array bias, Array y, T* packed) {
  const int64_t C = sh.group_C(), K = sh.group_K();
  const int vectors = unit_vectors<T>(C, K);
  const bool shared = shares_vectors<T>(C, K);
  const GroupedAxis h{sh.R, sh.stride_h, sh.pad_h, sh.dilation_h, sh.H, sh.P, sh.P, 0, 1};
  const GroupedAxis w{sh.S, sh.stride_w, sh.pad_w, sh.dilation_w, sh.W, sh.Q, sh.Q, 0, 1};
  const T* filters = weight.as<const T>();
  const int64_t lanes = vectors * kLanes<T>, taps = joint_taps(w, vectors, shared);
  const auto pack = [=](int64_t unit, T* out) {
    pack_unit<T, Source::across>(unit * lanes, lanes, sh.R, sh.S, taps, C, shared, out, [&](int64_t k) {
      return filters + k * sh.gemm_k();
    }, [&](int64_t r, int64_t s, int64_t c) { return (r * sh.S + s) * C + c; });
  };
  grouped_product<T>(
      {sh.N, sh.groups, C, K, x.as<const T>(), x.pitch, y.as<T>(), y.pitch, {{h, w, packed, sh.gemm_k() * lanes, pack}}},
      bias.as<const T>(), sh.accumulate != 0);
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
  const int64_t lanes = vectors * kLanes<T>;
  GroupedShape<T> g{sh.N, sh.groups, K, C, dy.as<const T>(), dy.pitch, dx.as<T>(), dx.pitch, {}};
  for (int64_t part = 0; part < sh.stride_h * sh.stride_w; part++) {
    const LaneClass h(part / sh.stride_w, sh.stride_h, sh.pad_h, sh.dilation_h, sh.P, sh.H, sh.R);
    const LaneClass w(part % sh.stride_w, sh.stride_w, sh.pad_w, sh.dilation_w, sh.Q, sh.W, sh.S);
    if (h.pixels == 0 || w.pixels == 0) continue;
    const auto pack = [=](int64_t unit, T* out) {
      pack_unit<T, Source::along>(unit * lanes, lanes, h.taps, w.taps, joint_taps(w, vectors, shared), K, shared, out,
                                  [&](int64_t c) {
        return filters + c / C * K * sh.gemm_k() + c % C;
      }, [&](int64_t r, int64_t s, int64_t k) { return ((k * sh.R + h.last - r * h.step) * sh.S + w.last - s * w.step) * C; });
    };
    g.parts.push_back({h, w, packed, h.taps * w.taps * K * lanes, pack});
    packed += sh.C * h.taps * w.taps * K;
  }
  if (!g.parts.empty()) grouped_product<T>(g, bias.as<const T>(), sh.accumulate != 0);
}

}  // namespace pycnn::host
