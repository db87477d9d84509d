/*
Sum over one axis, its gradient, and the gradient of a bias, version 1: one thread per output element.

Math      y[o,i] = (sum over r of x[o,r,i]) / divisor          dbias[c] = sum over rows of dy[row,c]
          dx[o,r,i] = dy[o,i] / divisor
Memory    x: outer,reduced,inner   y: outer,inner   dy: rows,channels
Threads   sums: one y element each, adding one term after the other; gradient of a sum: one dx element each
Limit     few outputs are few threads: a bias of 6 channels keeps 6 threads busy
Next      sum_2_strips.cuh cuts the reduced axis into parts
Storage   float half bfloat16 double
*/
#include "../common/launch.h"
#include "reduce.h"

namespace pycnn {

template <class T, class Y>
__global__ void sum_kernel1(const T* x, Y* y, SumShape sh) {
  using A = Accumulator<T>;
  const int64_t output = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (output >= sh.outer * sh.inner) return;
  const int64_t o = output / sh.inner, i = output - o * sh.inner;
  A sum = 0;
  for (int64_t r = 0; r < sh.reduced; r++) sum += A(x[(o * sh.reduced + r) * sh.inner + i]);
  sum /= A(sh.divisor);
  y[output] = Y(sh.accumulate ? A(y[output]) + sum : sum);
}

template <class T, class Y>
void launch_sum1(const SumShape& sh, Array x, Array y) {
  launch<sum_kernel1<T, Y>>({grid_size(ceil_div(sh.outer * sh.inner, 128)), 128}, x.as<const T>(), y.as<Y>(), sh);
}

template <class T>
void sum1(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<SumShape>();
  if (sh.wide) launch_sum1<T, Accumulator<T>>(sh, x, y);
  else launch_sum1<T, T>(sh, x, y);
}

template <class T>
void bias_backward1(const Plan& plan, Array dy, Array dbias) {
  launch_sum1<T, Accumulator<T>>(plan.problem<BiasShape>().sum(), dy, dbias);
}

template <class T>
__global__ void sum_backward_kernel1(const T* dy, T* dx, SumShape sh) {
  using A = Accumulator<T>;
  const int64_t input = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (input >= sh.outer * sh.reduced * sh.inner) return;
  const int64_t row = input / sh.inner, i = input - row * sh.inner, o = row / sh.reduced;
  const A value = A(dy[o * sh.inner + i]) / A(sh.divisor);
  dx[input] = T(sh.accumulate ? A(dx[input]) + value : value);
}

template <class T>
void sum_backward1(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<SumShape>();
  launch<sum_backward_kernel1<T>>({grid_size(ceil_div(dx.size(), 256)), 256}, dy.as<const T>(), dx.as<T>(), sh);
}

REGISTER_VERSION(Sum, plain, 1, "one thread per output element", supports_all<SumShape>, sum1<STORAGE>);
REGISTER_VERSION(BiasBackward, plain, 1, "one thread per channel", supports_all<BiasShape>, bias_backward1<STORAGE>);
REGISTER_VERSION(SumBackward, plain, 1, "one thread per input element", supports_all<SumShape>, sum_backward1<STORAGE>);

}  // namespace pycnn
