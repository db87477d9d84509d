/*
batch_norm forward, version 1: one thread per element.

Math      y = (x - mean[c]) / sqrt(variance[c] + eps) * weight[c] + bias[c] + residual, then max(., 0) if relu
Memory    x, residual, y: rows,C (c contiguous), pitched   mean, variance, weight, bias: C
Threads   one element each, c fastest
Limit     a 64-bit division, a square root and four reads of per-channel numbers for each element
Next      batch_norm_forward_2_vectorized.cuh reads them once for a run of rows
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

template <class T>
__global__ void batch_norm_forward_kernel1(Rows<const T> x, const Accumulator<T>* mean, const Accumulator<T>* variance,
                                           const T* weight, const T* bias, Rows<const T> residual, Rows<T> y, BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.C) return;
  const int64_t row = i / p.C, c = i % p.C;
  A center = origin_of(x, p) ? A(x[0][c]) : A(0), rest = mean[c];
  split_mean(center, rest);
  const A scale = inverse_deviation(variance[c], p.eps) * (weight ? A(weight[c]) : A(1));
  A value = normalized(A(x[row][c]), center, rest, scale, bias ? A(bias[c]) : A(0));
  if (residual) value += A(residual[row][c]);
  y[row][c] = T(p.relu && value < A(0) ? A(0) : value);
}

template <class T>
void batch_norm_forward1(const Plan& plan, Array x, Array mean, Array variance, Array weight, Array bias, Array residual,
                         Array y) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_forward_kernel1<T>>({grid_size(ceil_div(p.rows * p.C, 256)), 256}, Rows<const T>(x), mean.as<const A>(),
                                        variance.as<const A>(), weight.as<const T>(), bias.as<const T>(), Rows<const T>(residual),
                                        Rows<T>(y), p);
}

REGISTER_VERSION(BatchNormForward, plain, 1, "one thread per element", supports_all<BatchNormShape>,
                 batch_norm_forward1<STORAGE>);

}  // namespace pycnn
