/*
dropout, version 2: a thread takes the four elements of a block of words, where version 1 throws three words away.

Math      y = x * (word >= p * 2^32 ? 1 / (1 - p) : 0);  += when accumulating
Memory    x, y: n,c,l or n,l,c   state, drawn: 8 int64
Threads   elements l..l+3 of a channel: neighbors in memory (n,c,l), or C apart while the warp's next thread takes channel c+1
          (n,l,c); a CPU's thread takes 16 such blocks side by side
Limit     the 20 multiplications that make four words
Next      -
Storage   float half bfloat16 double
*/
#include "../common/lanes.h"
#include "random.h"

namespace pycnn {

inline constexpr int kDropoutBlocks = PYCNN_CUDA ? 1 : 16;

template <class T, bool kChannelsLast>
__global__ void dropout_kernel2(const T* x, const int64_t* state, T* y, int64_t* drawn, DropoutShape sh, uint64_t threshold,
                                Accumulator<T> scale) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread < kStateSlots && drawn) drawn[thread] = state[thread];
  const int64_t per_channel = ceil_div(sh.L, 4), rows = kChannelsLast ? sh.N * per_channel : sh.N * sh.C;
  const int64_t length = kChannelsLast ? sh.C : per_channel;  // blocks of a row lie side by side in memory
  const int64_t threads_per_row = ceil_div(length, kDropoutBlocks), row = thread / threads_per_row;
  if (row >= rows) return;
  const int64_t begin = thread % threads_per_row * kDropoutBlocks;
  const int count = int(length - begin < kDropoutBlocks ? length - begin : kDropoutBlocks);

  // Of block b in this row: its number, its first element in memory, and the step from one element to the next.
  const int64_t n = kChannelsLast ? row / per_channel : 0, l0 = kChannelsLast ? row % per_channel * 4 : 0;
  const int64_t number = kChannelsLast ? (n * sh.C + begin) * per_channel + l0 / 4 : row * per_channel + begin;
  const int64_t next_number = kChannelsLast ? per_channel : 1, step = kChannelsLast ? sh.C : 1,
                next_block = kChannelsLast ? 1 : 4;
  const int64_t first = kChannelsLast ? (n * sh.L + l0) * sh.C + begin : row * sh.L + begin * 4;
  const int64_t left = kChannelsLast ? sh.L - l0 : sh.L - begin * 4;  // elements of the row's channels from here on

  A keep[4][kDropoutBlocks];
  const uint32_t op_index = uint32_t(sh.op_index);
  const uint32_t counter0 = uint32_t(uint64_t(state[kCounterSlot])), counter1 = uint32_t(uint64_t(state[kCounterSlot]) >> 32);
  const uint64_t key = uint64_t(state[kSeedSlot]);
  LANES for (int b = 0; b < kDropoutBlocks; b++) {
    const PhiloxWords words =
        philox({{uint32_t(number) + uint32_t(b) * uint32_t(next_number), op_index, counter0, counter1}}, key);
    keep[0][b] = words[0] >= threshold ? scale : A(0);
    keep[1][b] = words[1] >= threshold ? scale : A(0);
    keep[2][b] = words[2] >= threshold ? scale : A(0);
    keep[3][b] = words[3] >= threshold ? scale : A(0);
  }
  LANES for (int e = 0; e < 4; e++) {
    LANES for (int b = 0; b < kDropoutBlocks; b++) {
      if (b >= count || e >= left - (kChannelsLast ? 0 : 4 * b)) continue;
      const int64_t i = first + b * next_block + e * step;
      const A value = A(x[i]) * keep[e][b];  // NaN and infinity are not dropped
      y[i] = T(sh.accumulate ? A(y[i]) + value : value);
    }
  }
}

template <class T>
void dropout2(const Plan& plan, Array x, Array state, Array y, Array drawn) {
  const auto& sh = plan.problem<DropoutShape>();
  auto with_order = [&](auto channels_last) {
    const int64_t per_channel = ceil_div(sh.L, 4);
    const int64_t threads =
        channels_last ? sh.N * per_channel * ceil_div(sh.C, kDropoutBlocks) : sh.N * sh.C * ceil_div(per_channel, kDropoutBlocks);
    const unsigned block = PYCNN_CUDA ? 128 : 8;
    launch<dropout_kernel2<T, channels_last>>({grid_size(ceil_div(threads > kStateSlots ? threads : kStateSlots, block)), block},
                                              x.as<const T>(), state.as<const int64_t>(), y.as<T>(), drawn.as<int64_t>(), sh,
                                              keep_threshold(sh.p), keep_scale<Accumulator<T>>(sh.p));
  };
  if (sh.channels_last) with_order(std::true_type{});
  else with_order(std::false_type{});
}

// An empty array still leaves its copy of the state to version 1.
inline const char* supports_blocks(const DropoutShape& sh, const Request&, Plan&) {
  return sh.size() ? nullptr : "there are no elements";
}

REGISTER_VERSION(Dropout, four_words, 2, "the four elements of a block of words a thread", supports_blocks, dropout2<STORAGE>);

}  // namespace pycnn
