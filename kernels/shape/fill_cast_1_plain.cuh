/*
Fill and cast, version 1: one thread per element.

Math      y[i] = value          y[i] = x[i], rounded to y's type
Memory    dense; x of any type
Threads   one element each
Limit     one access of 1 to 8 bytes a thread keeps too few bytes in flight to fill the memory system
Next      fill_cast_2_vectorized.cuh gives a thread a strip
Storage   float half bfloat16 double
*/
#include "storage_types.h"

namespace pycnn {

template <class T>
__global__ void fill_kernel1(T* y, int64_t n, T value) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = value;
}

template <class T>
void fill1(const Plan& plan, Array y) {
  const auto& p = plan.problem<FillShape>();
  launch<fill_kernel1<T>>({grid_size(ceil_div(p.n, 256)), 256}, y.as<T>(), p.n, T(Accumulator<T>(p.value)));
}

template <class S, class T>
__global__ void cast_kernel1(const S* x, T* y, int64_t n) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = converted<T>(x[i]);
}

template <class T>
void cast1(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<CastShape>();
  with_type(x.dtype, [&](auto zero) {
    using S = decltype(zero);
    launch<cast_kernel1<S, T>>({grid_size(ceil_div(p.n, 256)), 256}, x.as<const S>(), y.as<T>(), p.n);
  });
}

REGISTER_VERSION(Fill, plain, 1, "one thread per element", supports_all<FillShape>, fill1<STORAGE>);
REGISTER_VERSION(Cast, plain, 1, "one thread per element", supports_all<CastShape>, cast1<STORAGE>);

}  // namespace pycnn
