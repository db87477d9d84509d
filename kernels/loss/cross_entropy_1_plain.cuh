/*
Softmax cross entropy with class indices, forward and backward, version 1: one thread per row.

Math      L = log of the sum over c of exp(x[c])      loss = (1 - s) w[t] (L - x[t]) + s / C * sum over c of w[c] (L - x[c])
          dx[c] = g ((1 - s) w[t] (P[c] - [c = t]) + s / C * (P[c] * (sum of w) - w[c])), P[c] = exp(x[c] - L)
          L = 0 and P[c] = 0 where x is normalized already
Memory    logits, dlogits: rows,classes   terms: 2,rows (losses, weights)   log_sum: 2,rows
Threads   one row each, one class after the other
Limit     neighbouring threads read elements a whole row apart
Next      cross_entropy_2_lanes.cuh keeps 16 sums of a row at once
Storage   float half bfloat16 double
*/
#include "cross_entropy.h"

namespace pycnn {

template <class T, class A = Accumulator<T>>
__global__ void cross_entropy_forward_kernel1(const T* x, const int64_t* target, const A* weight, A* terms, A* log_sum,
                                              CrossEntropyShape sh) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  x += row * sh.classes;
  LogSum<A> L{0, 0};
  A spread = 0;
  if (!sh.normalized) {
    A most = A(-INFINITY), sum = 0;
    for (int64_t c = 0; c < sh.classes; c++) most = A(x[c]) > most ? A(x[c]) : most;
    for (int64_t c = 0; c < sh.classes; c++) sum += math::exp(A(x[c]) - most);
    L = {most, math::log(sum)};
    for (int64_t c = 0; c < sh.classes; c++) spread += (weight ? weight[c] : A(1)) * L.cost(A(x[c]));
  }
  const Label label(target[row], sh.classes, sh.ignore_index);
  L.store(log_sum, row, sh.rows);
  terms[row] = row_loss(label, x, weight, L, spread, sh);
  terms[sh.rows + row] = row_weight(label, weight);
}

template <class T, class A = Accumulator<T>>
__global__ void cross_entropy_backward_kernel1(const A* dloss, const T* x, const int64_t* target, const A* weight,
                                               const A* log_sum, const A* totals, T* dx, CrossEntropyBackwardShape sh) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  x += row * sh.classes, dx += row * sh.classes;
  const Label label(target[row], sh.classes, sh.ignore_index);
  A weight_sum = 0;
  for (int64_t c = 0; c < sh.classes; c++) weight_sum += weight ? weight[c] : A(1);
  const RowGradient<A> d(label, row, dloss, weight, totals, weight_sum, sh);
  const auto L = LogSum<A>::load(log_sum, row, sh.rows);
  for (int64_t c = 0; c < sh.classes; c++) {
    A value = sh.normalized ? A(0) : math::exp(-L.cost(A(x[c]))) * d.all - (weight ? weight[c] : A(1)) * d.each;
    if (c == label.value) value -= d.label;
    if (!label.valid) value = 0;
    dx[c] = T(sh.accumulate ? A(dx[c]) + value : value);
  }
}

template <class T, class A = Accumulator<T>>
void cross_entropy_forward1(const Plan& plan, Array x, Array target, Array weight, Array terms, Array log_sum) {
  const auto& sh = plan.problem<CrossEntropyShape>();
  launch<cross_entropy_forward_kernel1<T>>({grid_size(ceil_div(sh.rows, 64)), 64}, x.as<const T>(), target.as<const int64_t>(),
                                           weight.as<const A>(), terms.as<A>(), log_sum.as<A>(), sh);
}

template <class T, class A = Accumulator<T>>
void cross_entropy_backward1(const Plan& plan, Array dloss, Array x, Array target, Array weight, Array log_sum, Array totals,
                             Array dx) {
  const auto& sh = plan.problem<CrossEntropyBackwardShape>();
  launch<cross_entropy_backward_kernel1<T>>({grid_size(ceil_div(sh.rows, 64)), 64}, dloss.as<const A>(), x.as<const T>(),
                                            target.as<const int64_t>(), weight.as<const A>(), log_sum.as<const A>(),
                                            totals.as<const A>(), dx.as<T>(), sh);
}

REGISTER_VERSION(CrossEntropyForward, plain, 1, "one thread per row", supports_all<CrossEntropyShape>,
                 cross_entropy_forward1<STORAGE>);
REGISTER_VERSION(CrossEntropyBackward, plain, 1, "one thread per row", supports_all<CrossEntropyBackwardShape>,
                 cross_entropy_backward1<STORAGE>);

}  // namespace pycnn
