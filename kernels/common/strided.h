// Several arrays walked together in the order of the first: up to 6 axes, one stride per array and axis.
#pragma once
#include "launch.h"

namespace pycnn {

template <int arrays>
struct Strided {
  int64_t extent[kMaxRank];
  int64_t stride[arrays][kMaxRank];  // in elements; 0 repeats the array along the axis

  int64_t size() const {
    int64_t n = 1;
    for (int64_t e : extent) n *= e;
    return n;
  }

  // Offset of element `i`, counted in C order of the extents, in each array.
  __host__ __device__ __forceinline__ void offsets(int64_t i, int64_t (&offset)[arrays]) const {
    for (int k = 0; k < arrays; k++) offset[k] = 0;
    for (int d = kMaxRank - 1; d >= 0; d--) {
      if (extent[d] == 1) continue;
      const int64_t rest = i / extent[d], position = i - rest * extent[d];
      for (int k = 0; k < arrays; k++) offset[k] += position * stride[k][d];
      i = rest;
    }
  }

  // The same walk with as few axes as possible, the longest strides of array 0 first; unused leading axes get extent 1.
  Strided collapsed() const {
    Strided s = *this;
    for (int i = 1; i < kMaxRank; i++)  // insertion sort: stable
      for (int d = i; d > 0 && s.stride[0][d - 1] < s.stride[0][d]; d--) s.swap_axes(d - 1, d);
    int last = kMaxRank - 1;
    for (int d = kMaxRank - 2; d >= 0; d--) {
      bool joins = true;
      for (int k = 0; k < arrays; k++) joins = joins && s.stride[k][d] == s.stride[k][last] * s.extent[last];
      if (s.extent[d] == 1) continue;
      if (s.extent[last] == 1) {
        s.swap_axes(d, last);
      } else if (joins) {
        s.extent[last] *= s.extent[d];
        s.extent[d] = 1;
      } else {
        s.swap_axes(d, --last);
      }
    }
    return s;
  }

 private:
  void swap_axes(int c, int d) {
    auto swap = [&](int64_t* v) {
      const int64_t t = v[c];
      v[c] = v[d];
      v[d] = t;
    };
    swap(extent);
    for (int k = 0; k < arrays; k++) swap(stride[k]);
  }
};

}  // namespace pycnn
