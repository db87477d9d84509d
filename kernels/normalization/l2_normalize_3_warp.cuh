/*
l2_normalize forward and backward, version 3: l2_normalize_2_lanes with a warp per row.

Math      y[c] = x[c] / d,  d = max(norm, eps),  norm = sqrt(sum of x[c]^2)
          dx[c] = (dy[c] - u[c] * sum of dy u) / d,  u = x / d;  without the sum where norm < eps
Memory    x, y, dy, dx: rows,C (c contiguous)   norm: rows
          a warp reads 32 neighbors, each element twice, the second time from the cache
Threads   a warp per row, 4 warps a block; sums go through the warp by shuffles
Limit     rows of fewer than 32 channels leave lanes idle
Next      -
Storage   float half bfloat16 double
*/
#include "../common/reduce.h"
#include "l2_normalize.h"

namespace pycnn {

inline constexpr int kNormRows = 4;  // rows, that is warps, of a block

template <class T>
__global__ void l2_normalize_forward_kernel3(const T* x, T* y, Accumulator<T>* norm, L2NormalizeShape sh, int64_t x_pitch,
                                             int64_t y_pitch) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * kNormRows + threadIdx.y;
  if (row >= sh.rows) return;
  x += row * x_pitch, y += row * y_pitch;
  A sum = 0;
  for (int64_t c = threadIdx.x; c < sh.C; c += kWarp) sum += A(x[c]) * A(x[c]);
  const A length = math::sqrt(warp_sum(sum)), divisor = divisor_of(length, sh.eps);
  if (threadIdx.x == 0) norm[row] = length;
  for (int64_t c = threadIdx.x; c < sh.C; c += kWarp) y[c] = T(A(x[c]) / divisor);
}

template <class T>
__global__ void l2_normalize_backward_kernel3(const T* dy, const T* x, const Accumulator<T>* norm, T* dx, L2NormalizeShape sh,
                                              int64_t dy_pitch, int64_t x_pitch, int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * kNormRows + threadIdx.y;
  if (row >= sh.rows) return;
  dy += row * dy_pitch, x += row * x_pitch, dx += row * dx_pitch;
  const A divisor = divisor_of(norm[row], sh.eps);
  A sum = 0;
  for (int64_t c = threadIdx.x; c < sh.C; c += kWarp) sum += A(dy[c]) * (A(x[c]) / divisor);
  sum = warp_sum(sum);
  if (norm[row] < A(sh.eps)) sum = 0;
  for (int64_t c = threadIdx.x; c < sh.C; c += kWarp) {
    const A gradient = (A(dy[c]) - A(x[c]) / divisor * sum) / divisor;
    dx[c] = T(sh.accumulate ? A(dx[c]) + gradient : gradient);
  }
}

template <class T>
void l2_normalize_forward3(const Plan& plan, Array x, Array y, Array norm) {
  const auto& sh = plan.problem<L2NormalizeShape>();
  launch<l2_normalize_forward_kernel3<T>>({grid_size(ceil_div(sh.rows, kNormRows)), dim3(kWarp, kNormRows)}, x.as<const T>(),
                                          y.as<T>(), norm.as<Accumulator<T>>(), sh, x.pitch, y.pitch);
}

template <class T>
void l2_normalize_backward3(const Plan& plan, Array dy, Array x, Array norm, Array dx) {
  const auto& sh = plan.problem<L2NormalizeShape>();
  launch<l2_normalize_backward_kernel3<T>>({grid_size(ceil_div(sh.rows, kNormRows)), dim3(kWarp, kNormRows)}, dy.as<const T>(),
                                           x.as<const T>(), norm.as<const Accumulator<T>>(), dx.as<T>(), sh, dy.pitch, x.pitch,
                                           dx.pitch);
}

REGISTER_VERSION(L2NormalizeForward, warp, 3, "a warp per row, sums by shuffles", supports_all<L2NormalizeShape>,
                 l2_normalize_forward3<STORAGE>);
REGISTER_VERSION(L2NormalizeBackward, warp, 3, "a warp per row, sums by shuffles", supports_all<L2NormalizeShape>,
                 l2_normalize_backward3<STORAGE>);

}  // namespace pycnn
