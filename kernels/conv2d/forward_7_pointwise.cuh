/*
conv2d forward (fprop), version 7: for filters of 1x1. What version 2 writes out is the image as it lies: only the GEMM is left.

Math      y[m,k] = bias[k] + sum over c of x[m,c] * weight[k,c] for pixel m = (n,h,w)
Memory    x: N,H,W,C   weight: K,C   y: N,H,W,K    (rightmost index contiguous, x and y with a pitch: a row of the matrix)
Threads   gemm/gemm_7_double_buffered.cuh: 16-byte copies of both operands along c, the next tiles in flight, and no index taken
          apart in its loop. weight is stored transposed, as there
Limit     C of 64 are four steps of a tile: a block barely begins before it ends, and what remains is memory traffic
Next      backward_data_7_pointwise.cuh
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_7_double_buffered.cuh"
#include "pointwise.h"

namespace pycnn {

template <class T>
const char* supports_forward7(const ConvShape& sh, const Request&, Plan&) {
  return pointwise_only(sh);
}

template <class T>
void conv2d_forward7(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  const Matrix<const T> a{x.as<const T>(), x.pitch, 1}, b{weight.as<const T>(), 1, sh.C};
  const Matrix<T> c{y.as<T>(), y.pitch, 1};
  gemm7(a, b, bias.as<const T>(), c, GemmShape{sh.gemm_m(), sh.K, sh.C, 0, 1, sh.accumulate, 0});
}

REGISTER_VERSION(Conv2dForward, pointwise, 7, "1x1 filters: the image is the matrix, a GEMM", supports_forward7<STORAGE>,
                 conv2d_forward7<STORAGE>);

}  // namespace pycnn
