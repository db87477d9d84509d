// How the vectorized kernels over images cut rows of pixels into threads.
#pragma once
#include "lanes.h"
#include "plan.h"

namespace pycnn {

// One thread's part of an image's row: columns begin <= column < end, channels c_begin <= c < c_end. On a GPU these are up to
// 4 columns and V channels, so that a warp touches contiguous memory; on a CPU, where threads run one after another, up to
// 32 columns with all their channels.
struct RowPart {
  int64_t row;
  int begin, end, c_begin, c_end;
};

// How `rows` rows of `width` pixels become `count` parts.
struct RowParts {
  unsigned count, runs, groups;
  int width, C, V;
  static constexpr int kRun = PYCNN_CUDA ? 4 : 32;

  RowParts(int64_t rows, int64_t width, int64_t C, int V)
      : runs(unsigned(ceil_div(width, kRun))), groups(PYCNN_CUDA ? unsigned(C / V) : 1), width(int(width)), C(int(C)), V(V) {
    count = unsigned(rows * runs * groups);
  }
  Geometry geometry() const {
    const unsigned block = PYCNN_CUDA ? 128 : 4;
    return {grid_size(ceil_div(count, block)), block};
  }
  __device__ RowPart operator[](unsigned i) const {
    const int begin = int(i / groups % runs) * kRun, c = int(i % groups) * V;
    return {int64_t(i / groups / runs), begin, begin + kRun < width ? begin + kRun : width, c, groups == 1 ? C : c + V};
  }
};

template <class T, class Problem>
const char* supports_vectorized(const Problem& sh, const Request&, Plan& plan) {
  const int V = lanes_for<T>(sh.C);
  const int64_t rows = sh.N * (sh.H > sh.P ? sh.H : sh.P), width = sh.W > sh.Q ? sh.W : sh.Q;
  if (rows * width > INT32_MAX / (sh.C / V + 1)) return "it numbers its threads with 32 bits";
  plan.config[0] = V;
  plan.alignment = PYCNN_CUDA ? V * int(sizeof(T)) : 1;
  return nullptr;
}

}  // namespace pycnn
