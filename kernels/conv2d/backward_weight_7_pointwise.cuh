/*
conv2d backward_weight (wgrad), version 7: for filters of 1x1, a GEMM of dy and x as they lie, its k, the pixels, cut into pieces.

Math      partial[piece,k,c] = sum over the pixels m = (n,h,w) of a piece of dy[m,k] * x[m,c];
          dweight = the sum of the pieces, first to last
Memory    dy: N,H,W,K   x: N,H,W,C   dweight: K,C in the accumulator type    (dy and x with a pitch: a row of the matrix)
          partial: pieces,K,C in the workspace
Threads   gemm/gemm_8_split_k.cuh: 16-byte copies of dy along k and of x along c, both as they lie, the next tiles in flight.
          The cut follows from the shape alone, nothing is atomic
Limit     few tiles of dweight: each piece reads its pixels of dy once per 64 channels, of x once per 64 filters
Next      tensor cores
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_8_split_k.cuh"
#include "pointwise.h"

namespace pycnn {

// config: pixels of a piece, pieces.
template <class T>
const char* supports_backward_weight7(const ConvShape& sh, const Request&, Plan& plan) {
  if (const char* reason = pointwise_only(sh)) return reason;
  const SplitK split = split_k(sh.K, sh.C, sh.gemm_m());
  plan.config[0] = split.length;
  plan.config[1] = split.count;
  plan.workspace = split.count * sh.K * sh.C * int64_t(sizeof(Accumulator<T>));
  return nullptr;
}

template <class T>
void conv2d_backward_weight7(const Plan& plan, Array dy, Array x, Array dweight) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ConvShape>();
  const SplitK split{plan.config[0], plan.config[1]};
  const Matrix<const T> a{dy.as<const T>(), 1, dy.pitch}, b{x.as<const T>(), x.pitch, 1};
  const Matrix<A> c{dweight.as<A>(), sh.C, 1};
  A* partial = plan.workspace_as<A>();
  multiply_pieces(a, b, partial, GemmShape{sh.K, sh.C, sh.gemm_m(), 1, 0, 0, 1}, split);
  add_pieces(partial, split.count, (const T*)nullptr, c, GemmShape{sh.K, sh.C, sh.gemm_m(), 1, 0, sh.accumulate, 1});
}

REGISTER_VERSION(Conv2dBackwardWeight, pointwise, 7, "1x1 filters: dy and x are the matrices, a GEMM over all pixels",
                 supports_backward_weight7<STORAGE>, conv2d_backward_weight7<STORAGE>);

}  // namespace pycnn
