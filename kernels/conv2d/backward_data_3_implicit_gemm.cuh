/*
conv2d backward_data (dgrad), version 3: as 2, but the sums over r, s and k are one product, gathered straight from dy.

Math      dx[m,c] = bias[c] + sum over (r,s,k) of dy[n,p,q,k] * weight[k,r,s,c] for input pixel m = (n,h,w), 0 where
          p = (h+pad-r*dilation)/stride or q = (w+pad-s*dilation)/stride is not whole or outside y; in steps of BK along (r,s,k)
Memory    dy: N,P,Q,K   weight: K,R,S,C/groups   dx: N,H,W,C    (rightmost index contiguous, dy and dx with a pitch)
          shared: dy_tile BK,BM and weight_tile BK,BN; where each of the BM pixels lies
Threads   a block computes BM pixels x BN channels of one group, a thread TM x TN of them in registers. A thread copies the same
          (r,s,k) of every pixel; neighbours copy neighbouring k of dy and neighbouring c of the weights
Limit     with stride 2 three of four products are with zeros; 4 bytes a copy, and all threads wait for the copies
Next      backward_data_8_parity.cuh: one product per class of pixels (h mod stride, w mod stride) has no zeros
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/register_tile.h"
#include "conv2d.h"

namespace pycnn {

template <int BM, int BN, int BK, int TM, int TN, class T>
__global__ void conv2d_backward_data_kernel3(const T* dy, int64_t dy_pitch, const T* weight, const T* bias, T* dx,
                                             int64_t dx_pitch, ConvShape sh) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN);
  static_assert(threads % BK == 0, "a thread copies the same (r,s,k) of every pixel");
  SHARED(A, dy_tile, BK, BM + 4);  // 4 more, so that neighbours in (r,s,k) lie in different banks
  SHARED(A, weight_tile, BK, BN + 4);
  SHARED(int64_t, image, BM);  // the first pixel of dy in pixel m's image
  SHARED(int, padded_h, BM);   // where it lies in the padded image
  SHARED(int, padded_w, BM);

  const int64_t M = sh.N * sh.H * sh.W, C = sh.group_C(), tiles_n = ceil_div(C, BN), tiles_m = ceil_div(M, BM);
  const int64_t n0 = blockIdx.x % tiles_n * BN, m0 = blockIdx.x / tiles_n % tiles_m * BM,
                group = blockIdx.x / (tiles_n * tiles_m);
  const int K = int(sh.group_K()), R = int(sh.R), S = int(sh.S), P = int(sh.P), Q = int(sh.Q), taps_K = R * S * K;
  const int stride_h = int(sh.stride_h), stride_w = int(sh.stride_w);
  const int dilation_h = int(sh.dilation_h), dilation_w = int(sh.dilation_w);
  dy += group * K;
  weight += group * K * R * S * C + n0;
  const int channels = int(C - n0 < BN ? C - n0 : BN);

  for (int i = threadIdx.x; i < BM; i += threads) {
    const int64_t m = m0 + i < M ? m0 + i : M - 1;  // rows past the last pixel are computed and not stored
    const int64_t w = m % sh.W, h = m / sh.W % sh.H, n = m / (sh.W * sh.H);
    image[i] = n * sh.P * sh.Q;
    padded_h[i] = int(h + sh.pad_h);
    padded_w[i] = int(w + sh.pad_w);
  }
  __syncthreads();

  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;
  const int tile_k = threadIdx.x % BK;  // which (r,s,k) of each step this thread copies from dy
  A sum[TM][TN] = {};
  for (int k0 = 0; k0 < taps_K; k0 += BK) {
    const int rsk = k0 + tile_k, filter = rsk % K, s = rsk / K % S, r = rsk / (K * S);
    for (int i = threadIdx.x / BK; i < BM; i += threads / BK) {
      const int h = padded_h[i] - r * dilation_h, w = padded_w[i] - s * dilation_w;
      const int p = stride_h == 1 ? h : h / stride_h, q = stride_w == 1 ? w : w / stride_w;
      const bool inside = rsk < taps_K && h >= 0 && w >= 0 && p < P && q < Q && p * stride_h == h && q * stride_w == w;
      dy_tile[tile_k][i] = inside ? A(dy[(image[i] + int64_t(p) * Q + q) * dy_pitch + filter]) : A(0);
    }
    for (int i = threadIdx.x; i < BK * BN; i += threads) {
      const int rsk = k0 + i / BN, c = i % BN;
      const int64_t tap = int64_t(rsk % K) * R * S + rsk / K;
      weight_tile[i / BN][c] = rsk < taps_K && c < channels ? A(weight[tap * C + c]) : A(0);
    }
    __syncthreads();
    multiply_tiles<BK>(dy_tile, weight_tile, row, column, sum);
    __syncthreads();
  }

  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      const int64_t m = m0 + row + i, channel = group * C + n0 + column + j;
      if (m >= M || column + j >= channels) continue;
      if (bias) sum[i][j] += A(bias[channel]);
      T& out = dx[m * dx_pitch + channel];
      out = T(sh.accumulate ? A(out) + sum[i][j] : sum[i][j]);
    }
  }
}

template <int BM, int BN, int BK, int TM, int TN, class T>
void conv2d_backward_data3_tiled(Array dy, Array weight, Array bias, Array dx, const ConvShape& sh) {
  const int64_t blocks = ceil_div(sh.N * sh.H * sh.W, BM) * ceil_div(sh.group_C(), BN) * sh.groups;
  launch<conv2d_backward_data_kernel3<BM, BN, BK, TM, TN, T>>({grid_size(blocks), BM / TM * (BN / TN)}, dy.as<const T>(),
                                                              dy.pitch, weight.as<const T>(), bias.as<const T>(), dx.as<T>(),
                                                              dx.pitch, sh);
}

template <class T>
void conv2d_backward_data3(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  if (sh.group_C() <= 16) conv2d_backward_data3_tiled<128, 16, 16, 4, 8, T>(dy, weight, bias, dx, sh);
  else conv2d_backward_data3_tiled<128, 64, 16, 8, 8, T>(dy, weight, bias, dx, sh);
}

REGISTER_VERSION(Conv2dBackwardData, implicit_gemm, 3, "a GEMM whose blocks gather from dy", supports_all<ConvShape>,
                 conv2d_backward_data3<STORAGE>);

}  // namespace pycnn
