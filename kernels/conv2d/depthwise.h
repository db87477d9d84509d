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

// The lanes of the strip versions: 16 bytes of T on a GPU; on a CPU one vector register of sums, of which a tile needs many.
#if PYCNN_CUDA
template <class T, int V> inline constexpr int kStripLanes = V;
#else
template <class T, int V> inline constexpr int kStripLanes = host::kLanes<Accumulator<T>>;
#endif

// The tile of outputs one thread keeps in registers; a row of them less where a lane's 16 bytes are eight sums.
inline constexpr int kTileColumns = 4;
template <int V> inline constexpr int kTileRows = PYCNN_CUDA && V > 4 ? 1 : 2;

// taps[r,s,c] = weight[c,r,s], so that lanes lie side by side; widened once for all pixels.
template <class T>
__global__ void depthwise_taps_kernel(const T* weight, Accumulator<T>* taps, int64_t C, int64_t filter) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < C * filter) taps[i] = Accumulator<T>(weight[i % C * filter + i / C]);
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
const Accumulator<T>* depthwise_taps(const Plan& plan, const ConvShape& sh, Array weight) {
  auto* taps = plan.workspace_as<Accumulator<T>>();
  const int64_t count = sh.C * sh.R * sh.S;
  launch<depthwise_taps_kernel<T>>({grid_size(ceil_div(count, 256)), 256}, weight.as<const T>(), taps, sh.C, sh.R * sh.S);
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

// Calls body(V, c) for every V channels, on a CPU then for each one left over: less code than for_lanes compiles.
template <int V, class Body>
__device__ __forceinline__ void for_strips(int begin, int end, const Body& body) {
  for (; begin + V <= end; begin += V) body(std::integral_constant<int, V>{}, begin);
  if constexpr (!PYCNN_CUDA)
    for (; begin < end; begin++) body(std::integral_constant<int, 1>{}, begin);
}

template <class A, int V>
__device__ __forceinline__ void load_taps(const A* taps, int64_t C, Wide<A, V> (&tap)[3][3]) {
  UNROLLED for (int r = 0; r < 3; r++) UNROLLED for (int s = 0; s < 3; s++) tap[r][s] = load_wide<A, V>(taps + (r * 3 + s) * C);
}

template <class A, int V>
__device__ __forceinline__ void store_taps(const Wide<A, V> (&tap)[3][3], A* taps, int64_t C) {
  UNROLLED for (int r = 0; r < 3; r++) UNROLLED for (int s = 0; s < 3; s++)
      store_sums<A, V>(tap[r][s], taps + (r * 3 + s) * C, false);
}

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

// The channels of one thread: V on a GPU, up to 256 on a CPU, whose sums fit in L1.
struct ChannelParts {
  int64_t count;
  int C, width;
  ChannelParts(int64_t C, int V) : C(int(C)), width(PYCNN_CUDA ? V : 256) { count = ceil_div(C, width); }
  __device__ int begin(int64_t part) const { return part < count ? int(part) * width : C; }
};

template <class T>
const char* supports_depthwise_pieces(const ConvShape& sh, const Request& request, Plan& plan) {
  plan.workspace = LinePieces(sh).workspace<T>(sh);
  return supports_depthwise(sh, request, plan);
}

}  // namespace pycnn
