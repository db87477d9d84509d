/*
GEMM, version 5: as 4, but a thread computes TM x TN elements of c: an outer product in registers per step of k.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n], in steps of BK along k
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
Threads   a block computes a tile of BM x BN, a thread TM rows of TN neighbouring columns:
          TM + TN reads of shared memory feed TM * TN products
Limit     tiles are copied 4 bytes at a time, and an operand stored transposed is read against its memory order
Next      gemm_6_vectorized.cuh copies 16 bytes at a time, along whichever axis is contiguous
Storage   float
*/
#pragma once
#include "gemm.h"

namespace pycnn {

template <int BM, int BN, int BK, int TM, int TN, class T, class C>
__global__ void gemm_kernel5(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN);
  SHARED(A, a_tile, BM, BK);
  SHARED(A, b_tile, BK, BN);
  const int64_t tiles_n = ceil_div(p.N, BN);
  const int64_t m0 = blockIdx.x / tiles_n * BM, n0 = blockIdx.x % tiles_n * BN;
  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;

  A sum[TM][TN] = {};
  for (int64_t k0 = 0; k0 < p.K; k0 += BK) {
    for (int i = threadIdx.x; i < BM * BK; i += threads) {
      const int64_t m = m0 + i / BK, k = k0 + i % BK;
      a_tile[i / BK][i % BK] = m < p.M && k < p.K ? A(a(m, k)) : A(0);
    }
    for (int i = threadIdx.x; i < BK * BN; i += threads) {
      const int64_t k = k0 + i / BN, n = n0 + i % BN;
      b_tile[i / BN][i % BN] = k < p.K && n < p.N ? A(b(k, n)) : A(0);
    }
    __syncthreads();
    for (int k = 0; k < BK; k++) {
      A a_column[TM], b_row[TN];
      for (int i = 0; i < TM; i++) a_column[i] = a_tile[row + i][k];
      for (int j = 0; j < TN; j++) b_row[j] = b_tile[k][column + j];
      for (int i = 0; i < TM; i++) {
        for (int j = 0; j < TN; j++) sum[i][j] += a_column[i] * b_row[j];
      }
    }
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
void gemm5(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int BM = 64, BN = 64, BK = 16, TM = 8, TN = 8;
  const int64_t tiles = ceil_div(p.M, BM) * ceil_div(p.N, BN);
  launch<gemm_kernel5<BM, BN, BK, TM, TN, T, C>>({grid_size(tiles), BM / TM * (BN / TN)}, a, b, bias, c, p);
}

template <class T>
void run_gemm5(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm5(arguments...); });
}

REGISTER_VERSION(Gemm, tile_2d, 5, "a thread computes 8 x 8 elements in registers", supports_all<GemmShape>, run_gemm5<STORAGE>);

}  // namespace pycnn
