/*
conv2d backward_data (dgrad), version 8: as 3, but one product per class of pixels that see the same taps: none is with a zero.

Math      dx[m,c] = bias[c] + sum over (j,l,k) of dy[n, first_p + i - p_step*j, q likewise, k] * weight[k, r_j, s_l, c] for pixel
          m = (n, h = first_h + stride*i, w) of a class; with stride t there are t*t classes, one per (h mod t, w mod t), each
          with its own taps r_j, s_l (dgrad_class.h)
          Products: N*C*K/groups * (sum over the classes of h of pixels * taps) * (sum over those of w of pixels * taps). Each sum
          is about H*R / stride (W*S / stride), so version 3 multiplies stride_h*stride_w times as often
Memory    dy: N,P,Q,K   weight: K,R,S,C/groups   dx: N,H,W,C    (rightmost index contiguous, dy and dx with a pitch)
          shared: dy_tile BK,BM and weight_tile BK,BN; where the BM pixels lie and where each has its first tap
Threads   a block computes BM pixels of one class x BN channels of one group, a thread TM x TN of them in registers. All classes
          are one grid, those of one place side by side, since they read the same dy. A class without taps (1x1 filters under
          a stride) writes bias or 0
Limit     4 bytes a copy, and all threads wait for the copies; classes with more taps take longer
Next      double buffering as in gemm_7_double_buffered.cuh, tensor cores
Storage   float half bfloat16
*/
#pragma once
#include "../gemm/register_tile.h"
#include "conv2d.h"
#include "dgrad_class.h"

namespace pycnn {

// How the blocks of a grid are numbered: channels fastest, then the classes, then the pixels of a class, then the groups.
struct ClassGrid {
  int64_t tiles_n, classes_h, classes_w, tiles_m;

  ClassGrid(const ConvShape& sh, int BM, int BN)
      : tiles_n(ceil_div(sh.group_C(), BN)), classes_h(sh.stride_h < sh.H ? sh.stride_h : sh.H),
        classes_w(sh.stride_w < sh.W ? sh.stride_w : sh.W),
        tiles_m(ceil_div(sh.N * ceil_div(sh.H, sh.stride_h) * ceil_div(sh.W, sh.stride_w), BM)) {}  // of the largest class
};

template <int BM, int BN, int BK, int TM, int TN, class T>
__global__ void conv2d_backward_data_kernel8(const T* dy, int64_t dy_pitch, const T* weight, const T* bias, T* dx,
                                             int64_t dx_pitch, ConvShape sh, ClassGrid grid) {
  using A = Accumulator<T>;
  const int threads = BM / TM * (BN / TN);
  static_assert(threads % BK == 0, "a thread copies the same (j,l,k) of every pixel");
  SHARED(A, dy_tile, BK, BM + 4);  // 4 more, so that neighbours in (j,l,k) lie in different banks
  SHARED(A, weight_tile, BK, BN + 4);
  SHARED(int64_t, pixel, BM);  // where pixel m of the class lies in dx
  SHARED(int64_t, image, BM);  // the first pixel of dy in its image
  SHARED(int, first_p, BM);    // the pixel of dy that its first tap sees
  SHARED(int, first_q, BM);

  int64_t block = blockIdx.x;
  const int64_t n0 = block % grid.tiles_n * BN;
  block /= grid.tiles_n;
  const DgradClass class_w(block % grid.classes_w, sh.stride_w, sh.pad_w, sh.dilation_w, sh.W, sh.S);
  block /= grid.classes_w;
  const DgradClass class_h(block % grid.classes_h, sh.stride_h, sh.pad_h, sh.dilation_h, sh.H, sh.R);
  block /= grid.classes_h;
  const int64_t m0 = block % grid.tiles_m * BM, group = block / grid.tiles_m;
  const int64_t M = sh.N * class_h.pixels * class_w.pixels, C = sh.group_C();
  if (m0 >= M) return;  // a smaller class than the largest

  const int K = int(sh.group_K()), R = int(sh.R), S = int(sh.S), P = int(sh.P), Q = int(sh.Q);
  const int taps_w = int(class_w.taps), depth = int(class_h.taps) * taps_w * K;
  const int step_p = int(class_h.p_step), step_q = int(class_w.p_step);
  dy += group * K;
  weight += group * K * R * S * C + n0;
  const int channels = int(C - n0 < BN ? C - n0 : BN);

  for (int i = threadIdx.x; i < BM; i += threads) {
    const int64_t m = m0 + i < M ? m0 + i : M - 1;  // rows past the last pixel are computed and not stored
    const int64_t w = m % class_w.pixels, h = m / class_w.pixels % class_h.pixels, n = m / (class_w.pixels * class_h.pixels);
    pixel[i] = (n * sh.H + class_h.pixel(h)) * sh.W + class_w.pixel(w);
    image[i] = n * sh.P * sh.Q;
    first_p[i] = int(class_h.first_p + h);
    first_q[i] = int(class_w.first_p + w);
  }
  __syncthreads();

  const int row = threadIdx.x / (BN / TN) * TM, column = threadIdx.x % (BN / TN) * TN;
  const int tile_k = threadIdx.x % BK;  // which (j,l,k) of each step this thread copies from dy
  A sum[TM][TN] = {};
  for (int k0 = 0; k0 < depth; k0 += BK) {
    const int jlk = k0 + tile_k, filter = jlk % K, back_p = jlk / K / taps_w * step_p, back_q = jlk / K % taps_w * step_q;
    for (int i = threadIdx.x / BK; i < BM; i += threads / BK) {
      const int p = first_p[i] - back_p, q = first_q[i] - back_q;
      const bool inside = jlk < depth && p >= 0 && p < P && q >= 0 && q < Q;
      dy_tile[tile_k][i] = inside ? A(dy[(image[i] + int64_t(p) * Q + q) * dy_pitch + filter]) : A(0);
    }
    for (int i = threadIdx.x; i < BK * BN; i += threads) {
      const int jlk = k0 + i / BN, c = i % BN;
      const int64_t r = class_h.tap(jlk / K / taps_w), s = class_w.tap(jlk / K % taps_w);
      const int64_t tap = (jlk % K * int64_t(R) + r) * S + s;
      weight_tile[i / BN][c] = jlk < depth && c < channels ? A(weight[tap * C + c]) : A(0);
    }
    __syncthreads();
    multiply_tiles<BK>(dy_tile, weight_tile, row, column, sum);
    __syncthreads();
  }

  for (int i = 0; i < TM; i++) {
    for (int j = 0; j < TN; j++) {
      const int64_t channel = group * C + n0 + column + j;
      if (m0 + row + i >= M || column + j >= channels) continue;
      if (bias) sum[i][j] += A(bias[channel]);
      T& out = dx[pixel[row + i] * dx_pitch + channel];
      out = T(sh.accumulate ? A(out) + sum[i][j] : sum[i][j]);
    }
  }
}

template <int BM, int BN, int BK, int TM, int TN, class T>
void conv2d_backward_data8_tiled(Array dy, Array weight, Array bias, Array dx, const ConvShape& sh) {
  const ClassGrid grid(sh, BM, BN);
  const int64_t blocks = grid.tiles_n * grid.classes_w * grid.classes_h * grid.tiles_m * sh.groups;
  launch<conv2d_backward_data_kernel8<BM, BN, BK, TM, TN, T>>({grid_size(blocks), BM / TM * (BN / TN)}, dy.as<const T>(),
                                                              dy.pitch, weight.as<const T>(), bias.as<const T>(), dx.as<T>(),
                                                              dx.pitch, sh, grid);
}

template <class T>
void conv2d_backward_data8(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  if (sh.group_C() <= 16) conv2d_backward_data8_tiled<128, 16, 16, 4, 8, T>(dy, weight, bias, dx, sh);
  else conv2d_backward_data8_tiled<128, 64, 16, 8, 8, T>(dy, weight, bias, dx, sh);
}

REGISTER_VERSION(Conv2dBackwardData, parity, 8, "a GEMM per class of pixels modulo the stride: no product with a zero",
                 supports_all<ConvShape>, conv2d_backward_data8<STORAGE>);

}  // namespace pycnn
