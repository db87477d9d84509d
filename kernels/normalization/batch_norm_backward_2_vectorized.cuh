/*
batch_norm backward, version 2: a thread takes 16 bytes of channels and a run of rows, where version 1 takes one element.

Math      dx = weight[c] / sqrt(variance[c] + eps) * (g - (dbias[c] + xhat * dweight[c]) / rows),  dresidual = g;
          g = dy, but 0 where ReLU's output y is not positive; without the sums if the statistics are fixed;  += when accumulating
Memory    dy, x, y, dx, dresidual: rows,C (c contiguous)   mean, variance, weight, dweight, dbias: C
Threads   V channels of 8 rows, c fastest; the numbers of its channels stay in registers
Limit     memory: dy, x and y are read once, dx and dresidual are written once
Next      reading dy where the convolution above makes it
Storage   float half bfloat16 double
*/
#include "rows.h"

namespace pycnn {

template <class T, int kMaxV, bool kReLU>
__global__ void batch_norm_backward_kernel2(const T* dy, const T* x, const T* y, const Accumulator<T>* mean,
                                            const Accumulator<T>* variance, const T* weight, const Accumulator<T>* dweight,
                                            const Accumulator<T>* dbias, T* dx, T* dresidual, RowPieces pieces,
                                            BatchNormShape p) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  for_lanes<kRowLanes<kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    A center[V], scale[V], slope[V], offset[V];
    load_channels<V>(mean, c, A(0), center);
    load_channels<V>(weight, c, A(1), scale);
    load_channels<V>(p.batch_statistics ? dweight : nullptr, c, A(0), slope);
    load_channels<V>(p.batch_statistics ? dbias : nullptr, c, A(0), offset);
    LANES for (int i = 0; i < V; i++) {
      const A inverse = inverse_deviation(variance[c + i], p.eps);
      scale[i] *= inverse;
      slope[i] = scale[i] * inverse * slope[i] / A(p.rows);
      offset[i] = scale[i] * offset[i] / A(p.rows);
    }
    for (int64_t row = part.begin; row < part.end; row++) {
      const int64_t at = row * p.C + c;
      const auto dy_row = load_lanes<V>(dy + at), x_row = load_lanes<V>(x + at), y_row = load_lanes<V>((kReLU ? y : x) + at);
      A gradient[V], result[V];
      LANES for (int i = 0; i < V; i++) gradient[i] = !kReLU || A(y_row[i]) > A(0) ? A(dy_row[i]) : A(0);
      if (p.batch_statistics) {
        LANES for (int i = 0; i < V; i++) result[i] = scale[i] * gradient[i] - (A(x_row[i]) - center[i]) * slope[i] - offset[i];
      } else {
        LANES for (int i = 0; i < V; i++) result[i] = scale[i] * gradient[i];
      }
      if (p.accumulate) {
        const auto before = load_lanes<V>(dx + at);
        LANES for (int i = 0; i < V; i++) result[i] = A(before[i]) + result[i];
      }
      store_lanes<V>(result, dx + at);
      if (!dresidual) continue;
      if (p.accumulate_residual) {
        const auto before = load_lanes<V>(dresidual + at);
        LANES for (int i = 0; i < V; i++) gradient[i] = A(before[i]) + gradient[i];
      }
      store_lanes<V>(gradient, dresidual + at);
    }
  });
}

template <class T>
void batch_norm_backward2(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array weight, Array dweight,
                          Array dbias, Array dx, Array dresidual) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowPieces pieces(p.rows, plan.config[1], p.C, V);
    auto with_relu = [&](auto relu) {
      launch<batch_norm_backward_kernel2<T, V, relu>>(
          pieces.geometry(), dy.as<const T>(), x.as<const T>(), y.as<const T>(), mean.as<const A>(), variance.as<const A>(),
          weight.as<const T>(), dweight.as<const A>(), dbias.as<const A>(), dx.as<T>(), dresidual.as<T>(), pieces, p);
    };
    if (y) with_relu(std::true_type{});
    else with_relu(std::false_type{});
  });
}

REGISTER_VERSION(BatchNormBackward, vectorized, 2, "16 bytes of channels and a run of rows a thread", supports_row_runs<STORAGE>,
                 batch_norm_backward2<STORAGE>);

}  // namespace pycnn
