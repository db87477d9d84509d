/*
batch_norm backward sums, version 2: rows are cut into pieces by shape, where version 1 has one thread walk down all of them.

Math      dbias[c] = sum over rows of g,  dweight[c] = sum of g * (x - mean[c]) / sqrt(variance[c] + eps);
          g = dy, but with relu 0 where y, computed again if it is not given, is not positive
Memory    dy, x, y: rows,C (c contiguous), pitched   workspace: piece,2,C for each level
          mean, variance, weight, bias, dweight, dbias: C
Threads   V channels of a piece of 32 rows; then V channels of 16 pieces, level by level
Limit     memory: the reading of dy, x and, if given, y
Next      computing the sums in the convolution that makes dy
Storage   float half bfloat16 double
*/
#include "rows.h"

namespace pycnn {

template <class T, int kMaxV, Mask kMask>
__global__ void batch_norm_backward_sums_kernel2(Rows<const T> dy, Rows<const T> x, Rows<const T> y, const Accumulator<T>* mean,
                                                 const Accumulator<T>* variance, const T* weight, const T* bias,
                                                 Accumulator<T>* partial, RowPieces pieces, BatchNormShape p) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  const int64_t C = pieces.C;
  for_lanes<kRowLanes<kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    A center[V], rest[V], scale[V], offset[V], sum[V], product[V];
    load_mean<V>(x, mean, c, p, center, rest);
    if (kMask == Mask::computed) load_scale_and_offset<V>(variance, weight, bias, c, p.eps, scale, offset);
    LANES for (int i = 0; i < V; i++) sum[i] = 0, product[i] = 0;
    for (int64_t row = part.begin; row < part.end; row++) {
      const auto dy_row = values_at<V>(dy[row] + c), x_row = values_at<V>(x[row] + c);
      const auto y_row = values_at<V>((kMask == Mask::given ? y : x)[row] + c);
      LANES for (int i = 0; i < V; i++) {
        const A value = kMask == Mask::computed ? normalized(A(x_row[i]), center[i], rest[i], scale[i], offset[i]) : A(y_row[i]);
        const A gradient = kMask == Mask::none || value > A(0) ? A(dy_row[i]) : A(0);
        sum[i] += gradient;
        product[i] += gradient * (A(x_row[i]) - center[i] - rest[i]);
      }
    }
    store_lanes<V>(sum, partial + 2 * part.piece * C + c);
    store_lanes<V>(product, partial + (2 * part.piece + 1) * C + c);
  });
}

// Adds kFan pieces; the last of all writes the results.
template <class T, int kMaxV>
__global__ void batch_norm_join_sums(const Accumulator<T>* partial, Accumulator<T>* joined, RowPieces pieces,
                                     const Accumulator<T>* variance, Accumulator<T>* dweight, Accumulator<T>* dbias,
                                     BatchNormShape p) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  for_lanes<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    A sum[V], product[V];
    LANES for (int i = 0; i < V; i++) sum[i] = 0, product[i] = 0;
    for (int64_t piece = part.begin; piece < part.end; piece++) {
      const auto more = load_lanes<V>(partial + 2 * piece * p.C + c),
                 more_product = load_lanes<V>(partial + (2 * piece + 1) * p.C + c);
      LANES for (int i = 0; i < V; i++) sum[i] += more[i], product[i] += more_product[i];
    }
    if (joined) {
      store_lanes<V>(sum, joined + 2 * part.piece * p.C + c);
      store_lanes<V>(product, joined + (2 * part.piece + 1) * p.C + c);
      return;
    }
    for (int i = 0; i < V; i++) {
      dbias[c + i] = sum[i];
      dweight[c + i] = product[i] * inverse_deviation(variance[c + i], p.eps);
    }
  });
}

template <class T>
void batch_norm_backward_sums2(const Plan& plan, Array dy, Array x, Array y, Array mean, Array variance, Array weight, Array bias,
                               Array dweight, Array dbias) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowPieces pieces(p.rows, plan.config[1], p.C, V);
    A* partial = plan.workspace_as<A>();
    with_mask(p, y, [&](auto mask) {
      launch<batch_norm_backward_sums_kernel2<T, V, mask>>(pieces.geometry(), Rows<const T>(dy), Rows<const T>(x),
                                                           Rows<const T>(y), mean.as<const A>(), variance.as<const A>(),
                                                           weight.as<const T>(), bias.as<const T>(), partial, pieces, p);
    });
    int64_t count = pieces.count;
    do {
      const RowPieces level(count, kFan, p.C, V);
      A* joined = level.count > 1 ? partial + 2 * count * p.C : nullptr;
      launch<batch_norm_join_sums<T, V>>(level.geometry(), (const A*)partial, joined, level, variance.as<const A>(),
                                         dweight.as<A>(), dbias.as<A>(), p);
      partial = joined, count = level.count;
    } while (partial);
  });
}

REGISTER_VERSION(BatchNormBackwardSums, split_rows, 2, "pieces of rows, joined in a tree", supports_split_rows<STORAGE>,
                 batch_norm_backward_sums2<STORAGE>);

}  // namespace pycnn
