// The run of neighbouring elements that one thread of a vectorized kernel takes. On a GPU it is what moves in one 16-byte
// access, and the warp's next thread takes the next 16 bytes; on a CPU it is longer, a loop for the compiler's own vectors.
#pragma once
#include "lanes.h"

namespace pycnn {

template <class T>
inline constexpr int kStrip = PYCNN_CUDA ? kVectorLength<T> : 256;

// What a version relies on for its strips: 16-byte accesses on a GPU, nothing on a CPU.
inline constexpr int kStripAlignment = PYCNN_CUDA ? 16 : 1;

// Stands before a loop over the elements of a strip: each turn reads and writes its own element only, even where an output
// is one of the inputs.
#if PYCNN_CUDA
#define STRIP _Pragma("unroll")
#elif defined(__clang__)
#define STRIP _Pragma("clang loop vectorize(assume_safety)")
#else
#define STRIP _Pragma("GCC ivdep")
#endif

// Stands before a loop with a constant number of turns that is to disappear, so that arrays it indexes become registers.
#if PYCNN_CUDA || defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

// N values that are only read: registers on a GPU, where p must be a multiple of their size; the memory itself on a CPU.
template <int N, class T>
__device__ __forceinline__ auto values_at(const T* p) {
#if PYCNN_CUDA
  return Vector<T, N>::load(p);
#else
  return p;
#endif
}
template <class T>
__device__ __forceinline__ auto strip_at(const T* p) {
  return values_at<kStrip<T>>(p);
}

// N values that are written: their elements, then store(). On a CPU they go straight to memory.
template <class T, int N = kStrip<T>>
struct OutStrip {
#if PYCNN_CUDA
  T* p;
  Vector<T, N> values;
  __device__ __forceinline__ explicit OutStrip(T* p) : p(p) {}
  __device__ __forceinline__ T& operator[](int j) { return values[j]; }
  __device__ __forceinline__ void store() const { values.store(p); }
#else
  T* p;
  explicit OutStrip(T* p) : p(p) {}
  T& operator[](int j) const { return p[j]; }
  void store() const {}
#endif
};

// body(j) for 0 <= j < count <= kStrip, as above.
template <class T, class Body>
__device__ __forceinline__ void for_strip(int count, const Body& body) {
#if PYCNN_CUDA
  STRIP for (int j = 0; j < kStrip<T>; j++) if (j < count) body(j);
#else
  STRIP for (int j = 0; j < count; j++) body(j);
#endif
}

}  // namespace pycnn
