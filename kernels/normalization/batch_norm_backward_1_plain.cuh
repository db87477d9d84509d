/*
batch_norm backward, version 1: one thread per element.

Math      dx = weight[c] / sqrt(variance[c] + eps) * (g - (dbias[c] + xhat * dweight[c]) / rows),  dresidual = g;
          g = dy, but 0 where ReLU's output y is not positive; without the sums if the statistics are fixed;  += when accumulating
Memory    dy, x, y, dx, dresidual: rows,C (c contiguous)   mean, variance, weight, dweight, dbias: C
Threads   one element each, c fastest
Limit     a 64-bit division, a square root and five reads of per-channel numbers for each element
Next      batch_norm_backward_2_vectorized.cuh reads them once for a run of rows
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

template <class T>
__global__ void batch_norm_backward_kernel1(const T* dy, const T* x, const T* y, const Accumulator<T>* mean,
                                            const Accumulator<T>* variance, const T* weight, const Accumulator<T>* dweight,
                                            const Accumulator<T>* dbias, T* dx, T* dresidual, BatchNormShape p) {
  using A = Accumulator<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.C) return;
  const int64_t c = i % p.C;
  const A gradient = y && !(A(y[i]) > A(0)) ? A(0) : A(dy[i]);
  const A inverse = inverse_deviation(variance[c], p.eps), scale = inverse * (weight ? A(weight[c]) : A(1));
  A value = scale * gradient;
  if (p.batch_statistics) {
    const A slope = scale * inverse * dweight[c] / A(p.rows), offset = scale * dbias[c] / A(p.rows);
    value = value - (A(x[i]) - mean[c]) * slope - offset;
  }
  dx[i] = T(p.accumulate ? A(dx[i]) + value : value);
  if (dresidual) dresidual[i] = T(p.accumulate_residual ? A(dresidual[i]) + gradient : gradient);
}

template <class T>
void batch_norm_backward1(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array weight, Array dweight,
                          Array dbias, Array dx, Array dresidual) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  launch<batch_norm_backward_kernel1<T>>({grid_size(ceil_div(p.rows * p.C, 256)), 256}, dy.as<const T>(), x.as<const T>(),
                                         y.as<const T>(), mean.as<const A>(), variance.as<const A>(), weight.as<const T>(),
                                         dweight.as<const A>(), dbias.as<const A>(), dx.as<T>(), dresidual.as<T>(), p);
}

REGISTER_VERSION(BatchNormBackward, plain, 1, "one thread per element", supports_all<BatchNormShape>,
                 batch_norm_backward1<STORAGE>);

}  // namespace pycnn
