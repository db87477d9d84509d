/*
conv2d forward (fprop), version 3: as 2, but a block gathers its tile of the column matrix straight from the image.

Math      y[m,k] = bias[k] + sum over (r,s,c) of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[k, (r,s,c)]
          for output pixel m = (n,p,q), in steps of BK along (r,s,c)
Memory    x: N,H,W,C   weight: K,R,S,C/groups   y: N,P,Q,K    (rightmost index contiguous, x and y with a pitch)
          shared: x_tile BK,BM and weight_tile BK,BN; where each of the BM pixels has its first tap
Threads   a block computes BM pixels x BN filters of one group, a thread TM x TN of them in registers. A thread copies the same
          (r,s,c) of every pixel, so it is taken apart once per step; neighbours copy neighbouring c
Limit     4 bytes a copy, and all threads wait for the copies
Next      16-byte copies where C allows, double buffering (gemm_7_double_buffered.cuh shows both), tensor cores
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/register_tile.h"
#include "conv2d.h"

namespace pycnn {

template <int BM, int BN, int BK, int TM, int TN, class T>
__global__ void conv2d_forward_kernel3(const T* x, int64_t x_pitch, const T* weight, const T* bias, T* y, int64_t y_pitch,
                                       ConvShape sh) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN);
  static_assert(threads % BK == 0, "a thread copies the same (r,s,c) of every pixel");
  SHARED(A, x_tile, BK, BM + 4);  // 4 more, so that neighbours in (r,s,c) lie in different banks
  SHARED(A, weight_tile, BK, BN + 4);
  SHARED(int64_t, image, BM);  // the first pixel of pixel m's image
  SHARED(int, first_h, BM);    // where its first tap lies
  SHARED(int, first_w, BM);

  const int64_t M = sh.gemm_m(), K = sh.group_K(), tiles_n = ceil_div(K, BN), tiles_m = ceil_div(M, BM);
  const int64_t n0 = blockIdx.x % tiles_n * BN, m0 = blockIdx.x / tiles_n % tiles_m * BM,
                group = blockIdx.x / (tiles_n * tiles_m);
  const int C = int(sh.group_C()), S = int(sh.S), taps_C = int(sh.gemm_k());
  const int H = int(sh.H), W = int(sh.W), dilation_h = int(sh.dilation_h), dilation_w = int(sh.dilation_w);
  x += group * C;
  weight += (group * K + n0) * taps_C;
  const int filters = int(K - n0 < BN ? K - n0 : BN);

  for (int i = threadIdx.x; i < BM; i += threads) {
    const int64_t m = m0 + i < M ? m0 + i : M - 1;  // rows past the last pixel are computed and not stored
    const int64_t q = m % sh.Q, p = m / sh.Q % sh.P, n = m / (sh.Q * sh.P);
    image[i] = n * sh.H * sh.W;
    first_h[i] = int(p * sh.stride_h - sh.pad_h);
    first_w[i] = int(q * sh.stride_w - sh.pad_w);
  }
  __syncthreads();

  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;
  const int tile_k = threadIdx.x % BK;  // which (r,s,c) of each step this thread copies
  A sum[TM][TN] = {};
  for (int k0 = 0; k0 < taps_C; k0 += BK) {
    const int rsc = k0 + tile_k, c = rsc % C, s = rsc / C % S, r = rsc / (C * S);
    for (int i = threadIdx.x / BK; i < BM; i += threads / BK) {
      const int h = first_h[i] + r * dilation_h, w = first_w[i] + s * dilation_w;
      const bool inside = rsc < taps_C && h >= 0 && h < H && w >= 0 && w < W;
      x_tile[tile_k][i] = inside ? A(x[(image[i] + int64_t(h) * W + w) * x_pitch + c]) : A(0);
    }
    for (int i = threadIdx.x / BK; i < BN; i += threads / BK) {
      weight_tile[tile_k][i] = rsc < taps_C && i < filters ? A(weight[int64_t(i) * taps_C + rsc]) : A(0);
    }
    __syncthreads();
    multiply_tiles<BK>(x_tile, weight_tile, row, column, sum);
    __syncthreads();
  }

  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      const int64_t m = m0 + row + i, filter = group * K + n0 + column + j;
      if (m >= M || column + j >= filters) continue;
      if (bias) sum[i][j] += A(bias[filter]);
      T& out = y[m * y_pitch + filter];
      out = T(sh.accumulate ? A(out) + sum[i][j] : sum[i][j]);
    }
  }
}

template <int BM, int BN, int BK, int TM, int TN, class T>
void conv2d_forward3_tiled(Array x, Array weight, Array bias, Array y, const ConvShape& sh) {
  const int64_t blocks = ceil_div(sh.gemm_m(), BM) * ceil_div(sh.group_K(), BN) * sh.groups;
  launch<conv2d_forward_kernel3<BM, BN, BK, TM, TN, T>>({grid_size(blocks), BM / TM * (BN / TN)}, x.as<const T>(), x.pitch,
                                                        weight.as<const T>(), bias.as<const T>(), y.as<T>(), y.pitch, sh);
}

template <class T>
void conv2d_forward3(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  const auto& sh = plan.problem<ConvShape>();
  if (sh.group_K() <= 16) conv2d_forward3_tiled<128, 16, 16, 4, 8, T>(x, weight, bias, y, sh);
  else conv2d_forward3_tiled<128, 64, 16, 8, 8, T>(x, weight, bias, y, sh);
}

REGISTER_VERSION(Conv2dForward, implicit_gemm, 3, "a GEMM whose blocks gather the column matrix from the image",
                 supports_all<ConvShape>, conv2d_forward3<STORAGE>);

}  // namespace pycnn
