// The pixels of x that see the same taps: with stride t along an axis those of one h mod t.
#pragma once
#include "../common/launch.h"

namespace pycnn {

// Pixel h and tap r of an axis meet in the output p = (h + pad - r * dilation) / stride where that is whole. So the pixels
// `first + stride * i` see the taps `first_tap + tap_step * j` and no other, in p = first_p + i - p_step * j. With stride 2,
// dilation 1 and a filter of 3, the pixels of one parity see two taps, those of the other one.
struct DgradClass {
  int64_t pixels, taps;         // i < pixels, j < taps
  int64_t first, stride;        // of the pixels; first < min(stride, extent)
  int64_t first_tap, tap_step;  // of the taps
  int64_t first_p, p_step;

  __host__ __device__ DgradClass(int64_t first, int64_t stride, int64_t pad, int64_t dilation, int64_t extent, int64_t filter)
      : pixels(ceil_div(extent - first, stride)), first(first), stride(stride) {
    int64_t common = stride;  // the greatest common divisor
    for (int64_t rest = dilation; rest;) {
      const int64_t next = common % rest;
      common = rest, rest = next;
    }
    tap_step = stride / common, p_step = dilation / common;
    first_tap = 0;
    while (first_tap < filter && (first + pad - first_tap * dilation) % stride) first_tap++;
    taps = ceil_div(filter - first_tap, tap_step);
    first_p = (first + pad - first_tap * dilation) / stride;
  }

  __host__ __device__ int64_t pixel(int64_t i) const { return first + stride * i; }
  __host__ __device__ int64_t tap(int64_t j) const { return first_tap + tap_step * j; }
};

}  // namespace pycnn
