// What the tile versions of pooling's backward passes share. A tile is the 2 x 2 pixels of dx between the corners of neighboring
// windows at stride 2: tile (a, b) holds pixels 2a-pad+i, 2b-pad+j for i, j < 2, and only windows a-k, b-l with
// k, l <= (window-1)/2 reach into it.
#pragma once
#include "../common/row_parts.h"
#include "../common/strip.h"
#include "../common/wide.h"
#include "pool2d.h"

namespace pycnn {

inline constexpr int kTile = 2;  // the stride

template <class T, class Problem>
const char* supports_tiles(const Problem& sh, const Request& request, Plan& plan) {
  if (sh.R != sh.S || sh.R < 2 || sh.R > 3 || sh.stride_h != 2 || sh.stride_w != 2 || sh.dilation_h != 1 || sh.dilation_w != 1)
    return "it is written for windows of 2 x 2 and 3 x 3 with stride 2";
  return supports_vectorized<T>(sh, request, plan);
}

// Where the pixels of a tile are; nullptr for those outside the image.
template <class T>
struct TilePixels {
  T* pixel[kTile][kTile];

  __device__ TilePixels(T* image, int64_t pitch, int h0, int w0, const PoolShape& sh) {
    UNROLLED for (int i = 0; i < kTile; i++) {
      UNROLLED for (int j = 0; j < kTile; j++) {
        const int h = h0 + i, w = w0 + j;
        const bool inside = h >= 0 && h < sh.H && w >= 0 && w < sh.W;
        pixel[i][j] = inside ? image + (int64_t(h) * sh.W + w) * pitch : nullptr;
      }
    }
  }

  // Adds the sums to the channels from c on, or writes them.
  template <int V, class Sum>
  __device__ __forceinline__ void store(const Sum (&sum)[kTile][kTile], int c, bool accumulate) const {
    using A = Accumulator<T>;
    UNROLLED for (int i = 0; i < kTile; i++) {
      UNROLLED for (int j = 0; j < kTile; j++) {
        if (!pixel[i][j]) continue;
        T* p = pixel[i][j] + c;
        store_wide<A, V>(accumulate ? load_wide<A, V>(p) + sum[i][j] : sum[i][j], p);
      }
    }
  }
};

}  // namespace pycnn
