/*
batch_norm backward, version 2: a thread takes 16 bytes of channels and a run of rows, where version 1 takes one element.

Math      dx = weight[c] / sqrt(variance[c] + eps) * (g - (dbias[c] + xhat * dweight[c]) / rows),  dresidual = g;
          g = dy, but with relu 0 where y, computed again if it is not given, is not positive;
          without the sums if the statistics are fixed;  += when accumulating
Memory    dy, x, y, dx, dresidual: rows,C (c contiguous), pitched   mean, variance, weight, bias, dweight, dbias: C
Threads   V channels of 8 rows, c fastest; the numbers of its channels stay in registers
Limit     memory: dy, x and y, if given, are read once, dx and dresidual are written once
Next      reading dy where the convolution above makes it
Storage   float half bfloat16 double
*/
#include "rows.h"

namespace pycnn {

template <class T, int kMaxV, Mask kMask>
__global__ void batch_norm_backward_kernel2(Rows<const T> dy, Rows<const T> x, Rows<const T> y, const Accumulator<T>* mean,
                                            const Accumulator<T>* variance, const T* weight, const T* bias,
                                            const Accumulator<T>* dweight, const Accumulator<T>* dbias, Rows<T> dx,
                                            Rows<T> dresidual, RowPieces pieces, BatchNormShape p) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  for_lanes<kRowLanes<kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    A center[V], rest[V], scale[V], shift[V], slope[V], offset[V];
    load_mean<V>(x, mean, c, p, center, rest);
    load_scale_and_offset<V>(variance, weight, bias, c, p.eps, scale, shift);
    load_channels<V>(p.batch_statistics ? dweight : nullptr, c, A(0), slope);
    load_channels<V>(p.batch_statistics ? dbias : nullptr, c, A(0), offset);
    LANES for (int i = 0; i < V; i++) {
      slope[i] = scale[i] * inverse_deviation(variance[c + i], p.eps) * slope[i] / A(p.rows);
      offset[i] = scale[i] * offset[i] / A(p.rows);
    }
    for (int64_t row = part.begin; row < part.end; row++) {
      const auto dy_row = values_at<V>(dy[row] + c), x_row = values_at<V>(x[row] + c);
      const auto y_row = values_at<V>((kMask == Mask::given ? y : x)[row] + c);
      A gradient[V], result[V];
      LANES for (int i = 0; i < V; i++) {
        const A value = kMask == Mask::computed ? normalized(A(x_row[i]), center[i], rest[i], scale[i], shift[i]) : A(y_row[i]);
        gradient[i] = kMask == Mask::none || value > A(0) ? A(dy_row[i]) : A(0);
      }
      if (p.batch_statistics) {
        LANES for (int i = 0; i < V; i++) result[i] =
            scale[i] * gradient[i] - (A(x_row[i]) - center[i] - rest[i]) * slope[i] - offset[i];
      } else {
        LANES for (int i = 0; i < V; i++) result[i] = scale[i] * gradient[i];
      }
      if (p.accumulate) {
        const auto before = load_lanes<V>(dx[row] + c);
        LANES for (int i = 0; i < V; i++) result[i] = A(before[i]) + result[i];
      }
      store_lanes<V>(result, dx[row] + c);
      if (!dresidual) continue;
      if (p.accumulate_residual) {
        const auto before = load_lanes<V>(dresidual[row] + c);
        LANES for (int i = 0; i < V; i++) gradient[i] = A(before[i]) + gradient[i];
      }
      store_lanes<V>(gradient, dresidual[row] + c);
    }
  });
}

template <class T>
void batch_norm_backward2(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array weight, Array bias,
                          Array dweight, Array dbias, Array dx, Array dresidual) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowPieces pieces(p.rows, plan.config[1], p.C, V);
    with_mask(p, y, [&](auto mask) {
      launch<batch_norm_backward_kernel2<T, V, mask>>(pieces.geometry(), Rows<const T>(dy), Rows<const T>(x), Rows<const T>(y),
                                                      mean.as<const A>(), variance.as<const A>(), weight.as<const T>(),
                                                      bias.as<const T>(), dweight.as<const A>(), dbias.as<const A>(), Rows<T>(dx),
                                                      Rows<T>(dresidual), pieces, p);
    });
  });
}

REGISTER_VERSION(BatchNormBackward, vectorized, 2, "16 bytes of channels and a run of rows a thread", supports_row_runs<STORAGE>,
                 batch_norm_backward2<STORAGE>);

}  // namespace pycnn
