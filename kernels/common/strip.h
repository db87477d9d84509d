// The run of neighbouring elements that one thread takes in a vectorized kernel. On a GPU it is what moves in one 16-byte
// access, and the warp's next thread takes the next 16 bytes; on a CPU it is longer, a loop for the compiler's own vectors.
#pragma once
#include "vec.h"

namespace pycnn {

template <class T>
inline constexpr int kStrip = PYCNN_CUDA ? kVectorLength<T> : 64;

// What a version relies on for its strips: 16-byte accesses on a GPU, nothing on a CPU.
inline constexpr int kStripAlignment = PYCNN_CUDA ? 16 : 1;

// Reads a whole strip into accumulators, and writes it back rounded to T.
template <class T, class A>
__device__ __forceinline__ void load_strip(const T* p, A (&value)[kStrip<T>]) {
#if PYCNN_CUDA
  const auto packed = Vector<T, kStrip<T>>::load(p);
  for (int i = 0; i < kStrip<T>; i++) value[i] = A(packed[i]);
#else
  for (int i = 0; i < kStrip<T>; i++) value[i] = A(p[i]);
#endif
}

template <class T, class A>
__device__ __forceinline__ void store_strip(T* p, const A (&value)[kStrip<T>]) {
#if PYCNN_CUDA
  Vector<T, kStrip<T>> packed;
  for (int i = 0; i < kStrip<T>; i++) packed[i] = T(value[i]);
  packed.store(p);
#else
  for (int i = 0; i < kStrip<T>; i++) p[i] = T(value[i]);
#endif
}

// body(j) for 0 <= j < count <= kStrip: unrolled on a GPU, so that arrays indexed by j stay in registers, a plain loop for
// the vectorizer on a CPU.
template <class T, class Body>
__device__ __forceinline__ void for_strip(int count, const Body& body) {
#if PYCNN_CUDA
#pragma unroll
  for (int j = 0; j < kStrip<T>; j++)
    if (j < count) body(j);
#else
  for (int j = 0; j < count; j++) body(j);
#endif
}

}  // namespace pycnn
