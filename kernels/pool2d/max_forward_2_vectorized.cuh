/*
max_pool2d forward, version 2: a thread takes 16 bytes of channels and a run of outputs, where version 1 takes one element.

Math      y[n,p,q,c] = max over r,s of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c],  argmax = its r*S+s
Memory    x: N,H,W,C   y, argmax: N,P,Q,C   (c contiguous)
Threads   V channels of up to 4 outputs next to each other, c fastest: a warp reads 512 contiguous bytes; the columns that
          neighboring windows share come from L1. Taps in the padding are cut off before the loops
Limit     memory: x is read once, y and argmax are written once
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "../common/wide.h"
#include "pool2d.h"

namespace pycnn {

// The taps r with 0 <= start + r * dilation < size.
struct TapRange {
  int begin, end;
  __device__ TapRange(int start, int taps, int dilation, int size) : begin(first_tap(start, dilation)) {
    const int inside = (size - start + dilation - 1) / dilation;
    end = inside < taps ? inside : taps;
  }
};

template <class T, int kMaxV>
__global__ void max_pool2d_forward_kernel2(const T* x, T* y, uint8_t* argmax, PoolShape sh, int64_t x_pitch, int64_t y_pitch,
                                           RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int S = int(sh.S), dilation_h = int(sh.dilation_h), dilation_w = int(sh.dilation_w);
  const int h0 = int(part.row % sh.P * sh.stride_h - sh.pad_h);
  const TapRange rows(h0, int(sh.R), dilation_h, int(sh.H));
  const int64_t row_step = dilation_h * sh.W * x_pitch, step = dilation_w * x_pitch;
  const T* first_row = x + (part.row / sh.P * sh.H + h0 + rows.begin * dilation_h) * sh.W * x_pitch;

  for (int q = part.begin; q < part.end; q++) {
    const int w0 = q * int(sh.stride_w) - int(sh.pad_w);
    const TapRange columns(w0, S, dilation_w, int(sh.W));
    const T* corner = first_row + (w0 + columns.begin * dilation_w) * x_pitch;  // the first tap that is no padding
    const int64_t pixel = part.row * sh.Q + q;

    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      auto best = wide<V>(A(-INFINITY));
      auto tap = wide<V>(A(rows.begin * S + columns.begin));  // as wide as the value: one comparison selects both
      const T* row = corner + c;
      for (int r = rows.begin; r < rows.end; r++, row += row_step) {
        const T* p = row;
        for (int s = columns.begin; s < columns.end; s++, p += step) {
          const auto value = load_wide<A, V>(p);
          const auto larger = (value > best) | (value != value);
          best = where(larger, value, best);
          tap = where(larger, wide<V>(A(r * S + s)), tap);
        }
      }
      store_wide<A, V>(best, y + pixel * y_pitch + c);
      if (argmax) store_wide<A, V>(tap, argmax + pixel * sh.C + c);
    });
  }
}

template <class T>
void max_pool2d_forward2(const Plan& plan, Array x, Array y, Array argmax) {
  const auto& sh = plan.problem<PoolShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowParts parts(sh.N * sh.P, sh.Q, sh.C, V);
    launch<max_pool2d_forward_kernel2<T, V>>(parts.geometry(), x.as<const T>(), y.as<T>(), argmax.as<uint8_t>(), sh, x.pitch,
                                             y.pitch, parts);
  });
}

REGISTER_VERSION(MaxPool2dForward, vectorized, 2, "16 bytes of channels and a run of outputs a thread",
                 (supports_vectorized<STORAGE, PoolShape>), max_pool2d_forward2<STORAGE>);

}  // namespace pycnn
