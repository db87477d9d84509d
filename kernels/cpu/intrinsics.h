// CUDA's scalar intrinsics and min/max for a host compiler. The fast-math ones (__expf, __fdividef) are exact here.
#pragma once
#include <cmath>
#include <cstdint>

#include "types.h"

// Macros, because glibc declares these names for itself.
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // NaN gives 0
inline int __float2int_rn(float x) { return int(std::nearbyint(x)); }
inline int __float2int_rd(float x) { return int(std::floor(x)); }
inline int __float2int_ru(float x) { return int(std::ceil(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline float __int2float_rn(int x) { return float(x); }

inline int __float_as_int(float x) { return pycnn::cpu::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return pycnn::cpu::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return pycnn::cpu::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return pycnn::cpu::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return pycnn::cpu::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return pycnn::cpu::bit_cast<double>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(uint64_t(x)) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned(uint64_t(x) * y >> 32); }
inline int __mulhi(int x, int y) { return int(int64_t(x) * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
inline unsigned long long __brevll(unsigned long long x) {
  x = __builtin_bswap64(x);
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
  x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
  return (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
}
inline unsigned __brev(unsigned x) { return unsigned(__brevll(x) >> 32); }

template <class T>
inline T __ldg(const T* p) {
  return *p;
}

inline unsigned min(int a, unsigned b) { return unsigned(a) < b ? unsigned(a) : b; }
inline unsigned max(int a, unsigned b) { return unsigned(a) > b ? unsigned(a) : b; }
inline unsigned min(unsigned a, int b) { return min(b, a); }
inline unsigned max(unsigned a, int b) { return max(b, a); }

#define PYCNN_MIN_MAX(T)                           \
  inline T min(T a, T b) { return a < b ? a : b; } \
  inline T max(T a, T b) { return a > b ? a : b; }
PYCNN_MIN_MAX(int)
PYCNN_MIN_MAX(unsigned)
PYCNN_MIN_MAX(long)
PYCNN_MIN_MAX(unsigned long)
PYCNN_MIN_MAX(long long)
PYCNN_MIN_MAX(unsigned long long)
#undef PYCNN_MIN_MAX

// Of a number and a NaN, the number, as fmin and fmax; written so that it becomes vector instructions.
#define PYCNN_MIN_MAX(A, B, T)                                     \
  inline T min(A a, B b) { return a < b || b != b ? T(a) : T(b); } \
  inline T max(A a, B b) { return a > b || b != b ? T(a) : T(b); }
PYCNN_MIN_MAX(float, float, float)
PYCNN_MIN_MAX(double, double, double)
PYCNN_MIN_MAX(float, double, double)
PYCNN_MIN_MAX(double, float, double)
#undef PYCNN_MIN_MAX
