/*
batch_norm statistics, version 2: rows are cut into pieces by shape, where version 1 has one thread walk down all of them.

Math      of each piece the mean m and squares = sum of (x - m)^2, from x less the mean of the piece's first four rows, so that
          little cancels; m is kept less row 0, so that joining keeps its digits;
          two pieces a, b: m = m_a + (m_b - m_a) n_b / n, squares = squares_a + squares_b + (m_b - m_a)^2 n_a n_b / n (Chan 1979)
Memory    x: rows,C (c contiguous), pitched   workspace: piece,2,C for each level   mean, variance, running_mean, running_var: C
Threads   V channels of a piece of 32 rows; then V channels of 16 pieces, level by level. x is read once
Limit     memory: the reading of x
Next      computing the sums in the convolution that makes x
Storage   float half bfloat16 double
*/
#include "rows.h"

namespace pycnn {

template <class T, int kMaxV>
__global__ void batch_norm_statistics_kernel2(Rows<const T> x, Accumulator<T>* partial, RowPieces pieces) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  const int64_t C = pieces.C;
  for_lanes<kRowLanes<kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    const auto first = values_at<V>(x[part.begin] + c), origin = values_at<V>(x[0] + c);
    A shift[V], sum[V], squares[V];
    const int64_t few = part.end - part.begin < 4 ? part.end - part.begin : 4;
    LANES for (int i = 0; i < V; i++) sum[i] = 0, squares[i] = 0;
    for (int64_t row = part.begin + 1; row < part.begin + few; row++) {
      const auto value = load_lanes<V>(x[row] + c);
      LANES for (int i = 0; i < V; i++) sum[i] += A(value[i]) - A(first[i]);
    }
    LANES for (int i = 0; i < V; i++) shift[i] = A(first[i]) + sum[i] / A(few), sum[i] = 0;
    for (int64_t row = part.begin; row < part.end; row++) {
      const auto value = values_at<V>(x[row] + c);
      LANES for (int i = 0; i < V; i++) {
        const A distance = A(value[i]) - shift[i];
        sum[i] += distance;
        squares[i] += distance * distance;
      }
    }
    const A n = A(part.end - part.begin);
    LANES for (int i = 0; i < V; i++) {
      const A offset = sum[i] / n, rest = squares[i] - sum[i] * offset;
      shift[i] = (shift[i] - A(origin[i])) + offset;
      squares[i] = rest < A(0) ? A(0) : rest;  // NaN stays NaN
    }
    store_lanes<V>(shift, partial + 2 * part.piece * C + c);
    store_lanes<V>(squares, partial + (2 * part.piece + 1) * C + c);
  });
}

// Joins kFan pieces of `span` rows into one; the last of all writes the results.
template <class T, int kMaxV>
__global__ void batch_norm_join_statistics(const Accumulator<T>* partial, int64_t span, Accumulator<T>* joined, RowPieces pieces,
                                           Rows<const T> x, Accumulator<T>* mean, Accumulator<T>* variance,
                                           Accumulator<T>* running_mean, Accumulator<T>* running_var, BatchNormShape p) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pieces.outside(thread)) return;
  const RowPiece part = pieces[thread];
  for_lanes<kMaxV>(part.c_begin, part.c_end, [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    A center[V], squares[V];
    LANES for (int i = 0; i < V; i++) center[i] = 0, squares[i] = 0;
    int64_t rows = 0;
    for (int64_t piece = part.begin; piece < part.end; piece++) {
      const int64_t left = p.rows - piece * span, more = left < span ? left : span;
      const A share = A(more) / A(rows + more), weight = A(rows) * share;
      const auto other_center = load_lanes<V>(partial + 2 * piece * p.C + c);
      const auto other_squares = load_lanes<V>(partial + (2 * piece + 1) * p.C + c);
      LANES for (int i = 0; i < V; i++) {
        const A distance = other_center[i] - center[i];
        center[i] = rows ? center[i] + distance * share : other_center[i];
        squares[i] = rows ? squares[i] + other_squares[i] + distance * distance * weight : other_squares[i];
      }
      rows += more;
    }
    if (joined) {
      store_lanes<V>(center, joined + 2 * part.piece * p.C + c);
      store_lanes<V>(squares, joined + (2 * part.piece + 1) * p.C + c);
      return;
    }
    const A momentum = A(p.momentum);
    for (int i = 0; i < V; i++) {
      mean[c + i] = center[i];
      variance[c + i] = squares[i] / A(p.rows);
      if (running_mean) running_mean[c + i] = (A(1) - momentum) * running_mean[c + i] + momentum * (A(x[0][c + i]) + center[i]);
      if (running_var) running_var[c + i] = (A(1) - momentum) * running_var[c + i] + momentum * (squares[i] / A(p.rows - 1));
    }
  });
}

template <class T>
void batch_norm_statistics2(const Plan& plan, Array x, Array mean, Array variance, Array running_mean, Array running_var) {
  using A = Accumulator<T>;
  const auto& p = plan.problem<BatchNormShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowPieces pieces(p.rows, plan.config[1], p.C, V);
    A* partial = plan.workspace_as<A>();
    launch<batch_norm_statistics_kernel2<T, V>>(pieces.geometry(), Rows<const T>(x), partial, pieces);
    int64_t count = pieces.count, span = pieces.height;
    do {
      const RowPieces level(count, kFan, p.C, V);
      A* joined = level.count > 1 ? partial + 2 * count * p.C : nullptr;
      launch<batch_norm_join_statistics<T, V>>(level.geometry(), (const A*)partial, span, joined, level, Rows<const T>(x),
                                               mean.as<A>(), variance.as<A>(), running_mean.as<A>(), running_var.as<A>(), p);
      partial = joined, count = level.count, span *= kFan;
    } while (partial);
  });
}

REGISTER_VERSION(BatchNormStatistics, split_rows, 2, "pieces of rows, joined in a tree", supports_split_rows<STORAGE>,
                 batch_norm_statistics2<STORAGE>);

}  // namespace pycnn
