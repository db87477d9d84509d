/*
GEMM, version 3: as 2, but a block stages a tile of a and of b in shared memory, and its threads read them there.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n], in steps of TILE along k
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
Threads   TILE x TILE per block, one c element each; per step each thread copies one element of a and one of b
Limit     each element is read from global memory TILE times less often, but now every product costs two reads of shared memory
Next      gemm_4_tile_1d.cuh keeps what was read from shared memory in a register for several products
Storage   float
*/
#pragma once
#include "gemm.h"

namespace pycnn {

template <int TILE, class T, class C>
__global__ void gemm_kernel3(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  using A = Accumulator<T>;
  SHARED(A, a_tile, TILE, TILE);
  SHARED(A, b_tile, TILE, TILE);
  const int64_t tiles_n = ceil_div(p.N, TILE);
  const int row = threadIdx.x / TILE, column = threadIdx.x % TILE;
  const int64_t m = blockIdx.x / tiles_n * TILE + row, n = blockIdx.x % tiles_n * TILE + column;

  A sum = 0;
  for (int64_t k0 = 0; k0 < p.K; k0 += TILE) {
    a_tile[row][column] = m < p.M && k0 + column < p.K ? A(a(m, k0 + column)) : A(0);
    b_tile[row][column] = k0 + row < p.K && n < p.N ? A(b(k0 + row, n)) : A(0);
    __syncthreads();
    for (int k = 0; k < TILE; k++) sum += a_tile[row][k] * b_tile[k][column];
    __syncthreads();  // before the next step overwrites the tiles
  }
  if (m < p.M && n < p.N) store_sum(sum, bias, c, m, n, p);
}

template <class T, class C>
void gemm3(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int TILE = 32;
  const int64_t tiles = ceil_div(p.M, TILE) * ceil_div(p.N, TILE);
  launch<gemm_kernel3<TILE, T, C>>({grid_size(tiles), TILE * TILE}, a, b, bias, c, p);
}

template <class T>
void run_gemm3(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm3(arguments...); });
}

REGISTER_VERSION(Gemm, shared_memory, 3, "a block shares a tile of a and of b", supports_all<GemmShape>, run_gemm3<STORAGE>);

}  // namespace pycnn
