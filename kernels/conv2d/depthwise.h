// What the depthwise versions share: every channel has filters of its own (groups = C), so nothing is summed over channels and
// each pass moves more bytes than a GPU or CPU takes to multiply them.
#pragma once
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "conv2d.h"
#include "line_pieces.h"
#if !PYCNN_CUDA
#include "../common/host_tile.h"
#endif

namespace pycnn {

inline const char* supports_depthwise(const ConvShape& sh, const Request&, Plan&) {
  return sh.groups == sh.C && sh.C > 0 ? nullptr : "it is depthwise: every channel must be a group of its own";
}

// The lanes of the strip versions: 16 bytes of T on a GPU. On a CPU one vector register of sums, or, with 3 x 3 filters, two, a
// whole cache line of channels: lines of pixels that lie powers of two apart share few sets of a cache, and what is not used at
// once would be gone.
#if PYCNN_CUDA
template <class T, int V> inline constexpr int kStripLanes = V;
template <class T, int V> inline constexpr int kLineLanes = V;
#else
template <class T, int V> inline constexpr int kStripLanes = host::kLanes<Accumulator<T>>;
template <class T, int V> inline constexpr int kLineLanes = 2 * kStripLanes<T, V>;
#endif

// The tile of outputs one thread keeps in registers. On a GPU a row of them less where a lane's 16 bytes are eight sums. On a CPU,
// whose thread meets all channels of a tile before the next one, a tall one: its rows are few streams of memory in order, which
// under a stride of 2 are seven for three rows of outputs and would be nine for four.
inline constexpr int kTileColumns = PYCNN_CUDA ? 4 : 1;
template <int V, int kStride> inline constexpr int kTileRows = PYCNN_CUDA ? (V > 4 ? 1 : 2) : kStride == 2 ? 3 : 4;

// How the taps of all channels lie: on a GPU as R,S,C, so that a warp reads neighbours; on a CPU strip by strip, each R,S,lanes,
// because taps C apart would share few sets of a cache. for_strips says which strips.
struct TapStrips {
  int64_t C, filter;
  int lanes;
  TapStrips(const ConvShape& sh, int V) : C(sh.C), filter(sh.R * sh.S), lanes(V) {}
  template <class A> __device__ A* first(A* taps, int64_t c) const { return taps + (PYCNN_CUDA ? c : c * filter); }
  template <int V> __device__ int64_t step() const { return PYCNN_CUDA ? C : V; }
  __device__ int64_t place(int64_t c, int64_t tap) const {
    if (PYCNN_CUDA) return tap * C + c;
    int64_t width = lanes;
    if (c - c % width + width > C) width = lanes / 2;
    if (c - c % width + width > C) width = 1;
    return (c - c % width) * filter + tap * width + c % width;
  }
};

// The weight's taps, laid out so, widened once for all pixels. A thread moves one channel's filter.
template <class T>
__global__ void depthwise_taps_kernel(const T* weight, Accumulator<T>* taps, TapStrips strips) {
  const int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= strips.C) return;
  for (int64_t tap = 0; tap < strips.filter; tap++) taps[strips.place(c, tap)] = Accumulator<T>(weight[c * strips.filter + tap]);
}

// The plan of forward and backward_data: the taps lie in the workspace.
template <class T>
const char* supports_depthwise_strips(const ConvShape& sh, const Request& request, Plan& plan) {
  if (const char* reason = supports_depthwise(sh, request, plan)) return reason;
  if (sh.K != sh.C) return "its lanes need one filter for each channel (K = C)";
  plan.workspace = sh.C * sh.R * sh.S * int64_t(sizeof(Accumulator<T>));
  return supports_vectorized<T>(sh, request, plan);
}

template <class T>
const Accumulator<T>* depthwise_taps(const Plan& plan, const TapStrips& strips, Array weight) {
  auto* taps = plan.workspace_as<Accumulator<T>>();
  launch<depthwise_taps_kernel<T>>({grid_size(ceil_div(strips.C, 128)), 128}, weight.as<const T>(), taps, strips);
  return taps;
}

// Calls launcher(kFilter, kStride) with constants: 3 x 3 filters of stride 1 or 2, else 0, 0.
template <class Launcher>
void with_filter(const ConvShape& sh, const Launcher& launcher) {
  const bool three = sh.R == 3 && sh.S == 3 && sh.dilation_h == 1 && sh.dilation_w == 1 && sh.stride_h == sh.stride_w;
  if (three && sh.stride_h == 1) launcher(std::integral_constant<int, 3>{}, std::integral_constant<int, 1>{});
  else if (three && sh.stride_h == 2) launcher(std::integral_constant<int, 3>{}, std::integral_constant<int, 2>{});
  else launcher(std::integral_constant<int, 0>{}, std::integral_constant<int, 0>{});
}

// Calls body(V, c) for every V channels, on a CPU then for V / 2 and each one left over: less code than for_lanes compiles.
template <int V, class Body>
__device__ __forceinline__ void for_strips(int begin, int end, const Body& body) {
  for (; begin + V <= end; begin += V) body(std::integral_constant<int, V>{}, begin);
  if constexpr (!PYCNN_CUDA) {
    for (; begin + V / 2 <= end; begin += V / 2) body(std::integral_constant<int, V / 2>{}, begin);
    for (; begin < end; begin++) body(std::integral_constant<int, 1>{}, begin);
  }
}

// The taps of a 3 x 3 filter, kWides times V channels. On a GPU, where kWides is one, they are in registers. On a CPU they stay in
// L1, but those of one column, column(s), are in registers where a tile has one column of outputs: no tap is loaded again for
// each row.
template <class A, int V, int kWides> struct FilterTaps {
#if PYCNN_CUDA
  Wide<A, V> tap[3][3];
  __device__ __forceinline__ FilterTaps(const A* taps, int64_t step) {
    UNROLLED for (int r = 0; r < 3; r++) UNROLLED for (int s = 0; s < 3; s++) tap[r][s] =
        load_wide<A, V>(taps + (r * 3 + s) * step);
  }
  __device__ __forceinline__ const Wide<A, V>& at(int r, int s, int) const { return tap[r][s]; }
  template <int kColumns> __device__ __forceinline__ const FilterTaps& column(int) const { return *this; }
#else
  struct Column {
    Wide<A, V> tap[3][kWides];
    const Wide<A, V>& at(int r, int, int k) const { return tap[r][k]; }
  };
  const A* taps;
  int64_t step;
  FilterTaps(const A* taps, int64_t step) : taps(taps), step(step) {}
  const A* place(int r, int s, int k) const { return taps + (r * 3 + s) * step + k * V; }
  __forceinline__ Wide<A, V> at(int r, int s, int k) const { return load_wide<A, V>(place(r, s, k)); }
  template <int kColumns> __forceinline__ auto column(int s) const {
    if constexpr (kColumns > 1) return *this;
    else {
      Column c;
      UNROLLED for (int r = 0; r < 3; r++) UNROLLED for (int k = 0; k < kWides; k++) c.tap[r][k] =
          load_once<A, V>(place(r, s, k));
      return c;
    }
  }
#endif
};

// The outputs begin <= p < end along one axis whose windows reach over padded position i; with dilation some step over it.
template <class Int> struct Outputs {
  Int begin, end;
  __device__ Outputs(Int i, Int taps, Int stride, Int dilation, Int count) {
    const Int before = i - (taps - 1) * dilation, last = i / stride;
    begin = before > 0 ? (before + stride - 1) / stride : 0;
    end = last < count ? last + 1 : count;
  }
};

// ---- backward_weight: sums over pixels -------------------------------------------------------------------------

// The sums of 3 x 3 taps, kWides times V channels of each: all in registers on a GPU, where kWides is one. On a CPU they are in L1, as
// R,S,lanes, and those of a column of taps in registers while it meets a tile.
template <class A, int V, int kWides> struct TapSums {
#if PYCNN_CUDA
  Wide<A, V> sum[3][3] = {};
  __device__ __forceinline__ Wide<A, V>& at(int r, int s, int) { return sum[r][s]; }
  __device__ __forceinline__ TapSums& column(int) { return *this; }
  __device__ __forceinline__ void keep(int, const TapSums&) {}
#else
  struct Column {
    Wide<A, V> sum[3][kWides];
    Wide<A, V>& at(int r, int, int k) { return sum[r][k]; }
  };
  A* sums;
  explicit TapSums(A* sums) : sums(sums) {}
  A* place(int r, int s, int k) const { return sums + ((r * 3 + s) * kWides + k) * V; }
  __forceinline__ Column column(int s) const {
    Column c;
    UNROLLED for (int r = 0; r < 3; r++) UNROLLED for (int k = 0; k < kWides; k++) c.sum[r][k] = load_wide<A, V>(place(r, s, k));
    return c;
  }
  __forceinline__ void keep(int s, const Column& c) const {
    UNROLLED for (int r = 0; r < 3; r++) UNROLLED for (int k = 0; k < kWides; k++) store_wide<A, V>(c.sum[r][k], place(r, s, k));
  }
#endif
};

// The channels of one thread: V on a GPU, up to 256 on a CPU, whose sums fit in L1.
struct ChannelParts {
  int64_t count;
  static constexpr int kMost = 256;
  int C, width;
  ChannelParts(int64_t C, int V) : C(int(C)), width(PYCNN_CUDA ? V : kMost) { count = ceil_div(C, width); }
  __device__ int begin(int64_t part) const { return part < count ? int(part) * width : C; }
};

template <class T>
const char* supports_depthwise_pieces(const ConvShape& sh, const Request& request, Plan& plan) {
  plan.workspace = LinePieces(sh).workspace<T>(sh);
  return supports_depthwise(sh, request, plan);
}

}  // namespace pycnn
