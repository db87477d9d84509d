/*
conv2d backward_weight (wgrad), version 6: groups of few channels, 4 channels of a tap and a piece of the pixels a thread.

Math      partial[piece,k,r,s,c] = sum over the lines (n,p) of a piece and all q of
          dy[n,p,q,k] * x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c0+c], where the group of k starts at c0;
          dweight[k,r,s,c] = the sum of the pieces, first to last
Memory    dy: N,P,Q,K   x: N,H,W,C   (dy and x with a pitch)   dweight: K,R,S,C/groups in the accumulator type
          partial: pieces,K,R,S,C/groups in the workspace
Threads   4 weights each, of neighbouring channels c: a value of dy is read once for them. c is fastest, then s: a warp reads
          the channels of a group at neighbouring pixels. The cut follows from the shape alone, nothing is atomic
Limit     4 products for 5 loads, which L1 serves: with 16 channels a group and more, a matrix product reuses more
Next      -
Storage   float half bfloat16 double
*/
#include "grouped.h"
#include "line_pieces.h"

namespace pycnn {

template <class T>
__global__ void conv2d_backward_weight_kernel6(const T* dy, int64_t dy_pitch, const T* x, int64_t x_pitch,
                                               Accumulator<T>* partial, ConvShape sh, LinePieces pieces) {
  using A = Accumulator<T>;
  const int64_t C = sh.group_C(), parts = ceil_div(C, kRun), i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= pieces.count * sh.K * sh.R * sh.S * parts) return;
  const int64_t c = i % parts * kRun, tap = i / parts % (sh.R * sh.S), k = i / (parts * sh.R * sh.S) % sh.K,
                piece = i / (parts * sh.R * sh.S * sh.K);
  const int r = int(tap / sh.S), s = int(tap % sh.S), channels = int(C - c < kRun ? C - c : kRun);
  dy += k;
  x += k / sh.group_K() * C + c;

  A sum[kRun] = {};
  for (int64_t line = pieces.begin(piece); line < pieces.begin(piece + 1); line++) {
    const int64_t h = line % sh.P * sh.stride_h - sh.pad_h + r * sh.dilation_h;
    if (h < 0 || h >= sh.H) continue;  // padding contributes zero
    const T* x_line = x + (line / sh.P * sh.H + h) * sh.W * x_pitch;
    for (int q = 0; q < sh.Q; q++) {
      const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
      if (w < 0 || w >= sh.W) continue;
      const A gradient = A(dy[(line * sh.Q + q) * dy_pitch]);
      UNROLLED for (int j = 0; j < kRun; j++) {
        if (j < channels) sum[j] += gradient * A(x_line[w * x_pitch + j]);
      }
    }
  }
  partial += ((piece * sh.K + k) * sh.R * sh.S + tap) * C + c;
  UNROLLED for (int j = 0; j < kRun; j++) {
    if (j < channels) partial[j] = sum[j];
  }
}

template <class T>
void conv2d_backward_weight6(const Plan& plan, Array dy, Array x, Array dweight) {
  using A = Accumulator<T>;
  const auto& sh = plan.problem<ConvShape>();
  const LinePieces pieces(sh);
  A* partial = plan.workspace_as<A>();
  const int block = 128;
  const int64_t threads = pieces.count * sh.K * sh.R * sh.S * ceil_div(sh.group_C(), kRun);
  launch<conv2d_backward_weight_kernel6<T>>({grid_size(ceil_div(threads, block)), block}, dy.as<const T>(), dy.pitch,
                                            x.as<const T>(), x.pitch, partial, sh, pieces);
  add_line_pieces(partial, pieces, dweight.as<A>(), sh.K * sh.gemm_k(), 1, sh.accumulate != 0);
}

template <class T>
const char* supports_backward_weight6(const ConvShape& sh, const Request& request, Plan& plan) {
  plan.workspace = LinePieces(sh).workspace<T>(sh);
  return supports_grouped(sh, request, plan);
}

REGISTER_VERSION(Conv2dBackwardWeight, grouped, 6, "4 channels of one tap of a filter and a piece of the pixels a thread",
                 supports_backward_weight6<STORAGE>, conv2d_backward_weight6<STORAGE>);

}  // namespace pycnn
