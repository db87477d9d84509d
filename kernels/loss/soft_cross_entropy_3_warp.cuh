/*
Softmax cross entropy with class probabilities, forward and backward, version 3: soft_cross_entropy_2_lanes with a
warp per row.

Math      L = log of the sum over c of exp(x[c])      m[c] = w[c] ((1 - s) t[c] + s / C)      loss = sum over c of m[c] (L - x[c])
          dx[c] = g (exp(x[c] - L) * (sum of m) - m[c])          dt[c] = g (1 - s) w[c] (L - x[c])
Memory    logits, target and their gradients: rows,classes   loss, mass (the sum of m): rows   log_sum: 2,rows
Threads   a warp per row, 4 warps a block; maximum and sums go through the warp by shuffles
Limit     rows of fewer than 32 classes leave lanes idle
Next      -
Storage   float half bfloat16 double
*/
#include "../common/reduce.h"
#include "soft_cross_entropy.h"

namespace pycnn {

inline constexpr int kSoftRows = 4;  // rows, that is warps, of a block

template <class T, class A = Accumulator<T>>
__global__ void soft_forward_kernel3(const T* x, const T* t, const A* weight, A* loss, A* log_sum, A* mass,
                                     SoftCrossEntropyShape sh) {
  const int64_t row = int64_t(blockIdx.x) * kSoftRows + threadIdx.y, n = sh.classes;
  if (row >= sh.rows) return;
  const A s = A(sh.label_smoothing);
  x += row * n, t += row * n;
  A most = A(-INFINITY), sum = 0, total = 0, labels = 0;
  for (int64_t c = threadIdx.x; c < n; c += kWarp) most = A(x[c]) > most ? A(x[c]) : most;
  most = warp_max(most);
  for (int64_t c = threadIdx.x; c < n; c += kWarp) sum += math::exp(A(x[c]) - most);
  const LogSum<A> L{most, math::log(warp_sum(sum))};
  for (int64_t c = threadIdx.x; c < n; c += kWarp) {
    const A m = soft_label(A(t[c]), weight ? weight[c] : A(1), s, n);
    total += m * L.cost(A(x[c]));
    labels += m;
  }
  total = warp_sum(total), labels = warp_sum(labels);
  if (threadIdx.x > 0) return;
  loss[row] = total, mass[row] = labels;
  L.store(log_sum, row, sh.rows);
}

template <class T, class A = Accumulator<T>>
__global__ void soft_backward_kernel3(const A* dloss, const T* x, const T* t, const A* weight, const A* log_sum, const A* mass,
                                      T* dx, T* dt, SoftCrossEntropyBackwardShape sh) {
  const int64_t row = int64_t(blockIdx.x) * kSoftRows + threadIdx.y, n = sh.classes;
  if (row >= sh.rows) return;
  const A s = A(sh.label_smoothing);
  x += row * n, t += row * n;
  const A g = dloss[sh.rowwise ? row : 0] / A(sh.divisor), all = mass[row];
  const auto L = LogSum<A>::load(log_sum, row, sh.rows);
  for (int64_t c = threadIdx.x; c < n; c += kWarp) {
    const A w = weight ? weight[c] : A(1), cost = L.cost(A(x[c]));
    if (dx) {
      const A value = g * (math::exp(-cost) * all - soft_label(A(t[c]), w, s, n));
      T& target = dx[row * n + c];
      target = T(sh.accumulate ? A(target) + value : value);
    }
    if (dt) {
      const A value = g * (A(1) - s) * w * cost;
      T& target = dt[row * n + c];
      target = T(sh.accumulate_target ? A(target) + value : value);
    }
  }
}

template <class T, class A = Accumulator<T>>
void soft_cross_entropy_forward3(const Plan& plan, Array x, Array t, Array weight, Array loss, Array log_sum, Array mass) {
  const auto& sh = plan.problem<SoftCrossEntropyShape>();
  launch<soft_forward_kernel3<T>>({grid_size(ceil_div(sh.rows, kSoftRows)), dim3(kWarp, kSoftRows)}, x.as<const T>(),
                                  t.as<const T>(), weight.as<const A>(), loss.as<A>(), log_sum.as<A>(), mass.as<A>(), sh);
}

template <class T, class A = Accumulator<T>>
void soft_cross_entropy_backward3(const Plan& plan, Array dloss, Array x, Array t, Array weight, Array log_sum, Array mass,
                                  Array dx, Array dt) {
  const auto& sh = plan.problem<SoftCrossEntropyBackwardShape>();
  launch<soft_backward_kernel3<T>>({grid_size(ceil_div(sh.rows, kSoftRows)), dim3(kWarp, kSoftRows)}, dloss.as<const A>(),
                                   x.as<const T>(), t.as<const T>(), weight.as<const A>(), log_sum.as<const A>(),
                                   mass.as<const A>(), dx.as<T>(), dt.as<T>(), sh);
}

REGISTER_VERSION(SoftCrossEntropyForward, warp, 3, "a warp per row, sums by shuffles", supports_all<SoftCrossEntropyShape>,
                 soft_cross_entropy_forward3<STORAGE>);
REGISTER_VERSION(SoftCrossEntropyBackward, warp, 3, "a warp per row, sums by shuffles",
                 supports_all<SoftCrossEntropyBackwardShape>, soft_cross_entropy_backward3<STORAGE>);

}  // namespace pycnn
