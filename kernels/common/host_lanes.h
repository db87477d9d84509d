// The register tile of grouped convolutions on a CPU (host_grouped.h): neighbouring pixels by one or two vectors of filters, from lines
// copied to planes, one for each vector of channels.
#pragma once
#include "host_tile.h"

namespace pycnn::host {

inline constexpr int kLanePixels = std::min(kTileRows + 4, 12);  // pixels of a tile of one vector of filters

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
  constexpr int L = kLanes<T>, together = kCacheLine<T> / L;
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

// Before the body of a function or lambda that must disappear into its caller, so that what it indexes becomes registers.
#define INLINED __attribute__((always_inline))

// f(0) ... f(n-1), their arguments constants.
template <int... i, class F> INLINED inline void unrolled(std::integer_sequence<int, i...>, F f) {
  (f(std::integral_constant<int, i>{}), ...);
}
template <int n, class F> INLINED inline void unrolled(F f) { unrolled(std::make_integer_sequence<int, n>{}, f); }

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
INLINED inline void add_taps(const T* in, int64_t pixel_step, const T* weight, Vec<T> (&sum)[pixels][vectors]) {
  constexpr int L = kLanes<T>;
  Vec<T> w[taps][vectors];
  unrolled<taps * vectors>([&](auto i) INLINED { w[i / vectors][i % vectors] = load_once(weight + i * L); });
  unrolled<(pixels - 1) * stride + taps>([&](auto j) INLINED {
    const Vec<T> x = channel_of<G, c>(in + j * pixel_step);
    unrolled<taps * vectors>([&](auto i) INLINED {
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
  unrolled<pixels>([&](auto b) INLINED { __builtin_prefetch(t.out + b * t.out_step, 1); });
  const int64_t step = taps > 1 ? L : t.pixel_step;
  const T* weight = t.weight;
  for (int64_t r = 0; r < t.rows; r++) {
    const T* in = t.line[r] + t.column;
    for (int64_t s = 0; s < t.S; s += taps, in += taps * t.tap_step) {
      if constexpr (G > 0) {
        unrolled<G>([&](auto c) INLINED { add_taps<T, pixels, vectors, G, c, taps, stride>(in, step, weight + c * size, sum); });
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
    unrolled<pixels * vectors>([&](auto i) INLINED { sum[i / vectors][i % vectors] += load(t.bias + i % vectors * L); });
  }
  if (t.add) {
    unrolled<pixels * vectors>(
        [&](auto i) INLINED { sum[i / vectors][i % vectors] += load(t.out + i / vectors * t.out_step + i % vectors * L); });
  }
  unrolled<pixels * vectors>(
      [&](auto i) INLINED { store(t.out + i / vectors * t.out_step + i % vectors * L, sum[i / vectors][i % vectors]); });
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

}  // namespace pycnn::host
