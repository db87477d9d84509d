// Storage types: their names in both compilers, and the type that sums of each are kept in.
#pragma once
#include <cstdint>

#if PYCNN_CUDA
#include <cuda_bf16.h>
#include <cuda_fp16.h>
using bfloat16 = __nv_bfloat16;
#else
#include "../cpu/types.h"
#endif

namespace pycnn {

enum class DType : uint8_t { f32, f64, f16, bf16, i32, i64, u8 };

inline constexpr const char* kDTypeName[] = {"float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8"};
inline constexpr int kDTypeBytes[] = {4, 8, 2, 2, 4, 8, 1};
inline const char* name_of(DType t) { return kDTypeName[int(t)]; }
inline int bytes_of(DType t) { return kDTypeBytes[int(t)]; }

template <class T> inline constexpr DType dtype_of = DType::f32;
template <> inline constexpr DType dtype_of<double> = DType::f64;
template <> inline constexpr DType dtype_of<half> = DType::f16;
template <> inline constexpr DType dtype_of<bfloat16> = DType::bf16;
template <> inline constexpr DType dtype_of<int32_t> = DType::i32;
template <> inline constexpr DType dtype_of<int64_t> = DType::i64;
template <> inline constexpr DType dtype_of<uint8_t> = DType::u8;

// Sums of half, bfloat16 and float are kept in float, of double in double.
template <class T> struct AccumulatorOf {
  using type = float;
};
template <> struct AccumulatorOf<double> {
  using type = double;
};
template <class T> using Accumulator = typename AccumulatorOf<T>::type;

}  // namespace pycnn
