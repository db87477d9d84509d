/*
conv2d backward_weight (wgrad), version 4: depthwise, as 1 with the pixels cut into pieces.

Math      partial[piece,r,s,k] = sum over the lines (n,p) of a piece and all q of
          dy[n,p,q,k] * x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c]  with the one channel c = k / (K/C);
          dweight[k,r,s] = the sum of the pieces, first to last
Memory    dy: N,P,Q,K   x: N,H,W,C   dweight: K,R,S in the accumulator type    (dy and x with a pitch)
          partial: pieces,R,S,K in the workspace
Threads   one weight and piece each, k fastest: a warp reads 32 neighbouring channels of dy and x. Then one thread per
          weight adds up its pieces. The cut follows from the shape alone, nothing is atomic
Limit     dy is read again for each of the R*S taps, and x likewise
Next      backward_weight_5_depthwise_strips.cuh
Storage   float half bfloat16 double
*/
#pragma once
#include "depthwise.h"

namespace pycnn {

template <class T>
__global__ void conv2d_backward_weight_kernel4(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch,
                                               Accumulator<T>* partial, ConvShape sh, LinePieces pieces) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= pieces.count * sh.R * sh.S * sh.K) return;
  const int64_t k = i % sh.K, s = i / sh.K % sh.S, r = i / (sh.K * sh.S) % sh.R, piece = i / (sh.K * sh.S * sh.R);
  const T* channel = x + k / sh.group_K();

  A sum = 0;
  for (int64_t line = pieces.begin(piece); line < pieces.begin(piece + 1); line++) {
    const int64_t n = line / sh.P, h = line % sh.P * sh.stride_h - sh.pad_h + r * sh.dilation_h;
    if (h < 0 || h >= sh.H) continue;  // padding contributes zero
    for (int64_t q = 0; q < sh.Q; q++) {
      const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
      if (w < 0 || w >= sh.W) continue;
      sum += A(dy[(line * sh.Q + q) * dy_pitch + k]) * A(channel[((n * sh.H + h) * sh.W + w) * x_pitch]);
    }
  }
  partial[i] = sum;
}

template <class T>
void conv2d_backward_weight4(const Plan& plan, Array dy, Array x, Array dweight) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ConvShape>();
  const LinePieces pieces(sh);
  A* partial = plan.workspace_as<A>();
  const int block = 256;
  launch<conv2d_backward_weight_kernel4<T>>({grid_size(ceil_div(pieces.count * sh.R * sh.S * sh.K, block)), block},
                                            dy.as<const T>(), dy.pitch, x.as<const T>(), x.pitch, partial, sh, pieces);
  add_line_pieces(partial, pieces, dweight.as<A>(), sh.K, sh.R * sh.S, sh.accumulate != 0);
}

REGISTER_VERSION(Conv2dBackwardWeight, depthwise, 4, "one thread per weight and piece of the pixels",
                 supports_depthwise_pieces<STORAGE>, conv2d_backward_weight4<STORAGE>);

}  // namespace pycnn
