/*
l2_normalize forward and backward, version 2: l2_normalize_1_plain with a CPU's vectors, two sums of them side by side.

Math      y[c] = x[c] / d,  d = max(norm, eps),  norm = sqrt(sum of x[c]^2)
          dx[c] = (dy[c] - u[c] * sum of dy u) / d,  u = x / d;  without the sum where norm < eps
Memory    x, y, dy, dx: rows,C (c contiguous)   norm: rows
Threads   one row each; a vector of running sums, whose lanes are added in order at the end
Limit     on a GPU neighboring threads still read elements a whole row apart
Next      l2_normalize_3_warp.cuh gives a row to a warp
Storage   float half bfloat16 double
*/
#include "../common/wide.h"
#include "l2_normalize.h"

namespace pycnn {

template <class T>
inline constexpr int kNormLanes = PYCNN_CUDA ? 1 : kWideLanes<T, kLanes<T>>;
inline constexpr unsigned kNormBlock = PYCNN_CUDA ? 128 : 16;

// The sum of u[c] * v[c] over a row.
template <class T, class A = Accumulator<T>>
__device__ __forceinline__ A row_dot(const T* u, const T* v, int64_t C) {
  constexpr int V = kNormLanes<T>;
  auto even = wide<V>(A(0)), odd = wide<V>(A(0));
  int64_t c = 0;
  for (; c + 2 * V <= C; c += 2 * V) {
    even = even + load_wide<A, V>(u + c) * load_wide<A, V>(v + c);
    odd = odd + load_wide<A, V>(u + c + V) * load_wide<A, V>(v + c + V);
  }
  const auto sums = even + odd;
  A sum = 0;
  for (int i = 0; i < V; i++) sum += sums[i];
  for (; c < C; c++) sum += A(u[c]) * A(v[c]);
  return sum;
}

template <class T>
__global__ void l2_normalize_forward_kernel2(const T* x, T* y, Accumulator<T>* norm, L2NormalizeShape sh, int64_t x_pitch,
                                             int64_t y_pitch) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  x += row * x_pitch, y += row * y_pitch;
  norm[row] = math::sqrt(row_dot(x, x, sh.C));
  const A divisor = divisor_of(norm[row], sh.eps);
  for_lanes<kNormLanes<T>>(0, int(sh.C), [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    store_wide<A, V>(load_wide<A, V>(x + c) / divisor, y + c);
  });
}

template <class T>
__global__ void l2_normalize_backward_kernel2(const T* dy, const T* x, const Accumulator<T>* norm, T* dx, L2NormalizeShape sh,
                                              int64_t dy_pitch, int64_t x_pitch, int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= sh.rows) return;
  dy += row * dy_pitch, x += row * x_pitch, dx += row * dx_pitch;
  const A divisor = divisor_of(norm[row], sh.eps);
  const A sum = norm[row] < A(sh.eps) ? A(0) : row_dot(dy, x, sh.C) / divisor;
  for_lanes<kNormLanes<T>>(0, int(sh.C), [&](auto lanes, int c) {
    constexpr int V = decltype(lanes)::value;
    auto gradient = (load_wide<A, V>(dy + c) - load_wide<A, V>(x + c) / divisor * sum) / divisor;
    if (sh.accumulate) gradient = load_wide<A, V>(dx + c) + gradient;
    store_wide<A, V>(gradient, dx + c);
  });
}

template <class T>
void l2_normalize_forward2(const Plan& plan, Array x, Array y, Array norm) {
  const auto& sh = plan.problem<L2NormalizeShape>();
  launch<l2_normalize_forward_kernel2<T>>({grid_size(ceil_div(sh.rows, kNormBlock)), kNormBlock}, x.as<const T>(), y.as<T>(),
                                          norm.as<Accumulator<T>>(), sh, x.pitch, y.pitch);
}

template <class T>
void l2_normalize_backward2(const Plan& plan, Array dy, Array x, Array norm, Array dx) {
  const auto& sh = plan.problem<L2NormalizeShape>();
  launch<l2_normalize_backward_kernel2<T>>({grid_size(ceil_div(sh.rows, kNormBlock)), kNormBlock}, dy.as<const T>(),
                                           x.as<const T>(), norm.as<const Accumulator<T>>(), dx.as<T>(), sh, dy.pitch, x.pitch,
                                           dx.pitch);
}

REGISTER_VERSION(L2NormalizeForward, lanes, 2, "one thread per row, vectors of running sums", supports_all<L2NormalizeShape>,
                 l2_normalize_forward2<STORAGE>);
REGISTER_VERSION(L2NormalizeBackward, lanes, 2, "one thread per row, vectors of running sums", supports_all<L2NormalizeShape>,
                 l2_normalize_backward2<STORAGE>);

}  // namespace pycnn
