/*
Softmax and log-softmax over the last axis, forward and backward, version 2: softmax_1_plain with 16 running values a thread.

Math      y[c] = exp(x[c] - m) / sum over c of exp(x[c] - m), m = max over c of x[c], which keeps exp from overflowing
          dx[c] = y[c] * (dy[c] - sum of dy y)         log: y[c] = x[c] - m - log(sum), dx[c] = dy[c] - exp(y[c]) * sum of dy
Memory    x, y, dy, dx: rows,classes
Threads   one row each; the 16 values are independent, so that a CPU computes them in vectors
Limit     on a GPU neighbouring threads still read elements a whole row apart
Next      softmax_3_warp.cuh gives a row to a warp
Storage   float half bfloat16 double
*/
#include "row.h"
#include "softmax.h"

namespace pycnn {

template <class T, bool log>
__global__ void softmax_forward_kernel2(const T* x, T* y, SoftmaxShape sh) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n = sh.classes;
  if (row >= sh.rows) return;
  x += row * n, y += row * n;
  const A most = row_max<A>(x, n);
  if constexpr (!log && std::is_same_v<T, A>) {  // y holds the exponentials in between; another type would round them
    A sum[kRowValues];
    LANES for (int j = 0; j < kRowValues; j++) sum[j] = 0;
    for_row(n, [&](RowLane lane) {
      const A value = math::exp(lane.load(x, A(-INFINITY)) - most);
      sum[lane.j] += value;
      lane.store(y, value);
    });
    const A scale = A(1) / lane_sum(sum);
    for_row(n, [=](RowLane lane) { lane.store(y, lane.load(y, A(0)) * scale); });
  } else {
    const A sum = row_sum_exp(x, n, most), log_sum = math::log(sum), scale = A(1) / sum;
    for_row(n, [=](RowLane lane) {
      const A centered = lane.load(x, A(0)) - most;
      lane.store(y, log ? centered - log_sum : math::exp(centered) * scale);
    });
  }
}

template <class T, bool log>
__global__ void softmax_backward_kernel2(const T* dy, const T* y, T* dx, SoftmaxShape sh) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, n = sh.classes;
  if (row >= sh.rows) return;
  dy += row * n, y += row * n, dx += row * n;
  A sums[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) sums[j] = 0;
  for_row(n, [&](RowLane lane) { sums[lane.j] += lane.load(dy, A(0)) * (log ? A(1) : lane.load(y, A(0))); });
  const A sum = lane_sum(sums);
  auto gradient = [=](RowLane lane) {
    const A u = lane.load(dy, A(0)), v = lane.load(y, A(0));
    return log ? u - math::exp(v) * sum : v * (u - sum);
  };
  if (sh.accumulate) for_row(n, [=](RowLane lane) { lane.store(dx, lane.load(dx, A(0)) + gradient(lane)); });
  else for_row(n, [=](RowLane lane) { lane.store(dx, gradient(lane)); });
}

template <class T>
void softmax_forward2(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<SoftmaxShape>();
  const unsigned block = rows_per_block(sh.classes);
  const Geometry g{grid_size(ceil_div(sh.rows, block)), block};
  if (sh.log) launch<softmax_forward_kernel2<T, true>>(g, x.as<const T>(), y.as<T>(), sh);
  else launch<softmax_forward_kernel2<T, false>>(g, x.as<const T>(), y.as<T>(), sh);
}

template <class T>
void softmax_backward2(const Plan& plan, Array dy, Array y, Array dx) {
  const auto& sh = plan.problem<SoftmaxShape>();
  const unsigned block = rows_per_block(sh.classes);
  const Geometry g{grid_size(ceil_div(sh.rows, block)), block};
  if (sh.log) launch<softmax_backward_kernel2<T, true>>(g, dy.as<const T>(), y.as<const T>(), dx.as<T>(), sh);
  else launch<softmax_backward_kernel2<T, false>>(g, dy.as<const T>(), y.as<const T>(), dx.as<T>(), sh);
}

REGISTER_VERSION(SoftmaxForward, lanes, 2, "one thread per row, 16 running values", supports_all<SoftmaxShape>,
                 softmax_forward2<STORAGE>);
REGISTER_VERSION(SoftmaxBackward, lanes, 2, "one thread per row, 16 running values", supports_all<SoftmaxShape>,
                 softmax_backward2<STORAGE>);

}  // namespace pycnn
