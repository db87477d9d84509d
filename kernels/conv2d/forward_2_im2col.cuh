/*
conv2d forward (fprop), version 2: im2col writes out what each output pixel sees as a row of a matrix; a GEMM does the rest.

Math      column[m, (r,s,c)] = x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] for output pixel m = (n,p,q), 0 in
          the padding;  y[m,k] = bias[k] + sum over (r,s,c) of column[m, (r,s,c)] * weight[k, (r,s,c)]
Memory    x: N,H,W,C   weight: K,R,S,C/groups   y: N,P,Q,K    (rightmost index contiguous, x and y with a pitch)
          column: rows,R,S,C/groups in the workspace, for as many rows at a time as fit in it
Threads   im2col: one element of the column matrix each, c fastest; then gemm/gemm_7_double_buffered.cuh
Limit     each x element is written and read again R*S times
Next      forward_3_implicit_gemm.cuh never writes the column matrix
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_7_double_buffered.cuh"
#include "im2col.h"

namespace pycnn {

// Rows first_row and on of one group's column matrix.
template <class T>
__global__ void im2col_kernel(const T* x, int64_t x_pitch, T* column, int64_t first_row, int64_t rows, int64_t group,
                              ConvShape sh) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int C = int(sh.group_C()), S = int(sh.S), taps_C = int(sh.gemm_k());
  if (i >= rows * taps_C) return;
  const int64_t m = first_row + i / taps_C;
  const int rsc = int(i % taps_C), c = rsc % C, s = rsc / C % S, r = rsc / (C * S);
  const int64_t q = m % sh.Q, p = m / sh.Q % sh.P, n = m / (sh.Q * sh.P);
  const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h, w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
  const bool inside = h >= 0 && h < sh.H && w >= 0 && w < sh.W;
  column[i] = inside ? x[((n * sh.H + h) * sh.W + w) * x_pitch + group * C + c] : T(0.f);
}

template <class T>
void im2col(const T* x, int64_t x_pitch, T* column, int64_t first_row, int64_t rows, int64_t group, const ConvShape& sh) {
  const int block = 256;
  launch<im2col_kernel<T>>({grid_size(ceil_div(rows * sh.gemm_k(), block)), block}, x, x_pitch, column, first_row, rows, group,
                           sh);
}

template <class T>
const char* supports_forward2(const ConvShape& sh, const Request& request, Plan& plan) {
  const int64_t rows = column_rows(sh.gemm_m(), sh.gemm_k(), sizeof(T), request);
  if (rows == 0 && sh.gemm_m()) return "one row of the column matrix exceeds the workspace limit";
  plan.config[0] = rows;
  plan.workspace = rows * sh.gemm_k() * int64_t(sizeof(T));
  return nullptr;
}

template <class T>
void conv2d_forward2(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  const int64_t K = sh.group_K(), taps_C = sh.gemm_k(), piece = plan.config[0];
  T* column = plan.workspace_as<T>();
  for (int64_t group = 0; group < sh.groups; group++) {
    for (int64_t first_row = 0; first_row < sh.gemm_m(); first_row += piece) {
      const int64_t rows = std::min(piece, sh.gemm_m() - first_row);
      im2col(x.as<const T>(), x.pitch, column, first_row, rows, group, sh);
      const Matrix<const T> a{column, taps_C, 1}, b{weight.as<const T>() + group * K * taps_C, 1, taps_C};
      const Matrix<T> c{y.as<T>() + first_row * y.pitch + group * K, y.pitch, 1};
      gemm7(a, b, bias ? bias.as<const T>() + group * K : nullptr, c, GemmShape{rows, K, taps_C, 0, 1, sh.accumulate, 0});
    }
  }
}

REGISTER_VERSION(Conv2dForward, im2col, 2, "the image written out as a matrix, then a GEMM", supports_forward2<STORAGE>,
                 conv2d_forward2<STORAGE>);

}  // namespace pycnn
