/*
conv2d backward_weight (wgrad), version 3: as 2, but a block gathers its tile of the column matrix straight from the image.

Math      partial[piece, k, (r,s,c)] = sum over the pixels m = (n,p,q) of a piece of
          dy[m,k] * x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c], in steps of BK along m;
          dweight = the sum of the pieces, first to last
Memory    dy: N,P,Q,K   x: N,H,W,C   dweight: K,R,S,C/groups in the accumulator type    (dy and x with a pitch)
          partial: pieces,K,R,S,C/groups in the workspace; shared: dy_tile BK,BM and x_tile BK,BN, the (r,s,c) of BN columns
Threads   a block computes BM filters x BN of (r,s,c) of one group over one piece of the pixels, a thread TM x TN of them in
          registers. A thread copies for the same pixel of every step, so that is taken apart once; neighbours copy
          neighbouring k of dy and neighbouring c of x. The cut follows from the shape alone, nothing is atomic
Limit     4 bytes a copy, and all threads wait for the copies; x is gathered again for each tap
Next      16-byte copies where C allows, double buffering, tensor cores
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/gemm_8_split_k.cuh"
#include "../gemm/register_tile.h"
#include "conv2d.h"

namespace pycnn {

template <int BM, int BN, int BK, int TM, int TN, class T>
__global__ void conv2d_backward_weight_kernel3(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch,
                                               Accumulator<T>* partial, int64_t length, ConvShape sh) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN), copiers = threads / BK;  // threads that copy for one pixel
  static_assert(threads % BK == 0, "each pixel of a step has the same number of threads that copy for it");
  SHARED(A, dy_tile, BK, BM + 4);
  SHARED(A, x_tile, BK, BN + 4);
  SHARED(int, tap_h, BN);  // where column (r,s,c) lies relative to a pixel's first tap
  SHARED(int, tap_w, BN);
  SHARED(int, channel, BN);

  const int64_t K = sh.group_K(), taps_C = sh.gemm_k(), tiles_n = ceil_div(taps_C, BN), tiles_m = ceil_div(K, BM);
  const int64_t n0 = blockIdx.x % tiles_n * BN, m0 = blockIdx.x / tiles_n % tiles_m * BM,
                group = blockIdx.x / (tiles_n * tiles_m);
  const int64_t begin = blockIdx.y * length, end = begin + length < sh.gemm_m() ? begin + length : sh.gemm_m();
  const int C = int(sh.group_C()), S = int(sh.S), H = int(sh.H), W = int(sh.W);
  const int filters = int(K - m0 < BM ? K - m0 : BM), columns = int(taps_C - n0 < BN ? taps_C - n0 : BN);
  dy += group * K + m0;
  x += group * C;
  partial += (blockIdx.y * sh.K + group * K + m0) * taps_C + n0;

  for (int j = threadIdx.x; j < BN; j += threads) {
    const int rsc = int(n0) + (j < columns ? j : 0);
    channel[j] = rsc % C;
    tap_w[j] = rsc / C % S * int(sh.dilation_w);
    tap_h[j] = rsc / (C * S) * int(sh.dilation_h);
  }
  __syncthreads();

  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;
  const int tile_k = threadIdx.x / copiers;  // which pixel of each step this thread copies for
  A sum[TM][TN] = {};
  for (int64_t k0 = begin; k0 < end; k0 += BK) {
    const bool valid = k0 + tile_k < end;
    const int64_t m = valid ? k0 + tile_k : begin, q = m % sh.Q, p = m / sh.Q % sh.P, n = m / (sh.Q * sh.P);
    const int first_h = int(p * sh.stride_h - sh.pad_h), first_w = int(q * sh.stride_w - sh.pad_w);
    const T* dy_pixel = dy + m * dy_pitch;
    const T* x_image = x + n * H * W * x_pitch;
    for (int i = threadIdx.x % copiers; i < BM; i += copiers) {
      dy_tile[tile_k][i] = valid && i < filters ? A(dy_pixel[i]) : A(0);
    }
    for (int j = threadIdx.x % copiers; j < BN; j += copiers) {
      const int h = first_h + tap_h[j], w = first_w + tap_w[j];
      const bool inside = valid && h >= 0 && h < H && w >= 0 && w < W;
      x_tile[tile_k][j] = inside ? A(x_image[(int64_t(h) * W + w) * x_pitch + channel[j]]) : A(0);
    }
    __syncthreads();
    multiply_tiles<BK>(dy_tile, x_tile, row, column, sum);
    __syncthreads();
  }

  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      if (row + i < filters && column + j < columns) partial[(row + i) * taps_C + column + j] = sum[i][j];
    }
  }
}

// config: pixels of a piece, pieces.
template <class T>
const char* supports_backward_weight3(const ConvShape& sh, const Request&, Plan& plan) {
  const SplitK split = split_k(sh.K, sh.gemm_k(), sh.gemm_m());
  plan.config[0] = split.length;
  plan.config[1] = split.count;
  plan.workspace = split.count * sh.K * sh.gemm_k() * int64_t(sizeof(Accumulator<T>));
  return nullptr;
}

template <int BM, int BN, int BK, int TM, int TN, class T>
void conv2d_backward_weight3_tiled(const Plan& plan, Array dy, Array x) {
  const auto& sh = plan.problem<ConvShape>();
  const int64_t tiles = ceil_div(sh.group_K(), BM) * ceil_div(sh.gemm_k(), BN) * sh.groups;
  launch<conv2d_backward_weight_kernel3<BM, BN, BK, TM, TN, T>>(
      {{grid_size(tiles), unsigned(plan.config[1])}, BM / TM * (BN / TN)}, dy.as<const T>(), dy.pitch, x.as<const T>(), x.pitch,
      plan.workspace_as<Accumulator<T>>(), plan.config[0], sh);
}

template <class T>
void conv2d_backward_weight3(const Plan& plan, Array dy, Array x, Array dweight) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ConvShape>();
  if (sh.group_K() <= 16) conv2d_backward_weight3_tiled<16, 64, 16, 4, 8, T>(plan, dy, x);
  else conv2d_backward_weight3_tiled<64, 64, 16, 8, 8, T>(plan, dy, x);
  const Matrix<A> c{dweight.as<A>(), sh.gemm_k(), 1};
  add_pieces(plan.workspace_as<A>(), plan.config[1], (const T*)nullptr, c,
             GemmShape{sh.K, sh.gemm_k(), 0, 0, 0, sh.accumulate, 1});
}

REGISTER_VERSION(Conv2dBackwardWeight, implicit_gemm, 3, "a GEMM over all pixels whose blocks gather from the image",
                 supports_backward_weight3<STORAGE>, conv2d_backward_weight3<STORAGE>);

}  // namespace pycnn
