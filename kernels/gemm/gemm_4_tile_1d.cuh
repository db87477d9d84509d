/*
GEMM, version 4: as 3, but a thread computes TM elements of c, one below the other.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n], in steps of BK along k
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
Threads   a block computes a tile of BM x BN, a thread TM rows of one column: an element of b_tile, once in a register,
          serves TM products
Limit     each product still reads its element of a_tile from shared memory
Next      gemm_5_tile_2d.cuh reuses both operands from registers
Storage   float
*/
#pragma once
#include "gemm.h"

namespace pycnn {

template <int BM, int BN, int BK, int TM, class T, class C>
__global__ void gemm_kernel4(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  using A = Accumulator<T>;
  const int threads = BM / TM * BN;
  SHARED(A, a_tile, BM, BK);
  SHARED(A, b_tile, BK, BN);
  const int64_t tiles_n = ceil_div(p.N, BN);
  const int64_t m0 = blockIdx.x / tiles_n * BM, n0 = blockIdx.x % tiles_n * BN;
  const int row = threadIdx.x / BN * TM, column = threadIdx.x % BN;

  A sum[TM] = {};
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
      const A b_value = b_tile[k][column];
      for (int i = 0; i < TM; i++) sum[i] += a_tile[row + i][k] * b_value;
    }
    __syncthreads();
  }
  for (int i = 0; i < TM; i++) {
    if (m0 + row + i < p.M && n0 + column < p.N) store_sum(sum[i], bias, c, m0 + row + i, n0 + column, p);
  }
}

template <class T, class C>
void gemm4(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int BM = 64, BN = 64, BK = 16, TM = 8;
  const int64_t tiles = ceil_div(p.M, BM) * ceil_div(p.N, BN);
  launch<gemm_kernel4<BM, BN, BK, TM, T, C>>({grid_size(tiles), BM / TM * BN}, a, b, bias, c, p);
}

template <class T>
void run_gemm4(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm4(arguments...); });
}

REGISTER_VERSION(Gemm, tile_1d, 4, "a thread computes 8 rows of one column", supports_all<GemmShape>, run_gemm4<STORAGE>);

}  // namespace pycnn
