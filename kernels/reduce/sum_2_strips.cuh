/*
Sum over one axis, version 2: sum_1_plain with the reduced axis cut into parts, and a strip of columns per thread.

Math      y[o,i] = (sum over r of x[o,r,i]) / divisor          dbias[c] = sum over rows of dy[row,c]
          dx[o,r,i] = dy[o,i] / divisor
Memory    x: outer,reduced,inner, read as outer,rows,columns: `fold` rows are laid side by side until the columns are a
          multiple of a strip, so that 6 channels fill vectors as well as 64 do. Sums of parts: outer,parts,columns
Threads   1. one part of one strip of columns each   2. one y element each: adds the parts, the folds and the rows left over
          gradient of a sum: a strip of dx each
Limit     few columns on a GPU are few threads; barrier-free, so that a CPU runs it as plain vector loops
Next      sum_3_block.cuh lets the threads of a block share the rows
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "reduce.h"

namespace pycnn {

// Columns of a thread: groups of one vector each.
template <class T>
inline constexpr int kGroup = PYCNN_CUDA ? kVectorLength<T> : 16;
inline constexpr int kGroups = PYCNN_CUDA ? 1 : 4;
template <class T>
inline constexpr int kColumns = kGroup<T> * kGroups;

struct SumCut {
  int64_t fold, rows, columns, part_rows, parts;
};

// A function of the shape alone: the order of the sum is the same on any number of threads.
template <class T>
SumCut cut_sum(const SumShape& sh) {
  constexpr int64_t shortest = 32, most_parts = 32;
  int64_t fold = 1;
  while (fold * sh.inner % kColumns<T>) fold *= 2;  // ends: a strip is a power of two
  SumCut cut{fold, sh.reduced / fold, fold * sh.inner, 0, 0};
  cut.part_rows = ceil_div(cut.rows, most_parts) < shortest ? shortest : ceil_div(cut.rows, most_parts);
  cut.parts = ceil_div(cut.rows, cut.part_rows);
  return cut;
}

template <class T>
__global__ void sum_kernel2(const T* x, Accumulator<T>* partial, SumShape sh, SumCut cut, int64_t threads) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, strips = cut.columns / kColumns<T>;
  if (i >= threads) return;
  const int64_t o = i / (strips * cut.parts), part = i / strips - o * cut.parts, column = i % strips * kColumns<T>;
  const int64_t first = part * cut.part_rows, left = cut.rows - first;
  const T* p = x + o * sh.reduced * sh.inner + first * cut.columns + column;
  A sum[kGroups][kGroup<T>];
  for (int k = 0; k < kGroups; k++) LANES for (int j = 0; j < kGroup<T>; j++) sum[k][j] = 0;
  for (int64_t row = 0; row < (left < cut.part_rows ? left : cut.part_rows); row++, p += cut.columns) {
    UNROLLED for (int k = 0; k < kGroups; k++) {
      const auto value = values_at<kGroup<T>>(p + k * kGroup<T>);
      LANES for (int j = 0; j < kGroup<T>; j++) sum[k][j] += A(value[j]);
    }
  }
  A* target = partial + (o * cut.parts + part) * cut.columns + column;
  for (int k = 0; k < kGroups; k++) LANES for (int j = 0; j < kGroup<T>; j++) target[k * kGroup<T> + j] = sum[k][j];
}

template <class T, class Y>
__global__ void sum_finish_kernel2(const T* x, const Accumulator<T>* partial, Y* y, SumShape sh, SumCut cut) {
  using A = Accumulator<T>;
  const int64_t output = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (output >= sh.outer * sh.inner) return;
  const int64_t o = output / sh.inner, i = output - o * sh.inner, values = cut.parts * cut.fold;
  const A* p = partial + o * values * sh.inner + i;
  constexpr int lanes = 16;  // a single running sum of up to 2048 parts would round 2048 times
  A sum[lanes] = {};
  for (int64_t k = 0; k + lanes <= values; k += lanes)
    for (int j = 0; j < lanes; j++) sum[j] += p[(k + j) * sh.inner];
  for (int64_t k = values / lanes * lanes; k < values; k++) sum[0] += p[k * sh.inner];
  for (int64_t r = cut.rows * cut.fold; r < sh.reduced; r++) sum[1] += A(x[(o * sh.reduced + r) * sh.inner + i]);
  UNROLLED for (int half = lanes / 2; half > 0; half /= 2) UNROLLED for (int j = 0; j < half; j++) sum[j] += sum[j + half];
  const A total = sum[0] / A(sh.divisor);
  y[output] = Y(sh.accumulate ? A(y[output]) + total : total);
}

template <class T, class Y>
void launch_sum2(const Plan& plan, const SumShape& sh, Array x, Array y) {
  const SumCut cut = cut_sum<T>(sh);
  const int64_t threads = sh.outer * cut.parts * (cut.columns / kColumns<T>);
  const int64_t enough = ceil_div(1 << 16, (cut.part_rows + 1) * kColumns<T>);  // of 64 K elements, worth an OS thread
  const unsigned block = PYCNN_CUDA || enough > 128 ? 128 : unsigned(enough);
  auto* partial = plan.workspace_as<Accumulator<T>>();
  launch<sum_kernel2<T>>({grid_size(ceil_div(threads, block)), block}, x.as<const T>(), partial, sh, cut, threads);
  launch<sum_finish_kernel2<T, Y>>({grid_size(ceil_div(sh.outer * sh.inner, 64)), 64}, x.as<const T>(),
                                   (const Accumulator<T>*)partial, y.as<Y>(), sh, cut);
}

template <class T>
const char* supports_sum2(const SumShape& sh, const Request&, Plan& plan) {
  const SumCut cut = cut_sum<T>(sh);
  plan.workspace = sh.outer * cut.parts * cut.columns * sizeof(Accumulator<T>);
  if (!PYCNN_CUDA) return nullptr;
  plan.alignment = kStripAlignment;
  return sh.outer > 1 && sh.reduced * sh.inner % kColumns<T> ? "a row of the outer axis does not start on 16 bytes" : nullptr;
}

template <class T>
const char* supports_bias2(const BiasShape& p, const Request& request, Plan& plan) {
  return supports_sum2<T>(p.sum(), request, plan);
}

template <class T>
void sum2(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<SumShape>();
  if (sh.wide) launch_sum2<T, Accumulator<T>>(plan, sh, x, y);
  else launch_sum2<T, T>(plan, sh, x, y);
}

template <class T>
void bias_backward2(const Plan& plan, Array dy, Array dbias) {
  launch_sum2<T, Accumulator<T>>(plan, plan.problem<BiasShape>().sum(), dy, dbias);
}

template <class T>
__global__ void sum_backward_kernel2(const T* dy, T* dx, SumShape sh, int64_t threads, int64_t strips, int64_t length) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  // inner == 1: rows of `reduced` equal values. Otherwise rows of `inner`, each equal to its row of dy.
  const int64_t row = thread / strips, column = (thread - row * strips) * kStrip<T>;
  const int count = int(length - column < kStrip<T> ? length - column : kStrip<T>);
  const bool equal = sh.inner == 1;
  const T* source = equal ? dy + row : dy + row / sh.reduced * sh.inner + column;
  T* target = dx + row * length + column;
  A value[kStrip<T>], divisor = A(sh.divisor);
  if (equal) for_strip<T>(count, [&](int j) { value[j] = A(*source) / divisor; });
  else for_strip<T>(count, [&](int j) { value[j] = A(source[j]) / divisor; });
  if (sh.accumulate) for_strip<T>(count, [&](int j) { value[j] += A(target[j]); });
  for_strip<T>(count, [&](int j) { target[j] = T(value[j]); });
}

template <class T>
void sum_backward2(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<SumShape>();
  if (dx.size() == 0) return;
  const int64_t length = sh.inner == 1 ? sh.reduced : sh.inner, strips = ceil_div(length, kStrip<T>);
  const int64_t threads = dx.size() / length * strips;
  launch<sum_backward_kernel2<T>>({grid_size(ceil_div(threads, 128)), 128}, dy.as<const T>(), dx.as<T>(), sh, threads, strips,
                                  length);
}

REGISTER_VERSION(Sum, strips, 2, "the axis cut into parts, a strip of columns per thread", supports_sum2<STORAGE>, sum2<STORAGE>);
REGISTER_VERSION(BiasBackward, strips, 2, "the rows cut into parts, a strip of folded channels per thread",
                 supports_bias2<STORAGE>, bias_backward2<STORAGE>);
REGISTER_VERSION(SumBackward, strips, 2, "a strip of neighbouring inputs per thread", supports_all<SumShape>,
                 sum_backward2<STORAGE>);

}  // namespace pycnn
