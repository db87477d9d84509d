/*
Maximum over one axis with its place, and its gradient, version 1: one thread per output element.

Math      y[o,i] = max over r of x[o,r,i], index[o,i] = the first r that has it; a NaN is larger than any number
          dx[o,r,i] = dy[o,i] where r = index[o,i], 0 elsewhere
Memory    x, dx: outer,reduced,inner   y, index, dy: outer,inner
Threads   one y (dx) element each
Limit     few outputs are few threads
Next      max_2_split.cuh cuts the reduced axis into parts
Storage   float half bfloat16 double
*/
#include "max.h"

namespace pycnn {

template <class T>
__global__ void max_kernel1(const T* x, T* y, int64_t* index, MaxShape sh) {
  const int64_t output = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (output >= sh.outer * sh.inner) return;
  const int64_t o = output / sh.inner, i = output - o * sh.inner;
  Best<Accumulator<T>> best;
  best.scan(x + o * sh.reduced * sh.inner + i, sh.inner, 0, sh.reduced);
  y[output] = T(best.value);
  index[output] = best.index;
}

template <class T>
void max1(const Plan& plan, Array x, Array y, Array index) {
  launch<max_kernel1<T>>({grid_size(ceil_div(y.size(), 128)), 128}, x.as<const T>(), y.as<T>(), index.as<int64_t>(),
                         plan.problem<MaxShape>());
}

template <class T>
__global__ void max_backward_kernel1(const T* dy, const int64_t* index, T* dx, MaxBackwardShape sh) {
  using A = Accumulator<T>;
  const int64_t input = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (input >= sh.outer * sh.reduced * sh.inner) return;
  const int64_t row = input / sh.inner, o = row / sh.reduced, output = o * sh.inner + (input - row * sh.inner);
  const A value = index[output] == row - o * sh.reduced ? A(dy[output]) : A(0);
  dx[input] = T(sh.accumulate ? A(dx[input]) + value : value);
}

template <class T>
void max_backward1(const Plan& plan, Array dy, Array index, Array dx) {
  launch<max_backward_kernel1<T>>({grid_size(ceil_div(dx.size(), 256)), 256}, dy.as<const T>(), index.as<const int64_t>(),
                                  dx.as<T>(), plan.problem<MaxBackwardShape>());
}

REGISTER_VERSION(Max, plain, 1, "one thread per output element", supports_all<MaxShape>, max1<STORAGE>);
REGISTER_VERSION(MaxBackward, plain, 1, "one thread per input element", supports_all<MaxBackwardShape>, max_backward1<STORAGE>);

}  // namespace pycnn
