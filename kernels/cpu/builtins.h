// CUDA's qualifiers, vector types and built-in variables for a host compiler.
#pragma once

// A kernel is inlined into the loop over a block's threads (scheduler.h).
#define __global__ static inline __attribute__((always_inline))
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#define PYCNN_VECTOR_TYPES(T, name)                                                  \
  struct name##1 { T x; };                                                           \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                 \
  struct name##3 { T x, y, z; };                                                     \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
  inline name##1 make_##name##1(T x) { return {x}; }                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                 \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
PYCNN_VECTOR_TYPES(signed char, char)
PYCNN_VECTOR_TYPES(unsigned char, uchar)
PYCNN_VECTOR_TYPES(short, short)
PYCNN_VECTOR_TYPES(unsigned short, ushort)
PYCNN_VECTOR_TYPES(int, int)
PYCNN_VECTOR_TYPES(unsigned int, uint)
PYCNN_VECTOR_TYPES(long long, longlong)
PYCNN_VECTOR_TYPES(unsigned long long, ulonglong)
PYCNN_VECTOR_TYPES(float, float)
PYCNN_VECTOR_TYPES(double, double)
#undef PYCNN_VECTOR_TYPES

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

// Constant-initialised __thread variables need no initialisation check; initial-exec reads them off the thread
// register instead of through a call. Only glibc lets a library loaded later have such variables.
#if defined(__GLIBC__)
#define PYCNN_THREAD_LOCAL __attribute__((tls_model("initial-exec"))) inline __thread
#else
#define PYCNN_THREAD_LOCAL inline __thread
#endif
PYCNN_THREAD_LOCAL uint3 threadIdx;
PYCNN_THREAD_LOCAL uint3 blockIdx;
PYCNN_THREAD_LOCAL uint3 blockDim;
PYCNN_THREAD_LOCAL uint3 gridDim;
inline constexpr int warpSize = 32;
