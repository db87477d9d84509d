/*
Element-wise map, version 1: one thread per element.

Math      y[i] = f(x[i])  or  f(a[i], b[i]);  += when accumulating
Memory    all arrays dense, same order; i is the position in memory
Threads   one element each: a warp touches 32 neighbours
Limit     one 4-byte access a thread keeps too few bytes in flight to fill the memory system
Next      map_2_vectorized.cuh moves 16 bytes an access
Storage   float half bfloat16 double
*/
#include "elementwise.h"

namespace pycnn {

template <class F, class T>
__global__ void map_kernel1(const T* a, const T* b, T* y, int64_t n, bool accumulate, Mapped<F, T> f) {
  using A = Accumulator<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const A value = f(a, b, i);
  y[i] = T(accumulate ? A(y[i]) + value : value);
}

template <class F, class T>
void map1(const Plan& plan, const T* a, const T* b, T* y) {
  const auto& p = plan.problem<typename Map<F>::Problem>();
  launch<map_kernel1<F, T>>({grid_size(ceil_div(p.n, 256)), 256}, a, b, y, p.n, p.accumulate != 0, Mapped<F, T>(p));
}

template <class F, class T>
void map1_unary(const Plan& plan, Array x, Array y) {
  map1<F, T>(plan, x.as<const T>(), nullptr, y.as<T>());
}

template <class F, class T>
void map1_binary(const Plan& plan, Array a, Array b, Array y) {
  map1<F, T>(plan, a.as<const T>(), b.as<const T>(), y.as<T>());
}

template <class F, class T>
bool register_map1() {
  using Problem = typename Map<F>::Problem;
  if constexpr (F::inputs == 1)
    REGISTER_VERSION(Map<F>, plain, 1, "one thread per element", supports_all<Problem>, (map1_unary<F, T>));
  else REGISTER_VERSION(Map<F>, plain, 1, "one thread per element", supports_all<Problem>, (map1_binary<F, T>));
  return true;
}

template <class T, class... F>
bool register_maps1(List<F...>) {
  return (register_map1<F, T>() && ...);
}
static const bool registered = register_maps1<STORAGE>(MapFunctors{});

}  // namespace pycnn
