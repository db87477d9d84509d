/*
Softmax and log-softmax over the last axis, forward and backward, version 3: softmax_2_lanes with a warp per row.

Math      y[c] = exp(x[c] - m) / sum over c of exp(x[c] - m), m = max over c of x[c], which keeps exp from overflowing
          dx[c] = y[c] * (dy[c] - sum of dy y)         log: y[c] = x[c] - m - log(sum), dx[c] = dy[c] - exp(y[c]) * sum of dy
Memory    x, y, dy, dx: rows,classes; a warp reads 32 neighbours, three times forward, of which the cache serves two
Threads   a warp per row, 4 warps a block; maximum and sums go through the warp by shuffles
Limit     rows of fewer than 32 classes leave lanes idle; rows longer than the cache are read from memory three times
Next      -
Storage   float half bfloat16 double
*/
#include "../common/functions.h"
#include "../common/reduce.h"
#include "softmax.h"

namespace pycnn {

inline constexpr int kSoftmaxRows = 4;  // rows, that is warps, of a block

template <class T>
__global__ void softmax_forward_kernel3(const T* x, T* y, SoftmaxShape sh) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * kSoftmaxRows + threadIdx.y;
  if (row >= sh.rows) return;
  x += row * sh.classes, y += row * sh.classes;
  A most = A(-INFINITY), sum = 0;
  for (int64_t c = threadIdx.x; c < sh.classes; c += kWarp) most = A(x[c]) > most ? A(x[c]) : most;
  most = warp_max(most);
  for (int64_t c = threadIdx.x; c < sh.classes; c += kWarp) sum += math::exp(A(x[c]) - most);
  sum = warp_sum(sum);
  const A log_sum = math::log(sum), scale = A(1) / sum;
  for (int64_t c = threadIdx.x; c < sh.classes; c += kWarp) {
    const A centered = A(x[c]) - most;
    y[c] = T(sh.log ? centered - log_sum : math::exp(centered) * scale);
  }
}

template <class T>
__global__ void softmax_backward_kernel3(const T* dy, const T* y, T* dx, SoftmaxShape sh) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * kSoftmaxRows + threadIdx.y;
  if (row >= sh.rows) return;
  dy += row * sh.classes, y += row * sh.classes, dx += row * sh.classes;
  A sum = 0;
  for (int64_t c = threadIdx.x; c < sh.classes; c += kWarp) sum += sh.log ? A(dy[c]) : A(dy[c]) * A(y[c]);
  sum = warp_sum(sum);
  for (int64_t c = threadIdx.x; c < sh.classes; c += kWarp) {
    const A value = sh.log ? A(dy[c]) - math::exp(A(y[c])) * sum : A(y[c]) * (A(dy[c]) - sum);
    dx[c] = T(sh.accumulate ? A(dx[c]) + value : value);
  }
}

inline Geometry softmax_geometry3(int64_t rows) { return {grid_size(ceil_div(rows, kSoftmaxRows)), dim3(kWarp, kSoftmaxRows)}; }

template <class T>
void softmax_forward3(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<SoftmaxShape>();
  launch<softmax_forward_kernel3<T>>(softmax_geometry3(sh.rows), x.as<const T>(), y.as<T>(), sh);
}

template <class T>
void softmax_backward3(const Plan& plan, Array dy, Array y, Array dx) {
  const auto& sh = plan.problem<SoftmaxShape>();
  launch<softmax_backward_kernel3<T>>(softmax_geometry3(sh.rows), dy.as<const T>(), y.as<const T>(), dx.as<T>(), sh);
}

REGISTER_VERSION(SoftmaxForward, warp, 3, "a warp per row, sums by shuffles", supports_all<SoftmaxShape>,
                 softmax_forward3<STORAGE>);
REGISTER_VERSION(SoftmaxBackward, warp, 3, "a warp per row, sums by shuffles", supports_all<SoftmaxShape>,
                 softmax_backward3<STORAGE>);

}  // namespace pycnn
