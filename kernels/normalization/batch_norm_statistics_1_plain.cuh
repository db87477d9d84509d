/*
batch_norm statistics, version 1: one thread per channel.

Math      mean[c] = sum over rows of (x[row,c] - x[0,c]) / rows,  variance[c] = sum of (x[row,c] - x[0,c] - mean[c])^2 / rows,
          less the square of what rounding left in the mean
Memory    x: rows,C (c contiguous), pitched   mean, variance, running_mean, running_var: C
Threads   one channel each: a warp reads 32 neighboring channels of one row after the other, three times
Limit     C threads walk down all rows; 64 channels keep 2 warps of a whole GPU busy
Next      batch_norm_statistics_2_split_rows.cuh cuts the rows into pieces
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

// The sum of term(row), 32 rows at a time: in one long sum of equal values the same rounding would pile up.
template <class A, class Term>
__device__ A sum_over_rows(int64_t rows, const Term& term) {
  A total = 0;
  for (int64_t begin = 0; begin < rows; begin += 32) {
    A piece = 0;
    for (int64_t row = begin; row < rows && row < begin + 32; row++) piece += term(row);
    total += piece;
  }
  return total;
}

template <class T>
__global__ void batch_norm_statistics_kernel1(Rows<const T> x, Accumulator<T>* mean, Accumulator<T>* variance,
                                              Accumulator<T>* running_mean, Accumulator<T>* running_var, BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= p.C) return;
  if (!p.rows) {
    mean[c] = A(0);
    variance[c] = A(1);
    return;
  }
  const A origin = A(x[0][c]), rows = A(p.rows), momentum = A(p.momentum);
  const A center = sum_over_rows<A>(p.rows, [&](int64_t row) { return A(x[row][c]) - origin; }) / rows;
  const A rest = sum_over_rows<A>(p.rows, [&](int64_t row) { return A(x[row][c]) - origin - center; });
  A squares = sum_over_rows<A>(p.rows, [&](int64_t row) {
    const A distance = A(x[row][c]) - origin - center;
    return distance * distance;
  });
  squares -= rest * rest / rows;
  mean[c] = center;
  variance[c] = squares / rows;
  if (running_mean) running_mean[c] = (A(1) - momentum) * running_mean[c] + momentum * (origin + center);
  if (running_var) running_var[c] = (A(1) - momentum) * running_var[c] + momentum * (squares / A(p.rows - 1));
}

template <class T>
void batch_norm_statistics1(const Plan& plan, Array x, Array mean, Array variance, Array running_mean, Array running_var) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_statistics_kernel1<T>>({grid_size(ceil_div(p.C, 32)), 32}, Rows<const T>(x), mean.as<A>(), variance.as<A>(),
                                           running_mean.as<A>(), running_var.as<A>(), p);
}

REGISTER_VERSION(BatchNormStatistics, plain, 1, "one thread per channel", supports_all<BatchNormShape>,
                 batch_norm_statistics1<STORAGE>);

}  // namespace pycnn
