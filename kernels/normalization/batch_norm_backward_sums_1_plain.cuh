/*
batch_norm backward sums, version 1: one thread per channel.

Math      dbias[c] = sum over rows of g,  dweight[c] = sum of g * (x - mean[c]) / sqrt(variance[c] + eps);
          g = dy, but 0 where ReLU's output y is not positive
Memory    dy, x, y: rows,C (c contiguous)   mean, variance, dweight, dbias: C
Threads   one channel each: a warp reads 32 neighboring channels of one row after the other
Limit     C threads walk down all rows
Next      batch_norm_backward_sums_2_split_rows.cuh cuts the rows into pieces
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

template <class T>
__global__ void batch_norm_backward_sums_kernel1(const T* dy, const T* x, const T* y, const Accumulator<T>* mean,
                                                 const Accumulator<T>* variance, Accumulator<T>* dweight, Accumulator<T>* dbias,
                                                 BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= p.C) return;
  A sum = 0, product = 0;
  for (int64_t i = c; i < p.rows * p.C; i += p.C) {
    const A gradient = y && !(A(y[i]) > A(0)) ? A(0) : A(dy[i]);
    sum += gradient;
    product += gradient * (A(x[i]) - mean[c]);
  }
  dbias[c] = sum;
  dweight[c] = product * inverse_deviation(variance[c], p.eps);
}

template <class T>
void batch_norm_backward_sums1(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array dweight,
                               Array dbias) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_backward_sums_kernel1<T>>({grid_size(ceil_div(p.C, 32)), 32}, dy.as<const T>(), x.as<const T>(),
                                              y.as<const T>(), mean.as<const A>(), variance.as<const A>(), dweight.as<A>(),
                                              dbias.as<A>(), p);
}

REGISTER_VERSION(BatchNormBackwardSums, plain, 1, "one thread per channel", supports_all<BatchNormShape>,
                 batch_norm_backward_sums1<STORAGE>);

}  // namespace pycnn
