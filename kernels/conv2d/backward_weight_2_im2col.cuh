/*
conv2d backward_weight (wgrad), version 2: the column matrix of the forward pass, then a GEMM whose k are the pixels.

Math      column[m, (r,s,c)] as in forward_2_im2col.cuh;  dweight[k, (r,s,c)] = sum over m of dy[m,k] * column[m, (r,s,c)]
Memory    dy: N,P,Q,K   x: N,H,W,C   dweight: K,R,S,C/groups in the accumulator type    (dy and x with a pitch)
          workspace: rows,R,S,C/groups of the column matrix, as many rows at a time as fit, and the partial sums of the GEMM
Threads   im2col; then gemm/gemm_8_split_k.cuh, since dweight has few tiles and the pixels are many. The pixels are cut into
          pieces, the sums of a piece into further ones: by the shape and the workspace limit alone
Limit     each x element is written and read again R*S times
Next      backward_weight_3_implicit_gemm.cuh never writes the column matrix
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_8_split_k.cuh"
#include "forward_2_im2col.cuh"

namespace pycnn {

inline int64_t partial_bytes(int64_t bytes) { return ceil_div(bytes, 64) * 64; }  // the column matrix starts aligned

// config: rows of a piece, and how the GEMM of a piece is cut.
template <class T>
const char* supports_backward_weight2(const ConvShape& sh, const Request& request, Plan& plan) {
  const int64_t K = sh.group_K(), taps_C = sh.gemm_k(), bytes = sizeof(Accumulator<T>);
  const int64_t partial = partial_bytes(most_pieces(K, taps_C, sh.gemm_m()) * K * taps_C * bytes);
  const int64_t rows = column_rows(sh.gemm_m(), taps_C, sizeof(T), request, partial);
  if (rows <= 0 && sh.gemm_m()) return "the partial sums and one row of the column matrix exceed the workspace limit";
  const SplitK split = split_k(K, taps_C, rows);
  plan.config[0] = std::max<int64_t>(rows, 1);
  plan.config[1] = split.length;
  plan.config[2] = split.count;
  plan.workspace = partial + rows * taps_C * int64_t(sizeof(T));
  return nullptr;
}

template <class T>
void conv2d_backward_weight2(const Plan& plan, Array dy, Array x, Array dweight) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ConvShape>();
  const int64_t K = sh.group_K(), taps_C = sh.gemm_k(), piece = plan.config[0];
  const SplitK split{plan.config[1], plan.config[2]};
  A* partial = plan.workspace_as<A>();
  T* column = plan.workspace_as<T>(partial_bytes(split.count * K * taps_C * int64_t(sizeof(A))));
  for (int64_t group = 0; group < sh.groups; group++) {
    for (int64_t first_row = 0; first_row < std::max<int64_t>(sh.gemm_m(), 1); first_row += piece) {
      const int64_t rows = std::min(piece, sh.gemm_m() - first_row);
      im2col(x.as<const T>(), x.pitch, column, first_row, rows, group, sh);
      const Matrix<const T> a{dy.as<const T>() + first_row * dy.pitch + group * K, 1, dy.pitch}, b{column, taps_C, 1};
      multiply_pieces(a, b, partial, GemmShape{K, taps_C, rows, 1, 0, first_row > 0, 1}, split);
    }
    const Matrix<A> c{dweight.as<A>() + group * K * taps_C, taps_C, 1};
    add_pieces(partial, split.count, (const T*)nullptr, c, GemmShape{K, taps_C, sh.gemm_m(), 1, 0, sh.accumulate, 1});
  }
}

REGISTER_VERSION(Conv2dBackwardWeight, im2col, 2, "the image written out as a matrix, then a GEMM over all pixels",
                 supports_backward_weight2<STORAGE>, conv2d_backward_weight2<STORAGE>);

}  // namespace pycnn
