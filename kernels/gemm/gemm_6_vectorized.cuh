/*
GEMM, version 6: as 5, but tiles are copied 16 bytes at a time, along whichever axis of the operand is contiguous.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n], in steps of BK along k
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
          both tiles lie in shared memory with k as the slow axis, so that a thread's TM and TN operands are neighbours
Threads   a block computes a tile of BM x BN, a thread TM rows of TN neighbouring columns
Limit     all threads wait for the copy, then all compute: neither overlaps the other
Next      gemm_7_double_buffered.cuh fetches the next tiles while it computes with these
Storage   float
*/
#pragma once
#include "../common/vec.h"
#include "gemm.h"
#include "register_tile.h"

namespace pycnn {

// Up to 16 bytes from p, of which the first `left` elements exist; the others are zero.
template <class T>
__device__ __forceinline__ Vector<T, kVectorLength<T>> load_vector(const T* p, int64_t left, bool aligned) {
  const int V = kVectorLength<T>;
  if (aligned && left >= V) return Vector<T, V>::load(p);
  Vector<T, V> v;
  for (int j = 0; j < V; j++) v[j] = j < left ? p[j] : T(0.f);
  return v;
}

// tile[k][x] = operand(x0 + x, k0 + k) for x < BX, k < BK; zero outside the operand's X x K elements.
template <int threads, int BX, int BK, class T, class Tile>
__device__ __forceinline__ void copy_tile6(Matrix<const T> operand, int64_t X, int64_t K, int64_t x0, int64_t k0, Tile& tile) {
  const int V = kVectorLength<T>;
  static_assert(BX % V == 0 && BK % V == 0, "a tile is copied in whole vectors");
  const bool along_k = operand.column_stride == 1;
  const int64_t stride = along_k ? operand.row_stride : operand.column_stride;
  const bool aligned = (uintptr_t(operand.data) | uintptr_t(stride * sizeof(T))) % 16 == 0;
  for (int i = threadIdx.x; i < BX * BK / V; i += threads) {
    const int x = along_k ? i / (BK / V) : i % (BX / V) * V;
    const int k = along_k ? i % (BK / V) * V : i / (BX / V);
    const int64_t left = along_k ? (x0 + x < X ? K - (k0 + k) : 0) : (k0 + k < K ? X - (x0 + x) : 0);
    const auto v = load_vector(&operand(x0 + x, k0 + k), left, aligned);
    for (int j = 0; j < V; j++) tile[along_k ? k + j : k][along_k ? x : x + j] = Accumulator<T>(v[j]);
  }
}

template <int BM, int BN, int BK, int TM, int TN, class T, class C>
__global__ void gemm_kernel6(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN);
  SHARED(A, a_tile, BK, BM + 4);  // 4 more, so that neighbours in k lie in different banks
  SHARED(A, b_tile, BK, BN + 4);
  const int64_t tiles_n = ceil_div(p.N, BN);
  const int64_t m0 = blockIdx.x / tiles_n * BM, n0 = blockIdx.x % tiles_n * BN;
  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;

  A sum[TM][TN] = {};
  for (int64_t k0 = 0; k0 < p.K; k0 += BK) {
    copy_tile6<threads, BM, BK>(a, p.M, p.K, m0, k0, a_tile);
    copy_tile6<threads, BN, BK>(b.transposed(), p.N, p.K, n0, k0, b_tile);
    __syncthreads();
    multiply_tiles<BK>(a_tile, b_tile, row, column, sum);
    __syncthreads();
  }
  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      const int64_t m = m0 + row + i, n = n0 + column + j;
      if (m < p.M && n < p.N) store_sum(sum[i][j], bias, c, m, n, p);
    }
  }
}

template <class T, class C>
void gemm6(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int BM = 64, BN = 64, BK = 16, TM = 8, TN = 8;
  const int64_t tiles = ceil_div(p.M, BM) * ceil_div(p.N, BN);
  launch<gemm_kernel6<BM, BN, BK, TM, TN, T, C>>({grid_size(tiles), BM / TM * (BN / TN)}, a, b, bias, c, p);
}

template <class T>
void run_gemm6(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm6(arguments...); });
}

REGISTER_VERSION(Gemm, vectorized, 6, "tiles are copied 16 bytes at a time", supports_all<GemmShape>, run_gemm6<STORAGE>);

}  // namespace pycnn
