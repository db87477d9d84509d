// What the grouped versions share.
#pragma once
#include <numeric>

#include "../common/strip.h"
#include "conv2d.h"

namespace pycnn {

inline constexpr int kRun = 4;  // neighbouring pixels of a thread

inline const char* supports_grouped(const ConvShape& sh, const Request&, Plan&) {
  return sh.groups > 1 ? nullptr : "it is grouped: there must be at least 2 groups";
}

// Along one axis: the taps r with (i - r*dilation) a multiple of the stride are first(i), first(i) + step, ...
struct TapStep {
  int64_t stride, dilation, step;
  TapStep(int64_t stride, int64_t dilation) : stride(stride), dilation(dilation), step(stride / std::gcd(stride, dilation)) {}
  __device__ int64_t first(int64_t i) const {
    for (int64_t r = 0; r < step; r++)
      if ((i - r * dilation) % stride == 0) return r;
    return INT64_MAX;
  }
};

}  // namespace pycnn
