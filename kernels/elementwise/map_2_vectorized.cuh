/*
Element-wise map, version 2: map_1_plain with a strip of neighbouring elements per thread.

Math      y[i] = f(x[i])  or  f(a[i], b[i]);  += when accumulating
Memory    all arrays dense, same order; i is the position in memory
Threads   a strip each (16 bytes on a GPU, 256 elements on a CPU)
Limit     memory bandwidth, but for exp, log and tanh on a CPU
Next      fusing the map into the op that makes x saves both of its passes over memory
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "elementwise.h"

namespace pycnn {

template <class F, class T>
__global__ void map_kernel2(const T* a, const T* b, T* y, int64_t n, bool accumulate, Mapped<F, T> f) {
  using A = Accumulator<T>;
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  a += i, b = F::inputs == 2 ? b + i : a, y += i;
  if (i + kStrip<T> <= n) {
    const auto u = strip_at(a), v = strip_at(b), old = strip_at(accumulate ? y : a);
    OutStrip<T> out(y);
    if (accumulate) {
      STRIP for (int j = 0; j < kStrip<T>; j++) out[j] = T(A(old[j]) + f(u, v, j));
    } else {
      STRIP for (int j = 0; j < kStrip<T>; j++) out[j] = T(f(u, v, j));
    }
    out.store();
  } else {
    for_strip<T>(int(n - i), [&](int j) {
      const A value = f(a, b, j);
      y[j] = T(accumulate ? A(y[j]) + value : value);
    });
  }
}

template <class F, class T>
void map2(const Plan& plan, const T* a, const T* b, T* y) {
  const auto& p = plan.problem<typename Map<F>::Problem>();
  launch<map_kernel2<F, T>>({grid_size(ceil_div(p.n, 256 * kStrip<T>)), 256}, a, b, y, p.n, p.accumulate != 0, Mapped<F, T>(p));
}

template <class F, class T>
void map2_unary(const Plan& plan, Array x, Array y) {
  map2<F, T>(plan, x.as<const T>(), nullptr, y.as<T>());
}

template <class F, class T>
void map2_binary(const Plan& plan, Array a, Array b, Array y) {
  map2<F, T>(plan, a.as<const T>(), b.as<const T>(), y.as<T>());
}

template <class Problem>
const char* supports_map2(const Problem&, const Request&, Plan& plan) {
  plan.alignment = kStripAlignment;
  return nullptr;
}

template <class F, class T>
bool register_map2() {
  using Problem = typename Map<F>::Problem;
  constexpr const char* idea = "a strip of neighbouring elements per thread, in 16-byte accesses";
  if constexpr (F::inputs == 1) REGISTER_VERSION(Map<F>, vectorized, 2, idea, supports_map2<Problem>, (map2_unary<F, T>));
  else REGISTER_VERSION(Map<F>, vectorized, 2, idea, supports_map2<Problem>, (map2_binary<F, T>));
  return true;
}

template <class T, class... F>
bool register_maps2(List<F...>) {
  return (register_map2<F, T>() && ...);
}
static const bool registered = register_maps2<STORAGE>(MapFunctors{});

}  // namespace pycnn
