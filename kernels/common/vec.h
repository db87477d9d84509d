// Vectors of N values of T that move in one instruction (16 bytes on a GPU).
#pragma once
#include "launch.h"

namespace pycnn {

template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T value[N];
  __host__ __device__ T& operator[](int i) { return value[i]; }
  __host__ __device__ const T& operator[](int i) const { return value[i]; }

  // `p` must be a multiple of sizeof(Vector).
  static __host__ __device__ __forceinline__ Vector load(const T* p) { return *reinterpret_cast<const Vector*>(p); }
  __host__ __device__ __forceinline__ void store(T* p) const { *reinterpret_cast<Vector*>(p) = *this; }

#if PYCNN_CHECKED
  static Vector load(const SharedPointer<T>& p) { return load(p.access(N, cpu::Access::read, sizeof(Vector))); }
  static Vector load(const SharedPointer<const T>& p) { return load(p.access(N, cpu::Access::read, sizeof(Vector))); }
  void store(const SharedPointer<T>& p) const { store(p.access(N, cpu::Access::write, sizeof(Vector))); }
#endif
};

// As many T as fit in 16 bytes.
template <class T>
inline constexpr int kVectorLength = 16 / sizeof(T);

}  // namespace pycnn
