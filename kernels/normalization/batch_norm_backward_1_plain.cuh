/*
batch_norm backward, version 1: one thread per element.

Math      dx = weight[c] / sqrt(variance[c] + eps) * (g - (dbias[c] + xhat * dweight[c]) / rows),  dresidual = g;
          g = dy, but with relu 0 where y, computed again if it is not given, is not positive;
          without the sums if the statistics are fixed;  += when accumulating
Memory    dy, x, y, dx, dresidual: rows,C (c contiguous), pitched   mean, variance, weight, bias, dweight, dbias: C
Threads   one element each, c fastest
Limit     a 64-bit division, a square root and five reads of per-channel numbers for each element
Next      batch_norm_backward_2_vectorized.cuh reads them once for a run of rows
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

template <class T>
__global__ void batch_norm_backward_kernel1(Rows<const T> dy, Rows<const T> x, Rows<const T> y, const Accumulator<T>* mean,
                                            const Accumulator<T>* variance, const T* weight, const T* bias,
                                            const Accumulator<T>* dweight, const Accumulator<T>* dbias, Rows<T> dx,
                                            Rows<T> dresidual, BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.C) return;
  const int64_t row = i / p.C, c = i % p.C;
  const A inverse = inverse_deviation(variance[c], p.eps), scale = inverse * (weight ? A(weight[c]) : A(1));
  A center = origin_of(x, p) ? A(x[0][c]) : A(0), rest = mean[c];
  split_mean(center, rest);
  const A element = A(x[row][c]);
  const A output = y ? A(y[row][c]) : normalized(element, center, rest, scale, bias ? A(bias[c]) : A(0));
  const A gradient = !p.relu || output > A(0) ? A(dy[row][c]) : A(0);
  A value = scale * gradient;
  if (p.batch_statistics) {
    const A slope = scale * inverse * dweight[c] / A(p.rows), offset = scale * dbias[c] / A(p.rows);
    value = value - (element - center - rest) * slope - offset;
  }
  dx[row][c] = T(p.accumulate ? A(dx[row][c]) + value : value);
  if (dresidual) dresidual[row][c] = T(p.accumulate_residual ? A(dresidual[row][c]) + gradient : gradient);
}

template <class T>
void batch_norm_backward1(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array weight, Array bias,
                          Array dweight, Array dbias, Array dx, Array dresidual) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_backward_kernel1<T>>({grid_size(ceil_div(p.rows * p.C, 256)), 256}, Rows<const T>(dy), Rows<const T>(x),
                                         Rows<const T>(y), mean.as<const A>(), variance.as<const A>(), weight.as<const T>(),
                                         bias.as<const T>(), dweight.as<const A>(), dbias.as<const A>(), Rows<T>(dx),
                                         Rows<T>(dresidual), p);
}

REGISTER_VERSION(BatchNormBackward, plain, 1, "one thread per element", supports_all<BatchNormShape>,
                 batch_norm_backward1<STORAGE>);

}  // namespace pycnn
