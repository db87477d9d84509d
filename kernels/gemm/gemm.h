// Declaration of the matrix product, and a matrix as its kernels see it.
#pragma once
#include <algorithm>

#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

struct GemmShape {
  int64_t M, N, K;
  int64_t trans_a, trans_b;  // 1: a is stored K,M / b is stored N,K
  int64_t accumulate;        // 1: c += ..., 0: c = ...
  int64_t wide_c;            // 1: c is stored in the accumulator type (weight gradients)
  static constexpr const char* names = "M N K trans_a trans_b accumulate wide_c";
};

// c[m,n] = bias[n] + sum over k of a[m,k] * b[k,n], all row-major. a: M,K (K,M)  b: K,N (N,K)  bias: N or none  c: M,N.
struct Gemm {
  static constexpr const char* name = "gemm";
  using Problem = GemmShape;
  static Signature signature(const GemmShape& p, DType t);
  static void check(const GemmShape& p);
  static Preference prefer(const GemmShape& p, const Request& request);
};

// A matrix in memory. One of the two strides is 1: the row's if the matrix is stored transposed, else the column's.
template <class T>
struct Matrix {
  T* data;
  int64_t row_stride, column_stride;

  __host__ __device__ T& operator()(int64_t row, int64_t column) const { return data[row * row_stride + column * column_stride]; }
  __host__ __device__ Matrix transposed() const { return {data, column_stride, row_stride}; }
};

template <class T>
Matrix<T> matrix(const Array& a, bool transposed = false) {
  const Matrix<T> stored{a.as<T>(), a.pitch, 1};
  return transposed ? stored.transposed() : stored;
}

// c(m, n) receives its sum. C is T or, where c is wide, the accumulator type A.
template <class T, class C, class A>
__device__ __forceinline__ void store_sum(A sum, const T* bias, Matrix<C> c, int64_t m, int64_t n, const GemmShape& p) {
  if (bias) sum += A(bias[n]);
  C& out = c(m, n);
  out = C(p.accumulate ? A(out) + sum : sum);
}

// Calls run(a, b, bias, c, shape) with the arrays' types and strides; c is a Matrix<T> or a Matrix<Accumulator<T>>.
template <class T, class Run>
void with_matrices(const Plan& plan, Array a, Array b, Array bias, Array c, Run run) {
  const auto& p = plan.problem<GemmShape>();
  const auto a_matrix = matrix<const T>(a, p.trans_a), b_matrix = matrix<const T>(b, p.trans_b);
  if (p.wide_c) run(a_matrix, b_matrix, bias.as<const T>(), matrix<Accumulator<T>>(c), p);
  else run(a_matrix, b_matrix, bias.as<const T>(), matrix<T>(c), p);
}

}  // namespace pycnn
