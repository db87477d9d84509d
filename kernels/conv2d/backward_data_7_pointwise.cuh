/*
conv2d backward_data (dgrad), version 7: for filters of 1x1, where each pixel of dx sees one of dy: a GEMM of dy as it lies.

Math      dx[m,c] = bias[c] + sum over k of dy[m,k] * weight[k,c] for pixel m = (n,h,w)
Memory    dy: N,H,W,K   weight: K,C   dx: N,H,W,C    (rightmost index contiguous, dy and dx with a pitch: a row of the matrix)
Threads   gemm/gemm_7_double_buffered.cuh: 16-byte copies of dy along k and of weight along c, the next tiles in flight, and no
          index taken apart in its loop
Limit     as forward_7_pointwise.cuh: with K of 64 a block barely begins before it ends
Next      backward_data_8_parity.cuh, for strides
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_7_double_buffered.cuh"
#include "pointwise.h"

namespace pycnn {

template <class T>
const char* supports_backward_data7(const ConvShape& sh, const Request&, Plan&) {
  return pointwise_only(sh);
}

template <class T>
void conv2d_backward_data7(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  const Matrix<const T> a{dy.as<const T>(), dy.pitch, 1}, b{weight.as<const T>(), sh.C, 1};
  const Matrix<T> c{dx.as<T>(), dx.pitch, 1};
  gemm7(a, b, bias.as<const T>(), c, GemmShape{sh.gemm_m(), sh.C, sh.K, 0, 0, sh.accumulate, 0});
}

REGISTER_VERSION(Conv2dBackwardData, pointwise, 7, "1x1 filters: dy is the matrix, a GEMM", supports_backward_data7<STORAGE>,
                 conv2d_backward_data7<STORAGE>);

}  // namespace pycnn
