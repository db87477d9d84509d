/*
batch_norm statistics, version 1: one thread per channel.

Math      mean[c] = sum over rows of x[row,c] / rows,  variance[c] = sum of (x[row,c] - mean[c])^2 / rows
Memory    x: rows,C (c contiguous)   mean, variance, running_mean, running_var: C
Threads   one channel each: a warp reads 32 neighboring channels of one row after the other, twice
Limit     C threads walk down all rows; 64 channels keep 2 warps of a whole GPU busy
Next      batch_norm_statistics_2_split_rows.cuh cuts the rows into pieces
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

template <class T>
__global__ void batch_norm_statistics_kernel1(const T* x, Accumulator<T>* mean, Accumulator<T>* variance,
                                              Accumulator<T>* running_mean, Accumulator<T>* running_var, BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= p.C) return;
  A sum = 0;
  for (int64_t row = 0; row < p.rows; row++) sum += A(x[row * p.C + c]);
  const A center = sum / A(p.rows);
  A squares = 0;
  for (int64_t row = 0; row < p.rows; row++) {
    const A distance = A(x[row * p.C + c]) - center;
    squares += distance * distance;
  }
  mean[c] = center;
  variance[c] = squares / A(p.rows);
  const A momentum = A(p.momentum);
  if (running_mean) running_mean[c] = (A(1) - momentum) * running_mean[c] + momentum * center;
  if (running_var) running_var[c] = (A(1) - momentum) * running_var[c] + momentum * (squares / A(p.rows - 1));
}

template <class T>
void batch_norm_statistics1(const Plan& plan, Array x, Array mean, Array variance, Array running_mean, Array running_var) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_statistics_kernel1<T>>({grid_size(ceil_div(p.C, 32)), 32}, x.as<const T>(), mean.as<A>(), variance.as<A>(),
                                           running_mean.as<A>(), running_var.as<A>(), p);
}

REGISTER_VERSION(BatchNormStatistics, plain, 1, "one thread per channel", supports_all<BatchNormShape>,
                 batch_norm_statistics1<STORAGE>);

}  // namespace pycnn
