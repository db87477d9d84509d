/*
batch_norm fold, version 1: the batch norm after a convolution becomes part of its filters and bias.

Math      s = weight[k] / sqrt(variance[k] + eps);  folded[k,i] = filters[k,i] * s,
          folded_bias[k] = (filters_bias[k] - mean[k]) * s + bias[k]
Memory    filters, folded: K,inner (R,S,C of a filter are one axis)   all others: K
Threads   a block per filter; a thread takes every 128th number of it on a GPU, all of them on a CPU
Limit     memory: the filters are read once and written once
Next      -
Storage   float half bfloat16 double
*/
#include "normalization.h"

namespace pycnn {

inline constexpr unsigned kFoldThreads = PYCNN_CUDA ? 128 : 1;

template <class T>
__global__ void batch_norm_fold_kernel1(const T* filters, const T* filters_bias, const Accumulator<T>* mean,
                                        const Accumulator<T>* variance, const T* weight, const T* bias, T* folded, T* folded_bias,
                                        FoldShape p) {
  using A = Accumulator<T>;
  const int64_t k = blockIdx.x;
  const A scale = inverse_deviation(variance[k], p.eps) * (weight ? A(weight[k]) : A(1));
  for (int64_t i = threadIdx.x; i < p.inner; i += kFoldThreads) folded[k * p.inner + i] = T(A(filters[k * p.inner + i]) * scale);
  if (threadIdx.x) return;
  const A shift = (filters_bias ? A(filters_bias[k]) : A(0)) - mean[k];
  folded_bias[k] = T(shift * scale + (bias ? A(bias[k]) : A(0)));
}

template <class T>
void batch_norm_fold1(const Plan& plan, Array filters, Array filters_bias, Array mean, Array variance, Array weight, Array bias,
                      Array folded, Array folded_bias) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<FoldShape>();
  launch<batch_norm_fold_kernel1<T>>({grid_size(p.K), kFoldThreads}, filters.as<const T>(), filters_bias.as<const T>(),
                                     mean.as<const A>(), variance.as<const A>(), weight.as<const T>(), bias.as<const T>(),
                                     folded.as<T>(), folded_bias.as<T>(), p);
}

REGISTER_VERSION(BatchNormFold, plain, 1, "a block per filter", supports_all<FoldShape>, batch_norm_fold1<STORAGE>);

}  // namespace pycnn
