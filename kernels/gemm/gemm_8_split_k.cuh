/*
GEMM, version 8: as 7, but k is cut into pieces, one more axis of the grid; a second kernel adds up their partial sums.

Math      partial[piece,m,n] = sum over the k of a piece of a[m,k] * b[k,n];  c[m,n] = bias[n] + sum over pieces of partial
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
          partial: pieces,M,N in the workspace, in the accumulator type
Threads   as in 7, one block per tile of c and piece; then one thread per element of c adds the pieces, in order.
          The cut follows from M, N and K alone and nothing is added atomically: the same bits on every device
Limit     each piece writes and reads its sums once more, which only a c of few tiles repays
Next      conv2d/backward_weight_2_im2col.cuh, whose k are all the pixels of a batch
Storage   float half bfloat16
*/
#pragma once
#include "gemm_7_double_buffered.cuh"

namespace pycnn {

// How k is cut: `count` pieces of `length`, the last one shorter.
struct SplitK {
  int64_t length, count;
};

// Enough pieces for about 256 blocks in all, but at least 256 of k in each.
inline int64_t most_pieces(int64_t M, int64_t N, int64_t K) {
  const int64_t tiles = ceil_div(M, 64) * ceil_div(N, 64);
  return std::max<int64_t>(1, std::min(256 / std::max<int64_t>(tiles, 1), K / 256));
}
inline SplitK split_k(int64_t M, int64_t N, int64_t K) {
  const int64_t length = std::max<int64_t>(1, ceil_div(K, most_pieces(M, N, K) * 16)) * 16;  // whole tiles of BK = 16
  return {length, std::max<int64_t>(1, ceil_div(K, length))};
}

template <int BM, int BN, int BK, int TM, int TN, class T>
__global__ void gemm_kernel8(Matrix<const T> a, Matrix<const T> b, Accumulator<T>* partial, GemmShape p, int64_t length) {
  const int64_t tiles_n = ceil_div(p.N, BN);
  const int64_t m0 = blockIdx.x / tiles_n * BM, n0 = blockIdx.x % tiles_n * BN;
  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;
  const int64_t k_begin = blockIdx.y * length, k_end = k_begin + length < p.K ? k_begin + length : p.K;

  Accumulator<T> sum[TM][TN] = {};
  multiply_tile<BM, BN, BK>(a, b, p, m0, n0, k_begin, k_end, sum);
  const Matrix<Accumulator<T>> piece{partial + blockIdx.y * p.M * p.N, p.N, 1};
  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      const int64_t m = m0 + row + i, n = n0 + column + j;
      if (m < p.M && n < p.N) store_sum(sum[i][j], (const T*)nullptr, piece, m, n, p);
    }
  }
}

// c[m,n] = bias[n] + sum over pieces of partial[piece,m,n], first to last.
template <class T, class C>
__global__ void add_pieces_kernel(const Accumulator<T>* partial, int64_t pieces, const T* bias, Matrix<C> c, GemmShape p) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.M * p.N) return;
  Accumulator<T> sum = 0;
  for (int64_t piece = 0; piece < pieces; piece++) sum += partial[piece * p.M * p.N + i];
  store_sum(sum, bias, c, i / p.N, i % p.N, p);
}

// partial[piece] (+)= the piece's part of a * b.
template <class T>
void multiply_pieces(Matrix<const T> a, Matrix<const T> b, Accumulator<T>* partial, GemmShape p, SplitK split) {
  const unsigned pieces = unsigned(split.count);
  if (p.M <= 32 || p.N <= 32) {
    const int64_t tiles = ceil_div(p.M, 32) * ceil_div(p.N, 32);
    launch<gemm_kernel8<32, 32, 16, 4, 8, T>>({{grid_size(tiles), pieces}, 32}, a, b, partial, p, split.length);
  } else {
    const int64_t tiles = ceil_div(p.M, 64) * ceil_div(p.N, 64);
    launch<gemm_kernel8<64, 64, 16, 8, 8, T>>({{grid_size(tiles), pieces}, 64}, a, b, partial, p, split.length);
  }
}

template <class T, class C>
void add_pieces(const Accumulator<T>* partial, int64_t pieces, const T* bias, Matrix<C> c, GemmShape p) {
  launch<add_pieces_kernel<T, C>>({grid_size(ceil_div(p.M * p.N, 256)), 256}, partial, pieces, bias, c, p);
}

template <class T>
const char* supports_gemm8(const GemmShape& p, const Request&, Plan& plan) {
  const SplitK split = split_k(p.M, p.N, p.K);
  plan.config[0] = split.length;
  plan.config[1] = split.count;
  plan.workspace = split.count * p.M * p.N * int64_t(sizeof(Accumulator<T>));
  return nullptr;
}

template <class T>
void run_gemm8(const Plan& plan, Array a, Array b, Array bias, Array c) {
  auto* partial = plan.workspace_as<Accumulator<T>>();
  with_matrices<T>(plan, a, b, bias, c, [&](auto a, auto b, const T* bias, auto c, GemmShape p) {
    GemmShape piece = p;
    piece.accumulate = 0;
    multiply_pieces(a, b, partial, piece, SplitK{plan.config[0], plan.config[1]});
    add_pieces(partial, plan.config[1], bias, c, p);
  });
}

REGISTER_VERSION(Gemm, split_k, 8, "k is cut into pieces, added up in order", supports_gemm8<STORAGE>, run_gemm8<STORAGE>);

}  // namespace pycnn
