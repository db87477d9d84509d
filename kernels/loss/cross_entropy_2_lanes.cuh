/*
Softmax cross entropy with class indices, forward and backward, version 2: cross_entropy_1_plain with 16 running values a
thread.

Math      L = log of the sum over c of exp(x[c])      loss = (1 - s) w[t] (L - x[t]) + s / C * sum over c of w[c] (L - x[c])
          dx[c] = g ((1 - s) w[t] (P[c] - [c = t]) + s / C * (P[c] * (sum of w) - w[c])), P[c] = exp(x[c] - L)
          L = 0 and P[c] = 0 where x is normalized already
Memory    logits, dlogits: rows,classes   terms: 2,rows (losses, weights)   log_sum: 2,rows
Threads   one row each; the 16 values are independent, so that a CPU computes them in vectors
Limit     on a GPU neighbouring threads still read elements a whole row apart
Next      cross_entropy_3_warp.cuh gives a row to a warp
Storage   float half bfloat16 double
*/
#include "cross_entropy.h"
#include "row_lanes.h"

namespace pycnn {

// The sum over c of w[c] (L - x[c]).
template <class T, class A>
__device__ __forceinline__ A spread_loss(const T* x, const A* weight, const LogSum<A>& L, int64_t n) {
  A sum[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) sum[j] = 0;
  with_weights(weight, [&](auto weighted) {
    for_row(n, [&](RowLane lane) { sum[lane.j] += lane_weight<weighted>(lane, weight) * L.cost(lane.load(x, L.most)); });
  });
  return lane_sum(sum);
}

template <class T, class A = Accumulator<T>>
__global__ void cross_entropy_forward_kernel2(const T* x, const int64_t* target, const A* weight, A* terms, A* log_sum,
                                              CrossEntropyShape sh) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n = sh.classes;
  if (row >= sh.rows) return;
  x += row * n;
  const LogSum<A> L = sh.normalized ? LogSum<A>{0, 0} : row_log_sum(x, n);
  const Label label(target[row], n, sh.ignore_index);
  const A spread = label.valid && sh.label_smoothing > 0 ? spread_loss(x, weight, L, n) : A(0);
  L.store(log_sum, row, sh.rows);
  terms[row] = row_loss(label, x, weight, L, spread, sh);
  terms[sh.rows + row] = row_weight(label, weight);
}

template <class T, class A = Accumulator<T>>
__global__ void cross_entropy_backward_kernel2(const A* dloss, const T* x, const int64_t* target, const A* weight,
                                               const A* log_sum, const A* totals, T* dx, CrossEntropyBackwardShape sh) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n = sh.classes;
  if (row >= sh.rows) return;
  x += row * n, dx += row * n;
  const Label label(target[row], n, sh.ignore_index);
  A weight_sum = A(n);
  if (weight && sh.label_smoothing > 0) {
    weight_sum = 0;
    for (int64_t c = 0; c < n; c++) weight_sum += weight[c];
  }
  const RowGradient<A> d(label, row, dloss, weight, totals, weight_sum, sh);
  const auto L = LogSum<A>::load(log_sum, row, sh.rows);
  if (sh.normalized || !label.valid) {  // all but the label's element is 0
    if (!sh.accumulate) for_row(n, [=](RowLane lane) { lane.store(dx, A(0)); });
    if (label.valid) dx[label.value] = T(A(dx[label.value]) - d.label);
    return;
  }
  with_weights(weight, [=](auto weighted) {
    auto gradient = [=](RowLane lane) {
      const A value = math::exp(-L.cost(lane.load(x, A(0)))) * d.all - lane_weight<weighted>(lane, weight) * d.each;
      return lane.c + lane.j == label.value ? value - d.label : value;
    };
    if (sh.accumulate) for_row(n, [=](RowLane lane) { lane.store(dx, lane.load(dx, A(0)) + gradient(lane)); });
    else for_row(n, [=](RowLane lane) { lane.store(dx, gradient(lane)); });
  });
}

template <class T, class A = Accumulator<T>>
void cross_entropy_forward2(const Plan& plan, Array x, Array target, Array weight, Array terms, Array log_sum) {
  const auto& sh = plan.problem<CrossEntropyShape>();
  const unsigned block = rows_per_block(sh.classes);
  launch<cross_entropy_forward_kernel2<T>>({grid_size(ceil_div(sh.rows, block)), block}, x.as<const T>(),
                                           target.as<const int64_t>(), weight.as<const A>(), terms.as<A>(), log_sum.as<A>(), sh);
}

template <class T, class A = Accumulator<T>>
void cross_entropy_backward2(const Plan& plan, Array dloss, Array x, Array target, Array weight, Array log_sum, Array totals,
                             Array dx) {
  const auto& sh = plan.problem<CrossEntropyBackwardShape>();
  const unsigned block = rows_per_block(sh.classes);
  launch<cross_entropy_backward_kernel2<T>>({grid_size(ceil_div(sh.rows, block)), block}, dloss.as<const A>(), x.as<const T>(),
                                            target.as<const int64_t>(), weight.as<const A>(), log_sum.as<const A>(),
                                            totals.as<const A>(), dx.as<T>(), sh);
}

REGISTER_VERSION(CrossEntropyForward, lanes, 2, "one thread per row, 16 running values", supports_all<CrossEntropyShape>,
                 cross_entropy_forward2<STORAGE>);
REGISTER_VERSION(CrossEntropyBackward, lanes, 2, "one thread per row, 16 running values", supports_all<CrossEntropyBackwardShape>,
                 cross_entropy_backward2<STORAGE>);

}  // namespace pycnn
