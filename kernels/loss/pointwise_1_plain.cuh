/*
Losses of two arrays element by element, forward and backward, version 1: one thread per sum, one per gradient element.

Math      y[part] = sum over i = part, part + parts, ... of weight[i] * term(x[i], t[i])
          d[i] = dloss / divisor * weight[i] * (derivative of the term by x, or t)
Memory    all arrays dense, same order   y: parts
Threads   forward: every parts-th element each, so that a warp reads 32 neighbours; backward: one element each
Limit     one 4-byte access a thread keeps too few bytes in flight; on a CPU strided reads of single elements
Next      pointwise_2_strips.cuh takes strips of elements
Storage   float half bfloat16 double
*/
#include "../common/launch.h"
#include "pointwise.h"

namespace pycnn {

template <class F, class T>
__global__ void pointwise_forward_kernel1(const T* x, const T* t, const T* weight, const T* pos_weight, Accumulator<T>* y,
                                          PointwiseLossShape sh) {
  using A = Accumulator<T>;
  const int64_t part = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (part >= sh.parts) return;
  A sum = 0;
  for (int64_t i = part; i < sh.n; i += sh.parts) {
    const A term = F::template term<A>(A(x[i]), A(t[i]), pos_weight ? A(pos_weight[i]) : A(1), A(sh.beta));
    sum += weight ? A(weight[i]) * term : term;
  }
  y[part] = sum;
}

template <class F, class T>
__global__ void pointwise_backward_kernel1(const Accumulator<T>* dloss, const T* x, const T* t, const T* weight,
                                           const T* pos_weight, T* d, PointwiseLossBackwardShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.n) return;
  const A p = pos_weight ? A(pos_weight[i]) : A(1), u = A(x[i]), v = A(t[i]), beta = A(sh.beta);
  const A slope = sh.by_target ? F::template by_target<A>(u, v, p, beta) : F::template by_input<A>(u, v, p, beta);
  const A value = dloss[sh.each ? i : 0] / A(sh.divisor) * (weight ? A(weight[i]) * slope : slope);
  d[i] = T(sh.accumulate ? A(d[i]) + value : value);
}

template <class F, class T>
void pointwise_forward1(const Plan& plan, Array x, Array t, Array weight, Array pos_weight, Array y) {
  const auto& sh = plan.problem<PointwiseLossShape>();
  launch<pointwise_forward_kernel1<F, T>>({grid_size(ceil_div(sh.parts, 256)), 256}, x.as<const T>(), t.as<const T>(),
                                          weight.as<const T>(), pos_weight.as<const T>(), y.as<Accumulator<T>>(), sh);
}

template <class F, class T>
void pointwise_backward1(const Plan& plan, Array dloss, Array x, Array t, Array weight, Array pos_weight, Array d) {
  const auto& sh = plan.problem<PointwiseLossBackwardShape>();
  launch<pointwise_backward_kernel1<F, T>>({grid_size(ceil_div(sh.n, 256)), 256}, dloss.as<const Accumulator<T>>(),
                                           x.as<const T>(), t.as<const T>(), weight.as<const T>(), pos_weight.as<const T>(),
                                           d.as<T>(), sh);
}

template <class F, class T>
bool register_pointwise1() {
  REGISTER_VERSION(PointwiseLossForward<F>, plain, 1, "one thread per sum", supports_all<PointwiseLossShape>,
                   (pointwise_forward1<F, T>));
  REGISTER_VERSION(PointwiseLossBackward<F>, plain, 1, "one thread per element", supports_all<PointwiseLossBackwardShape>,
                   (pointwise_backward1<F, T>));
  return true;
}

template <class T, class... F>
bool register_all_pointwise1(LossList<F...>) {
  return (register_pointwise1<F, T>() && ...);
}
static const bool registered = register_all_pointwise1<STORAGE>(PointwiseLosses{});

}  // namespace pycnn
