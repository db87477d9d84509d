/*
Softmax cross entropy with class probabilities, forward and backward, version 2: soft_cross_entropy_1_plain with 16
running values a thread.

Math      L = log of the sum over c of exp(x[c])      m[c] = w[c] ((1 - s) t[c] + s / C)      loss = sum over c of m[c] (L - x[c])
          dx[c] = g (exp(x[c] - L) * (sum of m) - m[c])          dt[c] = g (1 - s) w[c] (L - x[c])
Memory    logits, target and their gradients: rows,classes   loss, mass (the sum of m): rows   log_sum: 2,rows
Threads   one row each; the 16 values are independent, so that a CPU computes them in vectors
Limit     on a GPU neighbouring threads still read elements a whole row apart
Next      soft_cross_entropy_3_warp.cuh gives a row to a warp
Storage   float half bfloat16 double
*/
#include "row_lanes.h"
#include "soft_cross_entropy.h"

namespace pycnn {

template <class T, class A = Accumulator<T>>
__global__ void soft_forward_kernel2(const T* x, const T* t, const A* weight, A* loss, A* log_sum, A* mass,
                                     SoftCrossEntropyShape sh) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n = sh.classes;
  if (row >= sh.rows) return;
  const A s = A(sh.label_smoothing);
  x += row * n, t += row * n;
  const LogSum<A> L = row_log_sum(x, n);
  A total[kRowValues], labels[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) total[j] = labels[j] = 0;
  with_weights(weight, [&](auto weighted) {
    for_row(n, [&](RowLane lane) {
      const A m = soft_label(lane.load(t, A(0)), lane_weight<weighted>(lane, weight), s, n);
      total[lane.j] += m * L.cost(lane.load(x, L.most));
      labels[lane.j] += m;
    });
  });
  loss[row] = lane_sum(total), mass[row] = lane_sum(labels);
  L.store(log_sum, row, sh.rows);
}

template <class T, class A = Accumulator<T>>
__global__ void soft_backward_kernel2(const A* dloss, const T* x, const T* t, const A* weight, const A* log_sum, const A* mass,
                                      T* dx, T* dt, SoftCrossEntropyBackwardShape sh) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n = sh.classes;
  if (row >= sh.rows) return;
  const A s = A(sh.label_smoothing);
  x += row * n, t += row * n;
  const A g = dloss[sh.rowwise ? row : 0] / A(sh.divisor), all = mass[row];
  const auto L = LogSum<A>::load(log_sum, row, sh.rows);
  with_weights(weight, [=](auto weighted) {
    auto by_logit = [=](RowLane lane) {
      const A m = soft_label(lane.load(t, A(0)), lane_weight<weighted>(lane, weight), s, n);
      return g * (math::exp(-L.cost(lane.load(x, A(0)))) * all - m);
    };
    auto by_target = [=](RowLane lane) {
      return g * (A(1) - s) * lane_weight<weighted>(lane, weight) * L.cost(lane.load(x, A(0)));
    };
    auto write = [=](T* d, bool accumulate, auto gradient) {
      if (accumulate) for_row(n, [=](RowLane lane) { lane.store(d, lane.load(d, A(0)) + gradient(lane)); });
      else for_row(n, [=](RowLane lane) { lane.store(d, gradient(lane)); });
    };
    if (dx) write(dx + row * n, sh.accumulate != 0, by_logit);
    if (dt) write(dt + row * n, sh.accumulate_target != 0, by_target);
  });
}

template <class T, class A = Accumulator<T>>
void soft_cross_entropy_forward2(const Plan& plan, Array x, Array t, Array weight, Array loss, Array log_sum, Array mass) {
  const auto& sh = plan.problem<SoftCrossEntropyShape>();
  const unsigned block = rows_per_block(sh.classes);
  launch<soft_forward_kernel2<T>>({grid_size(ceil_div(sh.rows, block)), block}, x.as<const T>(), t.as<const T>(),
                                  weight.as<const A>(), loss.as<A>(), log_sum.as<A>(), mass.as<A>(), sh);
}

template <class T, class A = Accumulator<T>>
void soft_cross_entropy_backward2(const Plan& plan, Array dloss, Array x, Array t, Array weight, Array log_sum, Array mass,
                                  Array dx, Array dt) {
  const auto& sh = plan.problem<SoftCrossEntropyBackwardShape>();
  const unsigned block = rows_per_block(sh.classes);
  launch<soft_backward_kernel2<T>>({grid_size(ceil_div(sh.rows, block)), block}, dloss.as<const A>(), x.as<const T>(),
                                   t.as<const T>(), weight.as<const A>(), log_sum.as<const A>(), mass.as<const A>(), dx.as<T>(),
                                   dt.as<T>(), sh);
}

REGISTER_VERSION(SoftCrossEntropyForward, lanes, 2, "one thread per row, 16 running values", supports_all<SoftCrossEntropyShape>,
                 soft_cross_entropy_forward2<STORAGE>);
REGISTER_VERSION(SoftCrossEntropyBackward, lanes, 2, "one thread per row, 16 running values",
                 supports_all<SoftCrossEntropyBackwardShape>, soft_cross_entropy_backward2<STORAGE>);

}  // namespace pycnn
