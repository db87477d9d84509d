/*
avg_pool2d backward, version 3: a thread takes a tile of 2 x 2 pixels, where version 2 takes pixels one by one.

Math      dx[n,h,w,c] = sum over the windows p,q that cover h,w of dy[n,p,q,c] / divisor(p,q);  += when accumulating
Memory    dy: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 tiles next to each other, c fastest. All pixels of a tile meet the same windows (1 for 2 x 2,
          4 for 3 x 3), each read and scaled once for all of them; sums in the order p, q: the same bits every time
Limit     memory where windows do not overlap; else dy is read (window/2)^2 times, mostly from L1 and L2
Next      -
Storage   float half bfloat16 double
*/
#include "tiles.h"

namespace pycnn {

template <class T, int kMaxV, int kWindow>
__global__ void avg_pool2d_backward_kernel3(const T* dy, T* dx, AvgPoolShape sh, int64_t dy_pitch, int64_t dx_pitch,
                                            RowParts parts, int tile_rows) {
  using A = Accumulator<T>;
  constexpr int kWindows = (kWindow - 1) / kTile + 1;  // along an axis that reach into a tile
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int a = int(part.row % tile_rows), P = int(sh.P), Q = int(sh.Q);
  const int64_t n = part.row / tile_rows;

  for (int b = part.begin; b < part.end; b++) {
    const T* gradient_of[kWindows][kWindows];  // nullptr where there is no window
    A scale_of[kWindows][kWindows];
    UNROLLED for (int k = 0; k < kWindows; k++) {
      UNROLLED for (int l = 0; l < kWindows; l++) {
        const bool exists = a >= k && a - k < P && b >= l && b - l < Q;
        const int64_t output = (n * P + a - k) * Q + b - l;
        gradient_of[k][l] = exists ? dy + output * dy_pitch : nullptr;
        scale_of[k][l] = exists ? A(1) / A(sh.divisor_of(a - k, b - l)) : A(0);
      }
    }
    const TilePixels<T> pixels(dx + n * sh.H * sh.W * dx_pitch, dx_pitch, a * kTile - int(sh.pad_h), b * kTile - int(sh.pad_w),
                               sh);

    for_lanes<kWideLanes<T, kMaxV>>(part.c_begin, part.c_end, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      Wide<A, V> sum[kTile][kTile];
      UNROLLED for (int i = 0; i < kTile; i++) UNROLLED for (int j = 0; j < kTile; j++) sum[i][j] = wide<V>(A(0));

      UNROLLED for (int k = kWindows - 1; k >= 0; k--) {
        UNROLLED for (int l = kWindows - 1; l >= 0; l--) {
          if (!gradient_of[k][l]) continue;
          const auto gradient = load_wide<A, V>(gradient_of[k][l] + c) * scale_of[k][l];
          UNROLLED for (int i = 0; i < kTile; i++) {
            UNROLLED for (int j = 0; j < kTile; j++) {
              if (i + k * kTile >= kWindow || j + l * kTile >= kWindow) continue;  // beyond the window
              sum[i][j] = sum[i][j] + gradient;
            }
          }
        }
      }
      pixels.template store<V>(sum, c, sh.accumulate);
    });
  }
}

template <class T>
void avg_pool2d_backward3(const Plan& plan, Array dy, Array dx) {
  const auto& sh = plan.problem<AvgPoolShape>();
  const int64_t tile_rows = ceil_div(sh.H + sh.pad_h, kTile), tile_columns = ceil_div(sh.W + sh.pad_w, kTile);
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    auto with_window = [&](auto window) {
      const RowParts parts(sh.N * tile_rows, tile_columns, sh.C, V);
      launch<avg_pool2d_backward_kernel3<T, V, window>>(parts.geometry(), dy.as<const T>(), dx.as<T>(), sh, dy.pitch, dx.pitch,
                                                        parts, int(tile_rows));
    };
    if (sh.R == 2) with_window(std::integral_constant<int, 2>{});
    else with_window(std::integral_constant<int, 3>{});
  });
}

REGISTER_VERSION(AvgPool2dBackward, tiles, 3, "a tile of 2 x 2 pixels a thread, for stride 2",
                 (supports_tiles<STORAGE, AvgPoolShape>), avg_pool2d_backward3<STORAGE>);

}  // namespace pycnn
