/*
Maximum over one axis with its place, version 2: max_1_plain with the reduced axis cut into parts.

Math      y[o,i] = max over r of x[o,r,i], index[o,i] = the first r that has it; a NaN is larger than any number
          dx[o,r,i] = dy[o,i] where r = index[o,i], 0 elsewhere
Memory    x, dx: outer,reduced,inner   y, index, dy: outer,inner   maxima of parts and their places: outer,parts,inner
Threads   1. the maximum of one part each   2. one y element each, over the parts
          gradient: a row of `inner` (or, if inner is 1, of `reduced`) in strips
Limit     inner = 1 on a GPU: neighbouring threads read elements a part apart
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "max.h"

namespace pycnn {

inline constexpr int64_t kMaxPart = 256;  // terms of a part

template <class T>
__global__ void max_kernel2(const T* x, Best<Accumulator<T>>* partial, MaxShape sh, int64_t parts) {
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread >= sh.outer * parts * sh.inner) return;
  const int64_t row = thread / sh.inner, o = row / parts, first = (row - o * parts) * kMaxPart;
  const int64_t end = first + kMaxPart < sh.reduced ? first + kMaxPart : sh.reduced;
  Best<Accumulator<T>> best;
  best.scan(x + o * sh.reduced * sh.inner + (thread - row * sh.inner), sh.inner, first, end);
  partial[thread] = best;
}

template <class T>
__global__ void max_finish_kernel2(const Best<Accumulator<T>>* partial, T* y, int64_t* index, MaxShape sh, int64_t parts) {
  const int64_t output = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (output >= sh.outer * sh.inner) return;
  const int64_t o = output / sh.inner, i = output - o * sh.inner;
  Best<Accumulator<T>> best;
  for (int64_t part = 0; part < parts; part++) {
    const Best<Accumulator<T>> candidate = partial[(o * parts + part) * sh.inner + i];
    best.offer(candidate.value, candidate.index);
  }
  y[output] = T(best.value);
  index[output] = best.index;
}

template <class T>
const char* supports_max2(const MaxShape& sh, const Request&, Plan& plan) {
  plan.workspace = sh.outer * ceil_div(sh.reduced, kMaxPart) * sh.inner * sizeof(Best<Accumulator<T>>);
  return nullptr;
}

template <class T>
void max2(const Plan& plan, Array x, Array y, Array index) {
  const auto& sh = plan.problem<MaxShape>();
  const int64_t parts = ceil_div(sh.reduced, kMaxPart);
  auto* partial = plan.workspace_as<Best<Accumulator<T>>>();
  launch<max_kernel2<T>>({grid_size(ceil_div(sh.outer * parts * sh.inner, 128)), 128}, x.as<const T>(), partial, sh, parts);
  launch<max_finish_kernel2<T>>({grid_size(ceil_div(y.size(), 128)), 128}, (const Best<Accumulator<T>>*)partial, y.as<T>(),
                                index.as<int64_t>(), sh, parts);
}

template <class T>
__global__ void max_backward_kernel2(const T* dy, const int64_t* index, T* dx, MaxBackwardShape sh, int64_t threads,
                                     int64_t strips, int64_t length) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  const int64_t row = thread / strips, column = (thread - row * strips) * kStrip<T>;
  const int count = int(length - column < kStrip<T> ? length - column : kStrip<T>);
  const int64_t o = row / sh.reduced;
  T* target = dx + row * length + column;
  A value[kStrip<T>];
  if (sh.inner == 1) {
    const int64_t hit = index[row] - column;
    for_strip<T>(count, [&](int j) { value[j] = j == hit ? A(dy[row]) : A(0); });
  } else {
    const int64_t output = o * sh.inner + column, r = row - o * sh.reduced;
    for_strip<T>(count, [&](int j) { value[j] = index[output + j] == r ? A(dy[output + j]) : A(0); });
  }
  if (sh.accumulate) for_strip<T>(count, [&](int j) { value[j] += A(target[j]); });
  for_strip<T>(count, [&](int j) { target[j] = T(value[j]); });
}

template <class T>
void max_backward2(const Plan& plan, Array dy, Array index, Array dx) {
  const auto& sh = plan.problem<MaxBackwardShape>();
  if (dx.size() == 0) return;
  const int64_t length = sh.inner == 1 ? sh.reduced : sh.inner, strips = ceil_div(length, kStrip<T>);
  const int64_t threads = dx.size() / length * strips;
  launch<max_backward_kernel2<T>>({grid_size(ceil_div(threads, 128)), 128}, dy.as<const T>(), index.as<const int64_t>(),
                                  dx.as<T>(), sh, threads, strips, length);
}

REGISTER_VERSION(Max, split, 2, "the axis cut into parts, then the maximum of the parts", supports_max2<STORAGE>, max2<STORAGE>);
REGISTER_VERSION(MaxBackward, split, 2, "a strip of neighbouring inputs per thread", supports_all<MaxBackwardShape>,
                 max_backward2<STORAGE>);

}  // namespace pycnn
