// What a thread with 16 running values needs of a row of logits, for both kinds of cross entropy.
#pragma once
#include "../softmax/row.h"
#include "loss.h"

namespace pycnn {

// L of a row of n.
template <class T, class A = Accumulator<T>>
__device__ __forceinline__ LogSum<A> row_log_sum(const T* x, int64_t n) {
  const A most = row_max<A>(x, n);
  return {most, math::log(row_sum_exp(x, n, most))};
}

// The weights of the classes from c on, 1 each without any; 0 past the row's end.
template <class A>
__device__ __forceinline__ void load_weights(const A* weight, int64_t c, int64_t n, A (&w)[kRowValues]) {
  if (weight) return load_row(weight + c, n - c, A(0), w);
  LANES for (int j = 0; j < kRowValues; j++) w[j] = j < n - c ? A(1) : A(0);
}

}  // namespace pycnn
