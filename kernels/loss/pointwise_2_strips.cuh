/*
Losses of two arrays element by element, forward and backward, version 2: pointwise_1_plain with strips of neighbouring elements.

Math      y[part] = sum over the strips part, part + parts, ... of weight[i] * term(x[i], t[i]); y[i] = the term if parts = n
          d[i] = dloss / divisor * weight[i] * (derivative of the term by x, or t)
Memory    all arrays dense, same order   y: parts
Threads   a strip at a time (16 bytes on a GPU, 256 elements on a CPU); a sum is kept in as many lanes as a vector has
Limit     memory bandwidth, but for exp and log on a CPU
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "pointwise.h"

namespace pycnn {

template <class T>
inline constexpr int kTermLanes = PYCNN_CUDA ? kStrip<T> : 16;

// weight * term of element i. With kWeighted false there are no weights, and nothing is asked per element.
template <class F, class T, bool kWeighted>
struct WeightedLoss {
  using A = Accumulator<T>;
  const T *x, *t, *weight, *pos_weight;
  A beta;
  __device__ __forceinline__ A p(int64_t i) const { return kWeighted && pos_weight ? A(pos_weight[i]) : A(1); }
  __device__ __forceinline__ A weighted(int64_t i, A value) const { return kWeighted && weight ? A(weight[i]) * value : value; }
  __device__ __forceinline__ A term(int64_t i) const { return weighted(i, F::template term<A>(A(x[i]), A(t[i]), p(i), beta)); }
  template <bool kByTarget>
  __device__ __forceinline__ A slope(int64_t i) const {
    if constexpr (kByTarget) return weighted(i, F::template by_target<A>(A(x[i]), A(t[i]), p(i), beta));
    else return weighted(i, F::template by_input<A>(A(x[i]), A(t[i]), p(i), beta));
  }
};

template <class F, class T, bool kWeighted>
__global__ void pointwise_terms_kernel2(WeightedLoss<F, T, kWeighted> f, Accumulator<T>* y, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  if (i >= n) return;
  for_strip<T>(int(n - i < kStrip<T> ? n - i : kStrip<T>), [&](int j) { y[i + j] = f.term(i + j); });
}

template <class F, class T, bool kWeighted>
__global__ void pointwise_forward_kernel2(WeightedLoss<F, T, kWeighted> f, Accumulator<T>* y, PointwiseLossShape sh) {
  const int64_t part = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (part >= sh.parts) return;
  Accumulator<T> sum[kTermLanes<T>];
  LANES for (int j = 0; j < kTermLanes<T>; j++) sum[j] = 0;
  for (int64_t strip = part * kStrip<T>; strip < sh.n; strip += sh.parts * kStrip<T>) {
    const int64_t end = strip + kStrip<T> < sh.n ? strip + kStrip<T> : sh.n;
    int64_t i = strip;
    for (; i + kTermLanes<T> <= end; i += kTermLanes<T>) LANES for (int j = 0; j < kTermLanes<T>; j++) sum[j] += f.term(i + j);
    for (int j = 0; i < end; i++, j++) sum[j] += f.term(i);
  }
  for (int half = kTermLanes<T> / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) sum[j] += sum[j + half];
  y[part] = sum[0];
}

template <class F, class T, bool kWeighted, bool kByTarget>
__global__ void pointwise_backward_kernel2(WeightedLoss<F, T, kWeighted> f, const Accumulator<T>* dloss, T* d,
                                           PointwiseLossBackwardShape sh) {
  using A = Accumulator<T>;
  const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kStrip<T>;
  if (i >= sh.n) return;
  const int count = int(sh.n - i < kStrip<T> ? sh.n - i : kStrip<T>);
  const A divisor = A(sh.divisor), all = dloss[0] / divisor;
  if (sh.each || sh.accumulate) {
    for_strip<T>(count, [&](int j) {
      const A value = (sh.each ? dloss[i + j] / divisor : all) * f.template slope<kByTarget>(i + j);
      d[i + j] = T(sh.accumulate ? A(d[i + j]) + value : value);
    });
  } else {
    for_strip<T>(count, [&](int j) { d[i + j] = T(all * f.template slope<kByTarget>(i + j)); });
  }
}

template <class F, class T>
void pointwise_forward2(const Plan& plan, Array x, Array t, Array weight, Array pos_weight, Array y) {
  const auto& sh = plan.problem<PointwiseLossShape>();
  const unsigned block = PYCNN_CUDA ? 256 : 64;
  auto run = [&](auto weighted) {
    const WeightedLoss<F, T, weighted> f{x.as<const T>(), t.as<const T>(), weight.as<const T>(), pos_weight.as<const T>(),
                                         Accumulator<T>(sh.beta)};
    auto* terms = y.as<Accumulator<T>>();
    if (sh.parts == sh.n)
      launch<pointwise_terms_kernel2<F, T, weighted>>({grid_size(ceil_div(sh.n, block * kStrip<T>)), block}, f, terms, sh.n);
    else launch<pointwise_forward_kernel2<F, T, weighted>>({grid_size(ceil_div(sh.parts, block)), block}, f, terms, sh);
  };
  if (weight || pos_weight) run(std::true_type{});
  else run(std::false_type{});
}

template <class F, class T>
void pointwise_backward2(const Plan& plan, Array dloss, Array x, Array t, Array weight, Array pos_weight, Array d) {
  const auto& sh = plan.problem<PointwiseLossBackwardShape>();
  const unsigned block = PYCNN_CUDA ? 256 : 64;
  auto run = [&](auto weighted, auto by_target) {
    const WeightedLoss<F, T, weighted> f{x.as<const T>(), t.as<const T>(), weight.as<const T>(), pos_weight.as<const T>(),
                                         Accumulator<T>(sh.beta)};
    launch<pointwise_backward_kernel2<F, T, weighted, by_target>>({grid_size(ceil_div(sh.n, block * kStrip<T>)), block}, f,
                                                                  dloss.as<const Accumulator<T>>(), d.as<T>(), sh);
  };
  auto with_target = [&](auto weighted) { sh.by_target ? run(weighted, std::true_type{}) : run(weighted, std::false_type{}); };
  if (weight || pos_weight) with_target(std::true_type{});
  else with_target(std::false_type{});
}

template <class F, class T>
bool register_pointwise2() {
  REGISTER_VERSION(PointwiseLossForward<F>, strips, 2, "strips of neighbouring elements per sum",
                   supports_all<PointwiseLossShape>, (pointwise_forward2<F, T>));
  REGISTER_VERSION(PointwiseLossBackward<F>, strips, 2, "a strip of neighbouring elements per thread",
                   supports_all<PointwiseLossBackwardShape>, (pointwise_backward2<F, T>));
  return true;
}

template <class T, class... F>
bool register_all_pointwise2(LossList<F...>) {
  return (register_pointwise2<F, T>() && ...);
}
static const bool registered = register_all_pointwise2<STORAGE>(PointwiseLosses{});

}  // namespace pycnn
