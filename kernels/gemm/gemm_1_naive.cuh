/*
GEMM, version 1: one thread per element of c.

Math      c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n]
Memory    a: M,K   b: K,N   c: M,N    (rightmost index contiguous, rows with a pitch; a and b may be stored transposed)
Threads   one c element each, m fastest: the 32 threads of a warp walk down a column
Limit     a warp's 32 reads of a and 32 writes of c lie a row apart: each costs a memory transaction of its own
Next      gemm_2_coalesced.cuh lets a warp walk along a row
Storage   float half bfloat16 double
*/
#pragma once
#include "gemm.h"

namespace pycnn {

template <class T, class C>
__global__ void gemm_kernel1(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.M * p.N) return;
  const int64_t m = i % p.M, n = i / p.M;

  A sum = 0;
  for (int64_t k = 0; k < p.K; k++) sum += A(a(m, k)) * A(b(k, n));
  store_sum(sum, bias, c, m, n, p);
}

template <class T, class C>
void gemm1(Matrix<const T> a, Matrix<const T> b, const T* bias, Matrix<C> c, GemmShape p) {
  const int block = 256;
  launch<gemm_kernel1<T, C>>({grid_size(ceil_div(p.M * p.N, block)), block}, a, b, bias, c, p);
}

template <class T>
void run_gemm1(const Plan& plan, Array a, Array b, Array bias, Array c) {
  with_matrices<T>(plan, a, b, bias, c, [](auto... arguments) { gemm1(arguments...); });
}

REGISTER_VERSION(Gemm, naive, 1, "one thread per element of c", supports_all<GemmShape>, run_gemm1<STORAGE>);

}  // namespace pycnn
