/*
Fill and cast, version 2: fill_cast_1_plain with a strip of elements per thread.

Math      y[i] = value          y[i] = x[i], rounded to y's type
Memory    dense; x of any type
Threads   a strip of neighbouring elements each
Limit     memory bandwidth
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "storage_types.h"

namespace pycnn {

template <class T>
__global__ void fill_kernel2(T* y, int64_t n, T value) {
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  if (i + kStrip<T> <= n) {
    OutStrip<T> out(y + i);
    STRIP for (int j = 0; j < kStrip<T>; j++) out[j] = value;
    out.store();
  } else {
    for_strip<T>(int(n - i), [&](int j) { y[i + j] = value; });
  }
}

template <class T>
void fill2(const Plan& plan, Array y) {
  const auto& p = plan.problem<FillShape>();
  launch<fill_kernel2<T>>({grid_size(ceil_div(p.n, 256 * kStrip<T>)), 256}, y.as<T>(), p.n, T(Accumulator<T>(p.value)));
}

template <class S, class T>
__global__ void cast_kernel2(const S* x, T* y, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  if (i + kStrip<T> <= n) {
    OutStrip<T> out(y + i);
    STRIP for (int j = 0; j < kStrip<T>; j++) out[j] = converted<T>(x[i + j]);
    out.store();
  } else {
    for_strip<T>(int(n - i), [&](int j) { y[i + j] = converted<T>(x[i + j]); });
  }
}

template <class T>
void cast2(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<CastShape>();
  with_type(x.dtype, [&](auto zero) {
    using S = decltype(zero);
    launch<cast_kernel2<S, T>>({grid_size(ceil_div(p.n, 256 * kStrip<T>)), 256}, x.as<const S>(), y.as<T>(), p.n);
  });
}

template <class Problem>
const char* supports_aligned(const Problem&, const Request&, Plan& plan) {
  plan.alignment = kStripAlignment;
  return nullptr;
}

REGISTER_VERSION(Fill, vectorized, 2, "a strip of neighbouring elements per thread", supports_aligned<FillShape>, fill2<STORAGE>);
REGISTER_VERSION(Cast, vectorized, 2, "a strip of neighbouring elements per thread", supports_aligned<CastShape>, cast2<STORAGE>);

}  // namespace pycnn
