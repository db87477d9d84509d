/*
batch_norm backward sums, version 1: one thread per channel.

Math      dbias[c] = sum over rows of g,  dweight[c] = sum of g * (x - mean[c]) / sqrt(variance[c] + eps);
          g = dy, but with relu 0 where y, computed again if it is not given, is not positive
Memory    dy, x, y: rows,C (c contiguous), pitched   mean, variance, weight, bias, dweight, dbias: C
Threads   one channel each: a warp reads 32 neighboring channels of one row after the other
Limit     C threads walk down all rows
Next      batch_norm_backward_sums_2_split_rows.cuh cuts the rows into pieces
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

template <class T>
__global__ void batch_norm_backward_sums_kernel1(Rows<const T> dy, Rows<const T> x, Rows<const T> y, const Accumulator<T>* mean,
                                                 const Accumulator<T>* variance, const T* weight, const T* bias,
                                                 Accumulator<T>* dweight, Accumulator<T>* dbias, BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= p.C) return;
  const A inverse = inverse_deviation(variance[c], p.eps);
  A center = origin_of(x, p) ? A(x[0][c]) : A(0), rest = mean[c];
  split_mean(center, rest);
  const A scale = inverse * (weight ? A(weight[c]) : A(1)), offset = bias ? A(bias[c]) : A(0);
  A sum = 0, product = 0;
  for (int64_t row = 0; row < p.rows; row++) {
    const A value = y ? A(y[row][c]) : normalized(A(x[row][c]), center, rest, scale, offset);
    const A gradient = !p.relu || value > A(0) ? A(dy[row][c]) : A(0);
    sum += gradient;
    product += gradient * (A(x[row][c]) - center - rest);
  }
  dbias[c] = sum;
  dweight[c] = product * inverse;
}

template <class T>
void batch_norm_backward_sums1(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array weight, Array bias,
                               Array dweight, Array dbias) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_backward_sums_kernel1<T>>({grid_size(ceil_div(p.C, 32)), 32}, Rows<const T>(dy), Rows<const T>(x),
                                              Rows<const T>(y), mean.as<const A>(), variance.as<const A>(), weight.as<const T>(),
                                              bias.as<const T>(), dweight.as<A>(), dbias.as<A>(), p);
}

REGISTER_VERSION(BatchNormBackwardSums, plain, 1, "one thread per channel", supports_all<BatchNormShape>,
                 batch_norm_backward_sums1<STORAGE>);

}  // namespace pycnn
