/*
Softmax and log-softmax over the last axis, forward and backward, version 1: one thread per row.

Math      y[c] = exp(x[c] - m) / sum over c of exp(x[c] - m), m = max over c of x[c], which keeps exp from overflowing
          dx[c] = y[c] * (dy[c] - sum of dy y)         log: y[c] = x[c] - m - log(sum), dx[c] = dy[c] - exp(y[c]) * sum of dy
Memory    x, y, dy, dx: rows,classes
Threads   one row each, one class after the other
Limit     neighbouring threads read elements a whole row apart
Next      softmax_2_lanes.cuh keeps 16 sums of a row at once
Storage   float half bfloat16 double
*/
#include "../common/functions.h"
#include "softmax.h"

namespace pycnn {

template <class T>
__global__ void softmax_forward_kernel1(const T* x, T* y, SoftmaxShape sh) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  x += row * sh.classes, y += row * sh.classes;
  A most = A(-INFINITY), sum = 0;
  for (int64_t c = 0; c < sh.classes; c++) most = A(x[c]) > most ? A(x[c]) : most;
  for (int64_t c = 0; c < sh.classes; c++) sum += math::exp(A(x[c]) - most);
  const A log_sum = math::log(sum);
  for (int64_t c = 0; c < sh.classes; c++) {
    const A centered = A(x[c]) - most;
    y[c] = T(sh.log ? centered - log_sum : math::exp(centered) / sum);
  }
}

template <class T>
__global__ void softmax_backward_kernel1(const T* dy, const T* y, T* dx, SoftmaxShape sh) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  dy += row * sh.classes, y += row * sh.classes, dx += row * sh.classes;
  A sum = 0;
  for (int64_t c = 0; c < sh.classes; c++) sum += sh.log ? A(dy[c]) : A(dy[c]) * A(y[c]);
  for (int64_t c = 0; c < sh.classes; c++) {
    const A value = sh.log ? A(dy[c]) - math::exp(A(y[c])) * sum : A(y[c]) * (A(dy[c]) - sum);
    dx[c] = T(sh.accumulate ? A(dx[c]) + value : value);
  }
}

template <class T>
void softmax_forward1(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<SoftmaxShape>();
  launch<softmax_forward_kernel1<T>>({grid_size(ceil_div(sh.rows, 64)), 64}, x.as<const T>(), y.as<T>(), sh);
}

template <class T>
void softmax_backward1(const Plan& plan, Array dy, Array y, Array dx) {
  const auto& sh = plan.problem<SoftmaxShape>();
  launch<softmax_backward_kernel1<T>>({grid_size(ceil_div(sh.rows, 64)), 64}, dy.as<const T>(), y.as<const T>(), dx.as<T>(), sh);
}

REGISTER_VERSION(SoftmaxForward, plain, 1, "one thread per row", supports_all<SoftmaxShape>, softmax_forward1<STORAGE>);
REGISTER_VERSION(SoftmaxBackward, plain, 1, "one thread per row", supports_all<SoftmaxShape>, softmax_backward1<STORAGE>);

}  // namespace pycnn
