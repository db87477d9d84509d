/*
local_response_norm forward and backward, version 1: one thread per element.

Math      y[c] = x[c] s[c]^-beta,  s[c] = k + alpha * sum of x[i]^2 over c - size/2 <= i <= c + (size-1)/2
          dx[c] = dy[c] s[c]^-beta - 2 alpha beta x[c] * sum of dy[i] x[i] s[i]^(-beta-1) over c - (size-1)/2 <= i <= c + size/2
Memory    x, y, dy, dx: rows,C (c contiguous)
Threads   one element each, c fastest
Limit     each square is computed size times, and backward each s, by another size squares
Next      local_response_norm_2_row.cuh computes them once a row
Storage   float half bfloat16 double
*/
#include "local_response_norm.h"

namespace pycnn {

// s of channel c of one row.
template <class A, class T>
__device__ __forceinline__ A response_scale(const T* row, int64_t c, const LocalResponseNormShape& sh) {
  const int64_t first = c - sh.size / 2, last = c + (sh.size - 1) / 2;
  A sum = 0;
  for (int64_t i = first > 0 ? first : 0; i <= last && i < sh.C; i++) sum += A(row[i]) * A(row[i]);
  return A(sh.k) + A(sh.alpha) * sum;
}

template <class T>
__global__ void local_response_norm_forward_kernel1(const T* x, T* y, LocalResponseNormShape sh, int64_t x_pitch,
                                                    int64_t y_pitch) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.rows * sh.C) return;
  const int64_t row = i / sh.C, c = i % sh.C;
  x += row * x_pitch;
  y[row * y_pitch + c] = T(A(x[c]) * inverse_power<false>(response_scale<A>(x, c, sh), sh.beta));
}

template <class T>
__global__ void local_response_norm_backward_kernel1(const T* dy, const T* x, T* dx, LocalResponseNormShape sh, int64_t dy_pitch,
                                                     int64_t x_pitch, int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.rows * sh.C) return;
  const int64_t row = i / sh.C, c = i % sh.C, first = c - (sh.size - 1) / 2, last = c + sh.size / 2;
  x += row * x_pitch, dy += row * dy_pitch;

  A sum = 0;
  for (int64_t j = first > 0 ? first : 0; j <= last && j < sh.C; j++) {
    const A s = response_scale<A>(x, j, sh);
    sum += A(dy[j]) * A(x[j]) * inverse_power<false>(s, sh.beta) / s;
  }
  const A direct = A(dy[c]) * inverse_power<false>(response_scale<A>(x, c, sh), sh.beta);
  const A gradient = direct - A(2 * sh.alpha * sh.beta) * A(x[c]) * sum;
  T* target = dx + row * dx_pitch + c;
  *target = T(sh.accumulate ? A(*target) + gradient : gradient);
}

template <class T>
void local_response_norm_forward1(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<LocalResponseNormShape>();
  launch<local_response_norm_forward_kernel1<T>>({grid_size(ceil_div(sh.rows * sh.C, 256)), 256}, x.as<const T>(), y.as<T>(), sh,
                                                 x.pitch, y.pitch);
}

template <class T>
void local_response_norm_backward1(const Plan& plan, Array dy, Array x, Array dx) {
  const auto& sh = plan.problem<LocalResponseNormShape>();
  launch<local_response_norm_backward_kernel1<T>>({grid_size(ceil_div(sh.rows * sh.C, 256)), 256}, dy.as<const T>(),
                                                  x.as<const T>(), dx.as<T>(), sh, dy.pitch, x.pitch, dx.pitch);
}

REGISTER_VERSION(LocalResponseNormForward, plain, 1, "one thread per element", supports_all<LocalResponseNormShape>,
                 local_response_norm_forward1<STORAGE>);
REGISTER_VERSION(LocalResponseNormBackward, plain, 1, "one thread per element", supports_all<LocalResponseNormShape>,
                 local_response_norm_backward1<STORAGE>);

}  // namespace pycnn
