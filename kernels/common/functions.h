// exp, tanh, sigmoid and log(1 + e) without a branch or a library call, so that a host compiler turns loops over them into vectors;
// the GPU runs the same arithmetic. In double they are the library's.
#pragma once
#include <cmath>
#include <cstring>

#include "launch.h"

namespace pycnn::math {

// 2^n for -126 <= n <= 127.
__host__ __device__ __forceinline__ float power_of_two(int n) {
  const unsigned bits = unsigned(n + 127) << 23;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// e^x, at most 1 ulp off. x = n ln 2 + r with |r| <= ln 2 / 2; e^r is a polynomial (fitted for least relative error), and 2^n is
// applied in two halves, so that results overflow to infinity and fade through subnormals as they should. NaN passes.
__host__ __device__ __forceinline__ float exp(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  const float shifted = x * 1.44269504f + shift;
  const float n = shifted - shift;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;  // ln 2 in two parts, the first of 16 bits
  float p = 1.97898114e-4f;
  p = p * r + 1.39451997e-3f;
  p = p * r + 8.33350035e-3f;
  p = p * r + 4.16662878e-2f;
  p = p * r + 1.66666658e-1f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  int bits, base;
  std::memcpy(&bits, &shifted, 4);
  std::memcpy(&base, &shift, 4);
  const int whole = int(unsigned(bits) - unsigned(base)), half_of_it = whole >> 1;
  return p * power_of_two(half_of_it) * power_of_two(whole - half_of_it);
}
__host__ __device__ __forceinline__ double exp(double x) { return ::exp(x); }

__host__ __device__ __forceinline__ float log(float x) { return ::logf(x); }
__host__ __device__ __forceinline__ double log(double x) { return ::log(x); }
__host__ __device__ __forceinline__ float sqrt(float x) { return ::sqrtf(x); }
__host__ __device__ __forceinline__ double sqrt(double x) { return ::sqrt(x); }
__host__ __device__ __forceinline__ float pow(float x, float y) { return ::powf(x, y); }
__host__ __device__ __forceinline__ double pow(double x, double y) { return ::pow(x, y); }

// log(1 + e) for 0 <= e <= 1, at most 2 ulp off: 2 atanh(z) with z = e / (2 + e) <= 1/3 as a series in z^2. NaN passes.
__host__ __device__ __forceinline__ float log1p(float e) {
  const float z = e / (2.0f + e), s = z * z;
  float p = 1.0f / 15.0f;
  p = p * s + 1.0f / 13.0f;
  p = p * s + 1.0f / 11.0f;
  p = p * s + 1.0f / 9.0f;
  p = p * s + 1.0f / 7.0f;
  p = p * s + 1.0f / 5.0f;
  p = p * s + 1.0f / 3.0f;
  return 2.0f * (z + z * (s * p));
}
__host__ __device__ __forceinline__ double log1p(double e) { return ::log1p(e); }

// Near zero an odd polynomial (fitted for least relative error), elsewhere 1 - 2 / (e^2|x| + 1); both are computed, one is
// taken. At most 2 ulp off. NaN passes.
__host__ __device__ __forceinline__ float tanh(float x) {
  const float size = x < 0.0f ? -x : x, s = x * x;
  float p = -6.2659415e-3f;
  p = p * s + 2.10661515e-2f;
  p = p * s - 5.38510557e-2f;
  p = p * s + 1.33325751e-1f;
  p = p * s - 3.33333173e-1f;
  const float small = x + x * (s * p);
  const float large = 1.0f - 2.0f / (exp(size + size) + 1.0f);
  return size < 0.55f ? small : x < 0.0f ? -large : large;
}
__host__ __device__ __forceinline__ double tanh(double x) { return ::tanh(x); }

// 1 / (1 + e^-x), from e^-|x|, which does not overflow. At most 3 ulp off.
template <class A>
__host__ __device__ __forceinline__ A sigmoid(A x) {
  const A e = exp(x < A(0) ? x : -x);
  return (x < A(0) ? e : A(1)) / (A(1) + e);
}

}  // namespace pycnn::math
