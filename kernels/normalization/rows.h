// What the versions of batch normalization that cut the rows into pieces share.
#pragma once
#include "../common/strip.h"
#include "normalization.h"

namespace pycnn {

// A CPU's thread takes four vectors of channels side by side, so that four sums run at once.
template <int kLanesOfPlan>
inline constexpr int kRowLanes = PYCNN_CUDA ? kLanesOfPlan : 4 * kLanesOfPlan;

// One thread's part: rows begin <= row < end of piece `piece`, channels c_begin <= c < c_end: V of them on a GPU, so that a
// warp touches contiguous memory, all of them on a CPU.
struct RowPiece {
  int64_t piece, begin, end;
  int c_begin, c_end;
};

// `rows` rows cut into pieces of `height`, each for C / V threads of a GPU or one of a CPU.
struct RowPieces {
  int64_t rows, height, count;
  int C, V;
  unsigned groups;

  RowPieces(int64_t rows, int64_t height, int64_t C, int V)
      : rows(rows), height(height), count(ceil_div(rows, height)), C(int(C)), V(V), groups(PYCNN_CUDA ? unsigned(C / V) : 1) {}
  int64_t threads() const { return C ? count * groups : 0; }
  Geometry geometry() const {
    const unsigned block = PYCNN_CUDA ? 128 : 1;
    return {grid_size(ceil_div(threads(), block)), block};
  }
  __device__ bool outside(int64_t thread) const { return thread >= count * groups; }
  __device__ RowPiece operator[](int64_t thread) const {
    const int64_t piece = thread / groups, begin = piece * height;
    const int c = int(thread % groups) * V;
    return {piece, begin, begin + height < rows ? begin + height : rows, c, PYCNN_CUDA ? c + V : C};
  }
};

// Sums over rows go through a tree that depends on the shape alone: pieces of `height` rows are added by one thread, then
// kFan results at a time, level by level, until one is left. The partial results of all levels lie in the workspace.
inline constexpr int kFan = 16;

inline int64_t piece_height(int64_t rows, int64_t C) {
  int64_t height = 32;
  while (ceil_div(rows, height) * C > 1 << 20) height *= 2;  // at most 2^20 partial sums
  return height;
}

// How many partial results all levels but the last have.
inline int64_t partial_results(int64_t rows, int64_t height) {
  int64_t total = 0;
  for (int64_t count = ceil_div(rows, height);; count = ceil_div(count, kFan)) {
    total += count;
    if (count <= 1) return total;
  }
}

// Without rows there is nothing to join: version 1 writes what is right then.
template <class T>
const char* supports_split_rows(const BatchNormShape& p, const Request&, Plan& plan) {
  if (!p.rows) return "there are no rows to cut";
  const int V = lanes_for<T>(p.C);
  const int64_t height = piece_height(p.rows, p.C);
  plan.config[0] = V;
  plan.config[1] = height;
  plan.workspace = partial_results(p.rows, height) * 2 * p.C * int64_t(sizeof(Accumulator<T>));
  plan.alignment = PYCNN_CUDA ? V * int(sizeof(T)) : 1;
  return nullptr;
}

template <class T>
const char* supports_row_runs(const BatchNormShape& p, const Request&, Plan& plan) {
  const int V = lanes_for<T>(p.C);
  plan.config[0] = V;
  plan.config[1] = PYCNN_CUDA ? 8 : 64;  // rows a thread takes
  plan.alignment = PYCNN_CUDA ? V * int(sizeof(T)) : 1;
  return nullptr;
}

// values[i] = A(p[i]), or `missing` where there is no array.
template <int V, class A, class T>
__device__ __forceinline__ void load_channels(const T* p, int c, A missing, A (&values)[V]) {
  if (p) {
    const auto loaded = load_lanes<V>(p + c);
    LANES for (int i = 0; i < V; i++) values[i] = A(loaded[i]);
  } else {
    LANES for (int i = 0; i < V; i++) values[i] = missing;
  }
}

// The mean of V channels and what rounding took from it (split_mean).
template <int V, class A, class T>
__device__ __forceinline__ void load_mean(const Rows<const T>& x, const A* mean, int c, const BatchNormShape& p, A (&center)[V],
                                          A (&rest)[V]) {
  load_channels<V>(origin_of(x, p), c, A(0), center);
  load_channels<V>(mean, c, A(0), rest);
  LANES for (int i = 0; i < V; i++) split_mean(center[i], rest[i]);
}

// scale = weight / sqrt(variance + eps) and bias of V channels.
template <int V, class A, class T>
__device__ __forceinline__ void load_scale_and_offset(const A* variance, const T* weight, const T* bias, int c, double eps,
                                                      A (&scale)[V], A (&offset)[V]) {
  load_channels<V>(weight, c, A(1), scale);
  load_channels<V>(bias, c, A(0), offset);
  LANES for (int i = 0; i < V; i++) scale[i] *= inverse_deviation(variance[c + i], eps);
}

// How backward knows what ReLU let through: there was none, y is given, or y is computed again.
enum class Mask { none, given, computed };

// Calls launcher(mask) with how ReLU's mask is found as a constant.
template <class Launcher>
void with_mask(const BatchNormShape& p, const Array& y, const Launcher& launcher) {
  if (!p.relu) launcher(std::integral_constant<Mask, Mask::none>{});
  else if (y) launcher(std::integral_constant<Mask, Mask::given>{});
  else launcher(std::integral_constant<Mask, Mask::computed>{});
}

}  // namespace pycnn
