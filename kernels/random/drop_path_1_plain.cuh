/*
drop_path (stochastic depth), version 1: one thread per element.

Math      y[n,i] = x[n,i] * (word n >= p * 2^32 ? 1 / (1 - p) : 0);  += when accumulating
Memory    x, y: rows,length   state, drawn: 8 int64
Threads   one element each
Limit     every element draws its row's word again
Next      drop_path_2_strips.cuh draws once per strip
Storage   float half bfloat16 double
*/
#include "drop_path.h"

namespace pycnn {

template <class T>
__global__ void drop_path_kernel1(const T* x, const int64_t* state, T* y, int64_t* drawn, DropPathShape sh, uint64_t threshold,
                                  Accumulator<T> scale) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < kStateSlots && drawn) drawn[i] = state[i];
  if (i >= sh.rows * sh.length) return;
  const A value = A(x[i]) * path_factor(i / sh.length, sh, state, threshold, scale);
  y[i] = T(sh.accumulate ? A(y[i]) + value : value);
}

template <class T>
void drop_path1(const Plan& plan, Array x, Array state, Array y, Array drawn) {
  const auto& sh = plan.problem<DropPathShape>();
  launch<drop_path_kernel1<T>>({grid_size(ceil_div(sh.rows * sh.length + kStateSlots, 256)), 256}, x.as<const T>(),
                               state.as<const int64_t>(), y.as<T>(), drawn.as<int64_t>(), sh, keep_threshold(sh.p),
                               keep_scale<Accumulator<T>>(sh.p));
}

REGISTER_VERSION(DropPath, plain, 1, "one thread per element", supports_all<DropPathShape>, drop_path1<STORAGE>);

}  // namespace pycnn
