// half and bfloat16 for a host compiler: two bytes of storage. Arithmetic goes through float and rounds to nearest,
// ties to even, which for + - * / gives the bits of a GPU's 16-bit instructions. NaN stays NaN.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace pycnn::cpu {

template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// A compiler's own type is used where it is one instruction. g++ 12 has no _Float16 for arm64, all have __fp16.
#if defined(__aarch64__) || (defined(__FLT16_MAX__) && defined(__F16C__))

#if defined(__aarch64__)
using Float16 = __fp16;
#else
using Float16 = _Float16;
#endif
inline uint16_t half_bits(float f) { return bit_cast<uint16_t>(static_cast<Float16>(f)); }
inline float half_value(uint16_t bits) { return static_cast<float>(bit_cast<Float16>(bits)); }

#else

// Scaling by 2^112 pushes values beyond 65504 to infinity; adding a power of two rounds the mantissa to 10 bits.
inline uint16_t half_bits(float f) {
  uint32_t bits = bit_cast<uint32_t>(f), magnitude = bits << 1, sign = bits >> 16 & 0x8000;
  float scaled = bit_cast<float>(bits & 0x7fffffff) * 0x1p112f * 0x1p-110f;
  uint32_t exponent = magnitude & 0xff000000;
  if (exponent < 0x71000000) exponent = 0x71000000;  // subnormal halves share the smallest exponent
  uint32_t rounded = bit_cast<uint32_t>(bit_cast<float>((exponent >> 1) + 0x07800000) + scaled);
  uint32_t finite = (rounded >> 13 & 0x7c00) + (rounded & 0xfff);
  return uint16_t(sign | (magnitude > 0xff000000 ? 0x7e00 : finite));
}

inline float half_value(uint16_t bits) {
  uint32_t magnitude = uint32_t(bits) << 17, sign = uint32_t(bits & 0x8000) << 16;
  float normal = bit_cast<float>((magnitude >> 4) + 0x70000000) * 0x1p-112f;
  float subnormal = bit_cast<float>(magnitude >> 17 | 0x3f000000) - 0.5f;
  return bit_cast<float>(sign | bit_cast<uint32_t>(magnitude < 0x08000000 ? subnormal : normal));
}

#endif

inline uint16_t bfloat16_bits(float f) {
  uint32_t bits = bit_cast<uint32_t>(f);
  return f != f ? 0x7fc0 : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace pycnn::cpu

struct half {
  uint16_t bits;
  half() = default;
  explicit half(float f) : bits(pycnn::cpu::half_bits(f)) {}
  explicit operator float() const { return pycnn::cpu::half_value(bits); }
};

struct bfloat16 {
  uint16_t bits;
  bfloat16() = default;
  explicit bfloat16(float f) : bits(pycnn::cpu::bfloat16_bits(f)) {}
  explicit operator float() const { return pycnn::cpu::bit_cast<float>(uint32_t(bits) << 16); }
};

inline float __half2float(half h) { return float(h); }
inline half __float2half(float f) { return half(f); }
inline half __float2half_rn(float f) { return half(f); }
inline float __bfloat162float(bfloat16 b) { return float(b); }
inline bfloat16 __float2bfloat16(float f) { return bfloat16(f); }
inline bfloat16 __float2bfloat16_rn(float f) { return bfloat16(f); }

template <class T> using If16Bit = std::enable_if_t<std::is_same_v<T, half> || std::is_same_v<T, bfloat16>, T>;
template <class T> If16Bit<T> operator+(T a, T b) { return T(float(a) + float(b)); }
template <class T> If16Bit<T> operator-(T a, T b) { return T(float(a) - float(b)); }
template <class T> If16Bit<T> operator*(T a, T b) { return T(float(a) * float(b)); }
template <class T> If16Bit<T> operator/(T a, T b) { return T(float(a) / float(b)); }
template <class T> If16Bit<T> operator-(T a) { return a.bits ^= 0x8000, a; }
template <class T> If16Bit<T>& operator+=(T& a, T b) { return a = a + b; }
template <class T> If16Bit<T>& operator-=(T& a, T b) { return a = a - b; }
template <class T> If16Bit<T>& operator*=(T& a, T b) { return a = a * b; }
template <class T> If16Bit<T>& operator/=(T& a, T b) { return a = a / b; }
template <class T, class = If16Bit<T>> bool operator==(T a, T b) { return float(a) == float(b); }
template <class T, class = If16Bit<T>> bool operator!=(T a, T b) { return float(a) != float(b); }
template <class T, class = If16Bit<T>> bool operator<(T a, T b) { return float(a) < float(b); }
template <class T, class = If16Bit<T>> bool operator<=(T a, T b) { return float(a) <= float(b); }
template <class T, class = If16Bit<T>> bool operator>(T a, T b) { return float(a) > float(b); }
template <class T, class = If16Bit<T>> bool operator>=(T a, T b) { return float(a) >= float(b); }
