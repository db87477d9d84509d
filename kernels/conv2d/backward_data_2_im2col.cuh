/*
conv2d backward_data (dgrad), version 2: a GEMM makes the gradient of the column matrix, col2im adds it up per pixel.

Math      column[m, (r,s,c)] = sum over k of dy[m,k] * weight[k, (r,s,c)] for output pixel m = (n,p,q);
          dx[n,h,w,c] = bias[c] + sum over those r,s for which p = (h+pad-r*dilation)/stride and q = (w+pad-s*dilation)/stride are
          whole and inside y of column[(n,p,q), (r,s,c)]
Memory    dy: N,P,Q,K   weight: K,R,S,C/groups   dx: N,H,W,C    (rightmost index contiguous, dy and dx with a pitch)
          column: rows,R,S,C/groups in the workspace, in the accumulator type: the rows that a band of dx needs, so that
          each dx element is summed at once, in the same order however the bands are cut
Threads   gemm/gemm_7_double_buffered.cuh; then col2im: one dx element each, c fastest, gathering, so nothing is atomic
Limit     the column matrix is R*S times as large as dx, written once and read once
Next      backward_data_3_implicit_gemm.cuh never writes it
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_7_double_buffered.cuh"
#include "im2col.h"

namespace pycnn {

// Rows first_h to end_h of the images first_n to end_n of dx, from a column matrix that begins at row first_row.
struct Band {
  int64_t first_n, end_n, first_h, end_h, first_row, rows;
};

template <class T>
__global__ void col2im_kernel(const Accumulator<T>* column, const T* bias, T* dx, int64_t dx_pitch, int64_t group, Band band,
                              ConvShape sh) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t C = sh.group_C(), heights = band.end_h - band.first_h;
  if (i >= (band.end_n - band.first_n) * heights * sh.W * C) return;
  const int64_t c = i % C, w = i / C % sh.W, h = band.first_h + i / (C * sh.W) % heights;
  const int64_t n = band.first_n + i / (C * sh.W * heights);

  A sum = 0;
  for (int64_t r = 0; r < sh.R; r++) {
    const int64_t p_stride = h + sh.pad_h - r * sh.dilation_h;  // p times the stride
    if (p_stride < 0 || p_stride % sh.stride_h || p_stride / sh.stride_h >= sh.P) continue;
    for (int64_t s = 0; s < sh.S; s++) {
      const int64_t q_stride = w + sh.pad_w - s * sh.dilation_w;
      if (q_stride < 0 || q_stride % sh.stride_w || q_stride / sh.stride_w >= sh.Q) continue;
      const int64_t m = (n * sh.P + p_stride / sh.stride_h) * sh.Q + q_stride / sh.stride_w;
      sum += column[(((m - band.first_row) * sh.R + r) * sh.S + s) * C + c];
    }
  }
  if (bias) sum += A(bias[group * C + c]);
  T& out = dx[((n * sh.H + h) * sh.W + w) * dx_pitch + group * C + c];
  out = T(sh.accumulate ? A(out) + sum : sum);
}

// The rows of the column matrix that the heights first_h to end_h of images first_n to end_n depend on.
inline Band column_band(const ConvShape& sh, int64_t first_n, int64_t end_n, int64_t first_h, int64_t end_h) {
  int64_t first_p = 0, end_p = sh.P;
  if (first_h > 0 || end_h < sh.H) {
    const int64_t reach = (sh.R - 1) * sh.dilation_h;
    first_p = std::min(sh.P, ceil_div(std::max<int64_t>(first_h + sh.pad_h - reach, 0), sh.stride_h));
    end_p = std::max(first_p, std::min(sh.P, (end_h - 1 + sh.pad_h) / sh.stride_h + 1));
  }
  const int64_t first_row = (first_n * sh.P + first_p) * sh.Q;
  return {first_n, end_n, first_h, end_h, first_row, ((end_n - 1) * sh.P + end_p) * sh.Q - first_row};
}

// config: images and heights of a band.
template <class T>
const char* supports_backward_data2(const ConvShape& sh, const Request& request, Plan& plan) {
  const int64_t bytes = sizeof(Accumulator<T>), image = sh.P * sh.Q;
  const int64_t rows = column_rows(sh.gemm_m(), sh.gemm_k(), bytes, request);
  plan.config[0] = 1;
  plan.config[1] = sh.H;
  if (rows >= std::min(image, sh.gemm_m())) {
    plan.config[0] = std::max<int64_t>(1, image ? rows / image : sh.N);
  } else {  // `heights` of dx touch at most ceil((heights + reach) / stride) heights of dy
    plan.config[1] = std::min(sh.H, rows / sh.Q * sh.stride_h - (sh.R - 1) * sh.dilation_h);
    if (plan.config[1] <= 0) return "the rows of the column matrix that one row of dx depends on exceed the workspace limit";
  }
  plan.workspace = rows * sh.gemm_k() * bytes;
  return nullptr;
}

template <class T>
void conv2d_backward_data2(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  const int64_t K = sh.group_K(), taps_C = sh.gemm_k(), images = plan.config[0], heights = plan.config[1], block = 256;
  auto* column = plan.workspace_as<Accumulator<T>>();
  for (int64_t group = 0; group < sh.groups; group++) {
    for (int64_t n = 0; n < sh.N; n += images) {
      for (int64_t h = 0; h < sh.H; h += heights) {
        const Band band = column_band(sh, n, std::min(n + images, sh.N), h, std::min(h + heights, sh.H));
        const Matrix<const T> a{dy.as<const T>() + band.first_row * dy.pitch + group * K, dy.pitch, 1};
        const Matrix<const T> b{weight.as<const T>() + group * K * taps_C, taps_C, 1};
        const Matrix<Accumulator<T>> c{column, taps_C, 1};
        gemm7(a, b, (const T*)nullptr, c, GemmShape{band.rows, taps_C, K, 0, 0, 0, 1});
        const int64_t elements = (band.end_n - band.first_n) * (band.end_h - band.first_h) * sh.W * sh.group_C();
        launch<col2im_kernel<T>>({grid_size(ceil_div(elements, block)), unsigned(block)}, column, bias.as<const T>(), dx.as<T>(),
                                 dx.pitch, group, band, sh);
      }
    }
  }
}

REGISTER_VERSION(Conv2dBackwardData, im2col, 2, "a GEMM, then col2im adds up what lies on one pixel",
                 supports_backward_data2<STORAGE>, conv2d_backward_data2<STORAGE>);

}  // namespace pycnn
