/*
dropout, version 1: one thread per element.

Math      y = x * (word >= p * 2^32 ? 1 / (1 - p) : 0);  += when accumulating
Memory    x, y: n,c,l or n,l,c   state, drawn: 8 int64
Threads   one element each, in memory order
Limit     ten rounds of Philox make four words, three of which are thrown away
Next      dropout_2_four_words.cuh uses all four
Storage   float half bfloat16 double
*/
#include "random.h"

namespace pycnn {

template <class T>
__global__ void dropout_kernel1(const T* x, const int64_t* state, T* y, int64_t* drawn, DropoutShape sh, uint64_t threshold,
                                Accumulator<T> scale) {
  using A = Accumulator<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < kStateSlots && drawn) drawn[i] = state[i];
  if (i >= sh.size()) return;
  int64_t c = sh.channels_last ? i % sh.C : i / sh.L % sh.C, l = sh.channels_last ? i / sh.C % sh.L : i % sh.L;
  int64_t n = i / (sh.C * sh.L);
  int64_t block = (n * sh.C + c) * ceil_div(sh.L, 4) + l / 4;
  const uint32_t word = dropout_words(uint32_t(block), uint32_t(sh.op_index), state)[int(l % 4)];
  const A value = A(x[i]) * (word >= threshold ? scale : A(0));  // NaN and infinity are not dropped
  y[i] = T(sh.accumulate ? A(y[i]) + value : value);
}

template <class T>
void dropout1(const Plan& plan, Array x, Array state, Array y, Array drawn) {
  const auto& sh = plan.problem<DropoutShape>();
  launch<dropout_kernel1<T>>({grid_size(ceil_div(sh.size() + kStateSlots, 256)), 256}, x.as<const T>(), state.as<const int64_t>(),
                             y.as<T>(), drawn.as<int64_t>(), sh, keep_threshold(sh.p), keep_scale<Accumulator<T>>(sh.p));
}

REGISTER_VERSION(Dropout, plain, 1, "one thread per element", supports_all<DropoutShape>, dropout1<STORAGE>);

}  // namespace pycnn
