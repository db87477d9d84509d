// The largest value so far and where it was, shared by the versions of max.
#pragma once
#include "../common/launch.h"
#include "reduce.h"

namespace pycnn {

template <class A>
struct Best {
  A value = A(0);
  int64_t index = -1;  // -1: nothing seen yet

  // Terms come in rising order of index: an equal one does not replace the first. A NaN replaces any number.
  __device__ __forceinline__ void offer(A candidate, int64_t at) {
    if (index < 0 || candidate > value || (candidate != candidate && value == value)) value = candidate, index = at;
  }

  template <class T>
  __device__ __forceinline__ void scan(const T* x, int64_t step, int64_t first, int64_t end) {
    for (int64_t r = first; r < end; r++) offer(A(x[r * step]), r);
  }
};

}  // namespace pycnn
