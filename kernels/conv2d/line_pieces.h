// How backward_weight's sums over pixels are cut into pieces with partial sums of their own, and added up.
#pragma once
#include <algorithm>

#include "conv2d.h"

namespace pycnn {

// The cut of the lines (n,p) of dy, by shape alone: at most 256 pieces and 4 M partial sums, and in each piece so many pixels on a
// GPU, so many lines for tiles of several on a CPU, that its sums cost little.
struct LinePieces {
  int64_t lines, count;
  explicit LinePieces(const ConvShape& sh) : lines(sh.N * sh.P) {
    const int64_t weights = std::max<int64_t>(1, sh.K * sh.gemm_k());
    const int64_t most = PYCNN_CUDA ? std::min(lines, lines * sh.Q / 64) : lines / 16;
    count = std::max<int64_t>(1, std::min({most, int64_t(256), (4 << 20) / weights}));
  }
  __host__ __device__ int64_t begin(int64_t piece) const { return piece * lines / count; }
  template <class T> int64_t workspace(const ConvShape& sh) const {
    return count * sh.K * sh.gemm_k() * int64_t(sizeof(Accumulator<T>));
  }
};

// dweight[i,j] (+)= the sum over pieces of partial[piece,j,i], first to last.
template <class A>
__global__ void add_line_pieces_kernel(const A* partial, int64_t pieces, A* dweight, int64_t I, int64_t J, bool accumulate) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= I) return;
  for (int64_t j = blockIdx.y; j < J; j += gridDim.y) {
    A sum = 0;
    for (int64_t piece = 0; piece < pieces; piece++) sum += partial[(piece * J + j) * I + i];
    A& out = dweight[i * J + j];
    out = accumulate ? out + sum : sum;
  }
}

template <class A>
void add_line_pieces(const A* partial, const LinePieces& pieces, A* dweight, int64_t I, int64_t J, bool accumulate) {
  const dim3 grid(grid_size(ceil_div(I, 128)), PYCNN_CUDA ? unsigned(std::min<int64_t>(J, 65535)) : 1);
  launch<add_line_pieces_kernel<A>>({grid, 128}, partial, pieces.count, dweight, I, J, accumulate);
}

}  // namespace pycnn
