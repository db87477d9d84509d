// Casting between storage types.
#pragma once
#include <type_traits>

#include "shape.h"

namespace pycnn {

// Calls f with a zero of type t.
template <class F>
void with_type(DType t, F f) {
  switch (t) {
    case DType::f32: return f(float());
    case DType::f64: return f(double());
    case DType::f16: return f(half());
    case DType::bf16: return f(bfloat16());
    case DType::i32: return f(int32_t());
    case DType::i64: return f(int64_t());
    case DType::u8: return f(uint8_t());
  }
}

// Integers and float64 become 16-bit numbers by way of float.
template <class T, class S>
__host__ __device__ __forceinline__ T converted(S x) {
  if constexpr (std::is_same_v<S, T>) return x;
  else if constexpr (std::is_arithmetic_v<S>) return T(Accumulator<T>(x));
  else return T(Accumulator<T>(float(x)));
}

}  // namespace pycnn
