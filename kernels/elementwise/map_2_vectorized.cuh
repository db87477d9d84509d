/*
Element-wise map, version 2: map_1_plain with a strip of neighbouring elements per thread.

Math      y[i] = f(x[i])  or  f(a[i], b[i]);  += when accumulating
Memory    all arrays dense, same order; i is the position in memory
Threads   a strip each (16 bytes on a GPU, 64 elements on a CPU); the last thread takes what is left one by one
Limit     memory bandwidth, but for exp, log and tanh on a CPU
Next      fusing the map into the op that makes x saves both of its passes over memory
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "elementwise.h"

namespace pycnn {

template <class F, class T>
__global__ void map_kernel2(const T* a, const T* b, T* y, int64_t n, bool accumulate) {
  using A = Accumulator<T>;
  int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  if (i + kStrip<T> <= n) {
    A u[kStrip<T>], v[kStrip<T>];
    load_strip(a + i, u);
    if constexpr (F::inputs == 2) load_strip(b + i, v);
    for (int j = 0; j < kStrip<T>; j++) {
      if constexpr (F::inputs == 1) u[j] = F::template apply<A>(u[j]);
      else u[j] = F::template apply<A>(u[j], v[j]);
    }
    if (accumulate) {
      load_strip(y + i, v);
      for (int j = 0; j < kStrip<T>; j++) u[j] = v[j] + u[j];
    }
    store_strip(y + i, u);
    return;
  }
  for (; i < n; i++) {
    A value;
    if constexpr (F::inputs == 1) value = F::template apply<A>(A(a[i]));
    else value = F::template apply<A>(A(a[i]), A(b[i]));
    y[i] = T(accumulate ? A(y[i]) + value : value);
  }
}

template <class F, class T>
void map2(const Plan& plan, const T* a, const T* b, T* y) {
  const auto& p = plan.problem<MapShape>();
  launch<map_kernel2<F, T>>({grid_size(ceil_div(p.n, 256 * kStrip<T>)), 256}, a, b, y, p.n, p.accumulate != 0);
}

template <class F, class T>
void map2_unary(const Plan& plan, Array x, Array y) { map2<F, T>(plan, x.as<const T>(), nullptr, y.as<T>()); }

template <class F, class T>
void map2_binary(const Plan& plan, Array a, Array b, Array y) { map2<F, T>(plan, a.as<const T>(), b.as<const T>(), y.as<T>()); }

inline const char* supports_map2(const MapShape&, const Request&, Plan& plan) {
  plan.alignment = kStripAlignment;
  return nullptr;
}

template <class F, class T>
bool register_map2() {
  constexpr const char* idea = "a strip of neighbouring elements per thread, in 16-byte accesses";
  if constexpr (F::inputs == 1) REGISTER_VERSION(Map<F>, vectorized, 2, idea, supports_map2, (map2_unary<F, T>));
  else REGISTER_VERSION(Map<F>, vectorized, 2, idea, supports_map2, (map2_binary<F, T>));
  return true;
}

template <class T, class... F>
bool register_all(List<F...>) { return (register_map2<F, T>() && ...); }
static const bool registered = register_all<STORAGE>(MapFunctors{});

}  // namespace pycnn
