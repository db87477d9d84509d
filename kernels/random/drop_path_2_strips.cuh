/*
drop_path (stochastic depth), version 2: drop_path_1_plain with a strip of a row per thread.

Math      y[n,i] = x[n,i] * (word n >= p * 2^32 ? 1 / (1 - p) : 0);  += when accumulating
Memory    x, y: rows,length   state, drawn: 8 int64
Threads   a strip of a row each
Limit     memory bandwidth
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "drop_path.h"

namespace pycnn {

template <class T>
__global__ void drop_path_kernel2(const T* x, const int64_t* state, T* y, int64_t* drawn, DropPathShape sh, int64_t strips,
                                  uint64_t threshold, Accumulator<T> scale) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread < kStateSlots && drawn) drawn[thread] = state[thread];
  const int64_t row = thread / strips, column = (thread - row * strips) * kStrip<T>;
  if (row >= sh.rows) return;
  const A factor = path_factor(row, sh, state, threshold, scale);
  const int count = int(sh.length - column < kStrip<T> ? sh.length - column : kStrip<T>);
  x += row * sh.length + column, y += row * sh.length + column;
  if (sh.accumulate) for_strip<T>(count, [&](int j) { y[j] = T(A(y[j]) + A(x[j]) * factor); });
  else for_strip<T>(count, [&](int j) { y[j] = T(A(x[j]) * factor); });
}

template <class T>
void drop_path2(const Plan& plan, Array x, Array state, Array y, Array drawn) {
  const auto& sh = plan.problem<DropPathShape>();
  const int64_t strips = ceil_div(sh.length, kStrip<T>), threads = sh.rows * strips;
  launch<drop_path_kernel2<T>>({grid_size(ceil_div(threads > kStateSlots ? threads : kStateSlots, 128)), 128}, x.as<const T>(),
                               state.as<const int64_t>(), y.as<T>(), drawn.as<int64_t>(), sh, strips, keep_threshold(sh.p),
                               keep_scale<Accumulator<T>>(sh.p));
}

// An empty array still leaves its copy of the state to version 1.
inline const char* supports_path_strips(const DropPathShape& sh, const Request&, Plan&) {
  return sh.rows * sh.length ? nullptr : "there are no elements";
}

REGISTER_VERSION(DropPath, strips, 2, "a strip of a row per thread", supports_path_strips, drop_path2<STORAGE>);

}  // namespace pycnn
