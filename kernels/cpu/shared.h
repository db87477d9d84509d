// Shared memory for a host compiler: one arena per block, of 32-bit addresses, with every bit set (NaN) when the block
// starts. An array's declaration finds its place in it, which all threads of a launch agree on.
#pragma once
#include <type_traits>

#include "scheduler.h"
#if PYCNN_CHECKED
#include "checked.h"
#endif

namespace pycnn::cpu {

template <class Array>
Array& shared_array(std::atomic<uint64_t>& place) {
  static_assert(sizeof(Array) <= kMaxStaticShared, "static shared memory is limited to 48 KB: use DYNAMIC_SHARED");
  static_assert(alignof(Array) <= 128);
  return *reinterpret_cast<Array*>(scheduler->shared(place, sizeof(Array)));
}

}  // namespace pycnn::cpu

// SHARED(float, tile, 32, 33) declares `float tile[32][33]`, DYNAMIC_SHARED(float, tile) a pointer to what the launch
// asked for.
#if PYCNN_CHECKED
#define SHARED(T, name, ...)                                                                                             \
  static constexpr int64_t name##_extents[] = {__VA_ARGS__};                                                             \
  static constexpr ::pycnn::cpu::SharedName name##_name{#name, name##_extents, sizeof name##_extents / sizeof(int64_t)}; \
  static ::std::atomic<uint64_t> name##_place;                                                                           \
  const ::pycnn::cpu::SharedArray<T, __VA_ARGS__> name(                                                                  \
      &::pycnn::cpu::shared_array<typename ::pycnn::ArrayOf<T, __VA_ARGS__>::type>(name##_place), name##_name)
#define DYNAMIC_SHARED(T, name)                                             \
  static constexpr ::pycnn::cpu::SharedName name##_name{#name, nullptr, 1}; \
  ::pycnn::SharedPointer<T> name = ::pycnn::cpu::dynamic_shared<T>(name##_name)
#else
#define SHARED(T, name, ...)                   \
  static ::std::atomic<uint64_t> name##_place; \
  auto& name = ::pycnn::cpu::shared_array<typename ::pycnn::ArrayOf<T, __VA_ARGS__>::type>(name##_place)
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(::pycnn::cpu::scheduler->dynamic_shared())
namespace pycnn {
// A pointer into shared memory; in checked builds one that checks.
template <class T> using SharedPointer = T*;
}  // namespace pycnn
#endif

// The address in shared memory: of its first byte it is 0.
inline size_t __cvta_generic_to_shared(const void* p) {
  return size_t(static_cast<const char*>(p) - pycnn::cpu::scheduler->dynamic_shared());
}
