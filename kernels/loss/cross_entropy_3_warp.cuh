/*
Softmax cross entropy with class indices, forward and backward, version 3: cross_entropy_2_lanes with a warp per row.

Math      L = log of the sum over c of exp(x[c])      loss = (1 - s) w[t] (L - x[t]) + s / C * sum over c of w[c] (L - x[c])
          dx[c] = g ((1 - s) w[t] (P[c] - [c = t]) + s / C * (P[c] * (sum of w) - w[c])), P[c] = exp(x[c] - L)
          L = 0 and P[c] = 0 where x is normalized already
Memory    logits, dlogits: rows,classes   terms: 2,rows (losses, weights)   log_sum: 2,rows; a warp reads 32 neighbours
Threads   a warp per row, 4 warps a block; maximum and sums go through the warp by shuffles
Limit     rows of fewer than 32 classes leave lanes idle
Next      -
Storage   float half bfloat16 double
*/
#include "../common/reduce.h"
#include "cross_entropy.h"

namespace pycnn {

inline constexpr int kLossRows = 4;  // rows, that is warps, of a block

template <class T, class A = Accumulator<T>>
__global__ void cross_entropy_forward_kernel3(const T* x, const int64_t* target, const A* weight, A* terms, A* log_sum,
                                              CrossEntropyShape sh) {
  const int64_t row = int64_t(blockIdx.x) * kLossRows + threadIdx.y, n = sh.classes;
  if (row >= sh.rows) return;
  x += row * n;
  LogSum<A> L{0, 0};
  A spread = 0;
  if (!sh.normalized) {
    A most = A(-INFINITY), sum = 0;
    for (int64_t c = threadIdx.x; c < n; c += kWarp) most = A(x[c]) > most ? A(x[c]) : most;
    most = warp_max(most);
    for (int64_t c = threadIdx.x; c < n; c += kWarp) sum += math::exp(A(x[c]) - most);
    L = {most, math::log(warp_sum(sum))};
  }
  const Label label(target[row], n, sh.ignore_index);
  if (label.valid && sh.label_smoothing > 0) {
    for (int64_t c = threadIdx.x; c < n; c += kWarp) spread += (weight ? weight[c] : A(1)) * L.cost(A(x[c]));
    spread = warp_sum(spread);
  }
  if (threadIdx.x > 0) return;
  L.store(log_sum, row, sh.rows);
  terms[row] = row_loss(label, x, weight, L, spread, sh);
  terms[sh.rows + row] = row_weight(label, weight);
}

template <class T, class A = Accumulator<T>>
__global__ void cross_entropy_backward_kernel3(const A* dloss, const T* x, const int64_t* target, const A* weight,
                                               const A* log_sum, const A* totals, T* dx, CrossEntropyBackwardShape sh) {
  const int64_t row = int64_t(blockIdx.x) * kLossRows + threadIdx.y, n = sh.classes;
  if (row >= sh.rows) return;
  x += row * n, dx += row * n;
  const Label label(target[row], n, sh.ignore_index);
  A weight_sum = A(n);
  if (weight && sh.label_smoothing > 0) {
    weight_sum = 0;
    for (int64_t c = threadIdx.x; c < n; c += kWarp) weight_sum += weight[c];
    weight_sum = warp_sum(weight_sum);
  }
  const RowGradient<A> d(label, row, dloss, weight, totals, weight_sum, sh);
  const auto L = LogSum<A>::load(log_sum, row, sh.rows);
  for (int64_t c = threadIdx.x; c < n; c += kWarp) {
    A value = sh.normalized ? A(0) : math::exp(-L.cost(A(x[c]))) * d.all - (weight ? weight[c] : A(1)) * d.each;
    value = label.valid ? value - (c == label.value ? d.label : A(0)) : A(0);
    dx[c] = T(sh.accumulate ? A(dx[c]) + value : value);
  }
}

inline Geometry loss_geometry3(int64_t rows) { return {grid_size(ceil_div(rows, kLossRows)), dim3(kWarp, kLossRows)}; }

template <class T, class A = Accumulator<T>>
void cross_entropy_forward3(const Plan& plan, Array x, Array target, Array weight, Array terms, Array log_sum) {
  const auto& sh = plan.problem<CrossEntropyShape>();
  launch<cross_entropy_forward_kernel3<T>>(loss_geometry3(sh.rows), x.as<const T>(), target.as<const int64_t>(),
                                           weight.as<const A>(), terms.as<A>(), log_sum.as<A>(), sh);
}

template <class T, class A = Accumulator<T>>
void cross_entropy_backward3(const Plan& plan, Array dloss, Array x, Array target, Array weight, Array log_sum, Array totals,
                             Array dx) {
  const auto& sh = plan.problem<CrossEntropyBackwardShape>();
  launch<cross_entropy_backward_kernel3<T>>(loss_geometry3(sh.rows), dloss.as<const A>(), x.as<const T>(),
                                            target.as<const int64_t>(), weight.as<const A>(), log_sum.as<const A>(),
                                            totals.as<const A>(), dx.as<T>(), sh);
}

REGISTER_VERSION(CrossEntropyForward, warp, 3, "a warp per row, sums by shuffles", supports_all<CrossEntropyShape>,
                 cross_entropy_forward3<STORAGE>);
REGISTER_VERSION(CrossEntropyBackward, warp, 3, "a warp per row, sums by shuffles", supports_all<CrossEntropyBackwardShape>,
                 cross_entropy_backward3<STORAGE>);

}  // namespace pycnn
