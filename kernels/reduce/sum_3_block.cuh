/*
Sum over one axis, version 3: sum_2_strips with the rows of a part shared by the threads of a block.

Math      y[o,i] = (sum over r of x[o,r,i]) / divisor          dbias[c] = sum over rows of dy[row,c]
Memory    x: outer,reduced,inner   y: outer,inner   sums of parts: outer,parts,inner. A block reads `fold` rows at once:
          neighbouring threads read neighbouring elements, whatever `inner` is
Threads   fold × inner a block, at most kSumThreads; each adds every fold-th row of its column, then the block halves the
          number of its sums until one per column is left. A second launch adds the parts in the same way
Limit     memory bandwidth for long sums; two launches cost more than the additions for short ones
Next      -
Storage   float half bfloat16 double
*/
#include "../common/launch.h"
#include "reduce.h"

namespace pycnn {

inline constexpr int kSumThreads = 512;

struct BlockCut {
  int64_t fold, part_rows, parts;  // part_rows: a multiple of fold

  explicit BlockCut(const SumShape& sh, int64_t most_parts) : fold(1) {
    while (2 * fold * sh.inner <= kSumThreads && fold < sh.reduced) fold *= 2;
    const int64_t rows = ceil_div(sh.reduced, fold), wanted = ceil_div(rows, 32);
    const int64_t most = wanted < 1 ? 1 : wanted < most_parts ? wanted : most_parts;
    part_rows = (rows ? ceil_div(rows, most) : 1) * fold;
    parts = sh.reduced ? ceil_div(sh.reduced, part_rows) : 1;
  }
};

template <class X, class Y, class A>
__global__ void sum_kernel3(const X* x, Y* y, SumShape sh, BlockCut cut) {
  SHARED(A, sums, kSumThreads);
  const int t = threadIdx.x, inner = int(sh.inner), f = t / inner, i = t - f * inner;
  const int64_t o = blockIdx.x / cut.parts, first = (blockIdx.x - o * cut.parts) * cut.part_rows;
  const int64_t end = first + cut.part_rows < sh.reduced ? first + cut.part_rows : sh.reduced;
  A sum = 0;
  for (int64_t r = first + f; r < end; r += cut.fold) sum += A(x[(o * sh.reduced + r) * inner + i]);
  sums[t] = sum;
  for (int step = int(cut.fold) / 2; step > 0; step /= 2) {
    __syncthreads();
    if (f < step) sums[t] += sums[t + step * inner];
  }
  if (f > 0) return;
  y += int64_t(blockIdx.x) * inner + i;
  sum = sums[t] / A(sh.divisor);
  *y = Y(sh.accumulate ? A(*y) + sum : sum);
}

template <class X, class Y, class A>
void launch_sum_part3(const SumShape& sh, const BlockCut& cut, const X* x, Y* y) {
  launch<sum_kernel3<X, Y, A>>({grid_size(sh.outer * cut.parts), unsigned(cut.fold * sh.inner)}, x, y, sh, cut);
}

template <class T, class Y>
void launch_sum3(const Plan& plan, const SumShape& sh, Array x, Array y) {
  using A = Accumulator<T>;
  if (sh.outer * sh.inner == 0) return;
  const BlockCut cut(sh, kSumThreads);
  if (cut.parts == 1) return launch_sum_part3<T, Y, A>(sh, cut, x.as<const T>(), y.as<Y>());
  A* partial = plan.workspace_as<A>();
  launch_sum_part3<T, A, A>({sh.outer, sh.reduced, sh.inner, 0, 0, 1.0}, cut, x.as<const T>(), partial);
  const SumShape rest{sh.outer, cut.parts, sh.inner, sh.accumulate, 0, sh.divisor};
  launch_sum_part3<A, Y, A>(rest, BlockCut(rest, 1), (const A*)partial, y.as<Y>());
}

template <class T>
const char* supports_sum3(const SumShape& sh, const Request&, Plan& plan) {
  if (sh.inner > kSumThreads) return "more columns than a block has threads";
  plan.workspace = sh.outer * BlockCut(sh, kSumThreads).parts * sh.inner * sizeof(Accumulator<T>);
  return nullptr;
}

template <class T>
const char* supports_bias3(const BiasShape& p, const Request& request, Plan& plan) {
  return supports_sum3<T>(p.sum(), request, plan);
}

template <class T>
void sum3(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<SumShape>();
  if (sh.wide) launch_sum3<T, Accumulator<T>>(plan, sh, x, y);
  else launch_sum3<T, T>(plan, sh, x, y);
}

template <class T>
void bias_backward3(const Plan& plan, Array dy, Array dbias) {
  launch_sum3<T, Accumulator<T>>(plan, plan.problem<BiasShape>().sum(), dy, dbias);
}

REGISTER_VERSION(Sum, block, 3, "a block per part, its threads share the rows", supports_sum3<STORAGE>, sum3<STORAGE>);
REGISTER_VERSION(BiasBackward, block, 3, "a block per part, its threads share the rows", supports_bias3<STORAGE>,
                 bias_backward3<STORAGE>);

}  // namespace pycnn
