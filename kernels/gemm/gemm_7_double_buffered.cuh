/*
GEMM, version 7: as 6, but there are two of each tile: the next ones are fetched while these are multiplied.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n], in steps of BK along k
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
          both tiles lie in shared memory with k as the slow axis, so that a thread's TM and TN operands are neighbours
Threads   a block computes a tile of BM x BN, a thread TM rows of TN neighbouring columns. The loads of step k+1 are issued
          before the products of step k and land in registers meanwhile; one barrier per step instead of two
Limit     a product with few elements in c and a long k has few blocks, whatever the GPU's size
Next      gemm_8_split_k.cuh cuts k into pieces
Storage   float half bfloat16
*/
#pragma once
#include "gemm_6_vectorized.cuh"

namespace pycnn {

// A block's way through one operand: `fetch` loads this thread's share of the next tile into registers, `put` stores it
// in shared memory, tile[k][x] = operand(x0 + x, k).
template <int threads, int BX, int BK, class T>
struct TileLoader {
  static constexpr int V = kVectorLength<T>, vectors = BX * BK / V, share = int(ceil_div(vectors, threads));
  static_assert(BX % V == 0 && BK % V == 0, "a tile is copied in whole vectors");

  Matrix<const T> operand;
  int64_t X, K, x0;
  bool along_k, aligned;
  Vector<T, V> held[share];

  __device__ __forceinline__ TileLoader(Matrix<const T> operand, int64_t X, int64_t K, int64_t x0)
      : operand(operand), X(X), K(K), x0(x0), along_k(operand.column_stride == 1) {
    const int64_t stride = along_k ? operand.row_stride : operand.column_stride;
    aligned = (uintptr_t(operand.data) | uintptr_t(stride * sizeof(T))) % 16 == 0;
  }

  // Where in the tile this thread's vector number `i` starts.
  __device__ __forceinline__ int tile_x(int i) const { return along_k ? i / (BK / V) : i % (BX / V) * V; }
  __device__ __forceinline__ int tile_k(int i) const { return along_k ? i % (BK / V) * V : i / (BX / V); }

  __device__ __forceinline__ void fetch(int64_t k0) {
    for (int j = 0; j < share; j++) {
      const int i = threadIdx.x + j * threads;
      if (vectors % threads && i >= vectors) break;
      const int64_t x = x0 + tile_x(i), k = k0 + tile_k(i);
      const int64_t left = along_k ? (x < X ? K - k : 0) : (k < K ? X - x : 0);
      held[j] = load_vector(&operand(x, k), left, aligned);
    }
  }

  template <class Tile>
  __device__ __forceinline__ void put(Tile&& tile) const {
    using A = Accumulator<T>;
    for (int j = 0; j < share; j++) {
      const int i = threadIdx.x + j * threads;
      if (vectors % threads && i >= vectors) break;
      const int x = tile_x(i), k = tile_k(i);
      if (along_k)
        for (int v = 0; v < V; v++) tile[k + v][x] = A(held[j][v]);
      else
        for (int v = 0; v < V; v++) tile[k][x + v] = A(held[j][v]);
    }
  }
};

// The sums of one block's tile of a * b over k_begin <= k < k_end; `sum` receives the TM x TN elements of this thread.
template <int BM, int BN, int BK, int TM, int TN, class T>
__device__ __forceinline__ void multiply_tile(Matrix<const T> a, Matrix<const T> b, const GemmShape& p, int64_t m0, int64_t n0,
                                              int64_t k_begin, int64_t k_end, Accumulator<T> (&sum)[TM][TN]) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN);
  SHARED(A, a_tile, 2, BK, BM + 4);  // 4 more, so that neighbours in k lie in different banks
  SHARED(A, b_tile, 2, BK, BN + 4);
  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;
  TileLoader<threads, BM, BK, T> a_loader(a, p.M, k_end, m0);
  TileLoader<threads, BN, BK, T> b_loader(b.transposed(), p.N, k_end, n0);

  if (k_begin < k_end) {
    a_loader.fetch(k_begin);
    b_loader.fetch(k_begin);
    a_loader.put(a_tile[0]);
    b_loader.put(b_tile[0]);
  }
  __syncthreads();
  int now = 0;  // which of the two tiles is multiplied
  for (int64_t k0 = k_begin; k0 < k_end; k0 += BK, now ^= 1) {
    const bool more = k0 + BK < k_end;
    if (more) {
      a_loader.fetch(k0 + BK);
      b_loader.fetch(k0 + BK);
    }
    multiply_tiles<BK>(a_tile[now], b_tile[now], row, column, sum);
    if (more) {
      a_loader.put(a_tile[now ^ 1]);
      b_loader.put(b_tile[now ^ 1]);
    }
    __syncthreads();
  }
}

template <int BM, int BN, int BK, int TM, int TN, class T, class C>
__global__ void gemm_kernel7(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int64_t tiles_n = ceil_div(p.N, BN);
  const int64_t m0 = blockIdx.x / tiles_n * BM, n0 = blockIdx.x % tiles_n * BN;
  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;

  Accumulator<T> sum[TM][TN] = {};
  multiply_tile<BM, BN, BK>(a, b, p, m0, n0, 0, p.K, sum);
  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      const int64_t m = m0 + row + i, n = n0 + column + j;
      if (m < p.M && n < p.N) store_sum(sum[i][j], bias, c, m, n, p);
    }
  }
}

template <int BM, int BN, int BK, int TM, int TN, class T, class C>
void gemm7_tiled(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int64_t tiles = ceil_div(p.M, BM) * ceil_div(p.N, BN);
  launch<gemm_kernel7<BM, BN, BK, TM, TN, T, C>>({grid_size(tiles), BM / TM * (BN / TN)}, a, b, bias, c, p);
}

// Wide tiles reuse more; narrow ones waste less on a c of few columns, small ones make more blocks of a small c.
template <class T, class C>
void gemm7(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  if (p.N <= 16) gemm7_tiled<128, 16, 16, 4, 8>(a, b, bias, c, p);
  else if (p.N <= 64 || p.M * p.N < (1 << 20)) gemm7_tiled<64, 64, 16, 8, 8>(a, b, bias, c, p);
  else gemm7_tiled<128, 128, 16, 8, 8>(a, b, bias, c, p);
}

template <class T>
void run_gemm7(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm7(arguments...); });
}

REGISTER_VERSION(Gemm, double_buffered, 7, "the next tiles are fetched while these are multiplied", supports_all<GemmShape>,
                 run_gemm7<STORAGE>);

}  // namespace pycnn
