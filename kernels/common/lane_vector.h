// V sums side by side in the registers of one thread, with the operators of one: values of a GPU's thread, a vector of the host
// compiler. As LaneVector it stays in registers where an array of arrays would go through memory.
#pragma once
#include "lanes.h"

namespace pycnn {

#if PYCNN_CUDA

template <class A, int V> struct LaneVector {
  A value[V];
  __device__ __forceinline__ A& operator[](int i) { return value[i]; }
  __device__ __forceinline__ A operator[](int i) const { return value[i]; }
  friend __device__ __forceinline__ LaneVector operator*(const LaneVector& a, const LaneVector& b) {
    LaneVector c;
    LANES for (int i = 0; i < V; i++) c[i] = a[i] * b[i];
    return c;
  }
  __device__ __forceinline__ LaneVector& operator+=(const LaneVector& b) {
    LANES for (int i = 0; i < V; i++) value[i] += b[i];
    return *this;
  }
};

#else

template <class A, int V> struct LaneVectorOf {
  typedef A type __attribute__((vector_size(V * sizeof(A)), aligned(alignof(A)), may_alias));  // loads from any A*
};
template <class A, int V> using LaneVector = typename LaneVectorOf<A, V>::type;

#endif

// The V values at p as sums. On a GPU p must be a multiple of their size.
template <class A, int V, class T>
__device__ __forceinline__ LaneVector<A, V> widen_lanes(const T* p) {
  if constexpr (std::is_same_v<A, T> && !PYCNN_CUDA) {
    return *reinterpret_cast<const LaneVector<A, V>*>(p);
  } else {
    const auto stored = load_lanes<V>(p);
    LaneVector<A, V> vector;
    LANES for (int i = 0; i < V; i++) vector[i] = A(stored[i]);
    return vector;
  }
}

// Rounds V sums to T and writes them, or what they add up to with what is there.
template <class A, int V, class T>
__device__ __forceinline__ void store_sums(LaneVector<A, V> sum, T* p, bool accumulate) {
  if (accumulate) sum += widen_lanes<A, V>(p);
  if constexpr (std::is_same_v<A, T> && !PYCNN_CUDA) {
    *reinterpret_cast<LaneVector<A, V>*>(p) = sum;
  } else {
    A value[V];
    LANES for (int i = 0; i < V; i++) value[i] = sum[i];
    store_lanes<V>(value, p);
  }
}

}  // namespace pycnn
