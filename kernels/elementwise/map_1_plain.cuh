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
__global__ void map_kernel1(const T* a, const T* b, T* y, int64_t n, bool accumulate) {
  using A = Accumulator<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  A value;
  if constexpr (F::inputs == 1) value = F::template apply<A>(A(a[i]));
  else value = F::template apply<A>(A(a[i]), A(b[i]));
  y[i] = T(accumulate ? A(y[i]) + value : value);
}

template <class F, class T>
void map1_unary(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<MapShape>();
  launch<map_kernel1<F, T>>({grid_size(ceil_div(p.n, 256)), 256}, x.as<const T>(), (const T*)nullptr, y.as<T>(), p.n,
                            p.accumulate != 0);
}

template <class F, class T>
void map1_binary(const Plan& plan, Array a, Array b, Array y) {
  const auto& p = plan.problem<MapShape>();
  launch<map_kernel1<F, T>>({grid_size(ceil_div(p.n, 256)), 256}, a.as<const T>(), b.as<const T>(), y.as<T>(), p.n,
                            p.accumulate != 0);
}

template <class F, class T>
bool register_map1() {
  if constexpr (F::inputs == 1)
    REGISTER_VERSION(Map<F>, plain, 1, "one thread per element", supports_all<MapShape>, (map1_unary<F, T>));
  else REGISTER_VERSION(Map<F>, plain, 1, "one thread per element", supports_all<MapShape>, (map1_binary<F, T>));
  return true;
}

template <class T, class... F>
bool register_maps1(List<F...>) {
  return (register_map1<F, T>() && ...);
}
static const bool registered = register_maps1<STORAGE>(MapFunctors{});

}  // namespace pycnn
