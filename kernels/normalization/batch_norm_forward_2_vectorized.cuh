/*
batch_norm forward, version 2: a thread takes 16 bytes of channels and a run of rows, where version 1 takes one element.

Math      y = (x - mean[c]) / sqrt(variance[c] + eps) * weight[c] + bias[c] + residual, then max(., 0) if relu
Memory    x, residual, y: rows,C (c contiguous), pitched   mean, variance, weight, bias: C
Threads   V channels of 8 rows, c fastest; the numbers of its channels stay in registers
Limit     memory: x and residual are read once, y is written once
Next      computing y in the convolution that makes x
Storage   float half bfloat16 double
*/
#include "rows.h"

namespace pycnn {

template <class T, int kMaxV, bool kResidual>
__global__ void batch_norm_forward_kernel2(Rows<const T> x, const Accumulator<T>* mean, const Accumulator<T>* variance,
                                           const T* weight, const T* bias, Rows<const T> residual, Rows<T> y, RowPieces pieces,
                                           BatchNormShape p) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  const A floor = p.relu ? A(0) : A(-INFINITY);
  for_lanes<kRowLanes<kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    A center[V], rest[V], scale[V], offset[V];
    load_mean<V>(x, mean, c, p, center, rest);
    load_scale_and_offset<V>(variance, weight, bias, c, p.eps, scale, offset);
    for (int64_t row = part.begin; row < part.end; row++) {
      const auto x_row = values_at<V>(x[row] + c), more = values_at<V>((kResidual ? residual : x)[row] + c);
      A result[V];
      LANES for (int i = 0; i < V; i++) {
        A value = normalized(A(x_row[i]), center[i], rest[i], scale[i], offset[i]);
        if (kResidual) value += A(more[i]);
        result[i] = value < floor ? floor : value;  // NaN passes
      }
      store_lanes<V>(result, y[row] + c);
    }
  });
}

template <class T>
void batch_norm_forward2(const Plan& plan, Array x, Array mean, Array variance, Array weight, Array bias, Array residual,
                         Array y) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowPieces pieces(p.rows, plan.config[1], p.C, V);
    auto with_residual = [&](auto has_residual) {
      launch<batch_norm_forward_kernel2<T, V, has_residual>>(pieces.geometry(), Rows<const T>(x), mean.as<const A>(),
                                                             variance.as<const A>(), weight.as<const T>(), bias.as<const T>(),
                                                             Rows<const T>(residual), Rows<T>(y), pieces, p);
    };
    if (residual) with_residual(std::true_type{});
    else with_residual(std::false_type{});
  });
}

REGISTER_VERSION(BatchNormForward, vectorized, 2, "16 bytes of channels and a run of rows a thread", supports_row_runs<STORAGE>,
                 batch_norm_forward2<STORAGE>);

}  // namespace pycnn
