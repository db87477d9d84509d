/*
GEMM, version 2: as 1, but n is the fastest index instead of m, so a warp walks along a row.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n]
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
Threads   one c element each, n fastest: a warp reads one element of a and 32 neighbours of b, and writes 32 neighbours of c
Limit     each element of a is read N times and each of b M times, from global memory every time
Next      gemm_3_shared_memory.cuh reads a tile once for all threads of a block
Storage   float
*/
#pragma once
#include "gemm.h"

namespace pycnn {

template <class T, class C>
__global__ void gemm_kernel2(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.M * p.N) return;
  const int64_t m = i / p.N, n = i % p.N;

  A sum = 0;
  for (int64_t k = 0; k < p.K; k++) sum += A(a(m, k)) * A(b(k, n));
  store_sum(sum, bias, c, m, n, p);
}

template <class T, class C>
void gemm2(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int block = 256;
  launch<gemm_kernel2<T, C>>({grid_size(ceil_div(p.M * p.N, block)), block}, a, b, bias, c, p);
}

template <class T>
void run_gemm2(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm2(arguments...); });
}

REGISTER_VERSION(Gemm, coalesced, 2, "a warp walks along a row of c", supports_all<GemmShape>, run_gemm2<STORAGE>);

}  // namespace pycnn
