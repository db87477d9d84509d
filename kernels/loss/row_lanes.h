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

// The weight of a lane's class, 1 without any; 0 past the row's end.
template <bool kWeighted, class A>
__device__ __forceinline__ A lane_weight(RowLane lane, const A* weight) {
  return kWeighted ? lane.load(weight, A(0)) : lane.inside ? A(1) : A(0);
}

// Calls body(true_type or false_type): whether there are weights, as a constant.
template <class A, class Body>
__device__ __forceinline__ void with_weights(const A* weight, const Body& body) {
  if (weight) body(std::true_type{});
  else body(std::false_type{});
}

}  // namespace pycnn
