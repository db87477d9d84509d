/*
l2_normalize forward and backward, version 1: one thread per row.

Math      y[c] = x[c] / d,  d = max(norm, eps),  norm = sqrt(sum of x[c]^2)
          dx[c] = (dy[c] - u[c] * sum of dy u) / d,  u = x / d;  without the sum where norm < eps
Memory    x, y, dy, dx: rows,C (c contiguous)   norm: rows
Threads   one row each
Limit     neighboring threads read elements a whole row apart, one at a time
Next      l2_normalize_2_lanes.cuh adds several elements at once
Storage   float half bfloat16 double
*/
#include "l2_normalize.h"

namespace pycnn {

template <class T>
__global__ void l2_normalize_forward_kernel1(const T* x, T* y, Accumulator<T>* norm, L2NormalizeShape sh, int64_t x_pitch,
                                             int64_t y_pitch) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  x += row * x_pitch, y += row * y_pitch;
  A sum = 0;
  for (int64_t c = 0; c < sh.C; c++) sum += A(x[c]) * A(x[c]);
  norm[row] = math::sqrt(sum);
  const A divisor = divisor_of(math::sqrt(sum), sh.eps);
  for (int64_t c = 0; c < sh.C; c++) y[c] = T(A(x[c]) / divisor);
}

template <class T>
__global__ void l2_normalize_backward_kernel1(const T* dy, const T* x, const Accumulator<T>* norm, T* dx, L2NormalizeShape sh,
                                              int64_t dy_pitch, int64_t x_pitch, int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  dy += row * dy_pitch, x += row * x_pitch, dx += row * dx_pitch;
  const A divisor = divisor_of(norm[row], sh.eps);
  A sum = 0;
  for (int64_t c = 0; c < sh.C; c++) sum += A(dy[c]) * (A(x[c]) / divisor);
  if (norm[row] < A(sh.eps)) sum = 0;
  for (int64_t c = 0; c < sh.C; c++) {
    const A gradient = (A(dy[c]) - A(x[c]) / divisor * sum) / divisor;
    dx[c] = T(sh.accumulate ? A(dx[c]) + gradient : gradient);
  }
}

template <class T>
void l2_normalize_forward1(const Plan& plan, Array x, Array y, Array norm) {
  const auto& sh = plan.problem<L2NormalizeShape>();
  launch<l2_normalize_forward_kernel1<T>>({grid_size(ceil_div(sh.rows, 128)), 128}, x.as<const T>(), y.as<T>(),
                                          norm.as<Accumulator<T>>(), sh, x.pitch, y.pitch);
}

template <class T>
void l2_normalize_backward1(const Plan& plan, Array dy, Array x, Array norm, Array dx) {
  const auto& sh = plan.problem<L2NormalizeShape>();
  launch<l2_normalize_backward_kernel1<T>>({grid_size(ceil_div(sh.rows, 128)), 128}, dy.as<const T>(), x.as<const T>(),
                                           norm.as<const Accumulator<T>>(), dx.as<T>(), sh, dy.pitch, x.pitch, dx.pitch);
}

REGISTER_VERSION(L2NormalizeForward, plain, 1, "one thread per row", supports_all<L2NormalizeShape>,
                 l2_normalize_forward1<STORAGE>);
REGISTER_VERSION(L2NormalizeBackward, plain, 1, "one thread per row", supports_all<L2NormalizeShape>,
                 l2_normalize_backward1<STORAGE>);

}  // namespace pycnn
