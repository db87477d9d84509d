// CUDA's atomics for a host compiler: relaxed, and atomic between the OS threads that run blocks side by side.
#pragma once
#include <atomic>
#include <type_traits>

#include "types.h"

namespace pycnn::cpu {

template <class T> struct Identity {
  using type = T;
};
template <class T> using Same = typename Identity<T>::type;  // keeps an argument out of deduction

// *p = f(*p) in one step; returns what was there.
template <class T, class F>
inline T atomic_update(T* p, F f) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  T old, next;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do next = f(old);
  while (!__atomic_compare_exchange(p, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace pycnn::cpu

template <class T>
inline T atomicAdd(T* p, pycnn::cpu::Same<T> value) {
  if constexpr (std::is_integral_v<T>) return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
  else return pycnn::cpu::atomic_update(p, [=](T old) { return old + value; });
}
template <class T>
inline T atomicSub(T* p, pycnn::cpu::Same<T> value) {
  return __atomic_fetch_sub(p, value, __ATOMIC_RELAXED);
}
template <class T>
inline T atomicMin(T* p, pycnn::cpu::Same<T> value) {
  return pycnn::cpu::atomic_update(p, [=](T old) { return value < old ? value : old; });
}
template <class T>
inline T atomicMax(T* p, pycnn::cpu::Same<T> value) {
  return pycnn::cpu::atomic_update(p, [=](T old) { return value > old ? value : old; });
}
template <class T>
inline T atomicExch(T* p, pycnn::cpu::Same<T> value) {
  T old;
  __atomic_exchange(p, &value, &old, __ATOMIC_RELAXED);
  return old;
}
template <class T>
inline T atomicCAS(T* p, pycnn::cpu::Same<T> expected, pycnn::cpu::Same<T> value) {
  __atomic_compare_exchange(p, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class T>
inline T atomicAnd(T* p, pycnn::cpu::Same<T> value) {
  return __atomic_fetch_and(p, value, __ATOMIC_RELAXED);
}
template <class T>
inline T atomicOr(T* p, pycnn::cpu::Same<T> value) {
  return __atomic_fetch_or(p, value, __ATOMIC_RELAXED);
}
template <class T>
inline T atomicXor(T* p, pycnn::cpu::Same<T> value) {
  return __atomic_fetch_xor(p, value, __ATOMIC_RELAXED);
}
// Counts up and wraps to 0 beyond `limit`; down and wraps to `limit` below 0.
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  return pycnn::cpu::atomic_update(p, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* p, unsigned limit) {
  return pycnn::cpu::atomic_update(p, [=](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

inline void __threadfence_block() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_system() { std::atomic_thread_fence(std::memory_order_seq_cst); }
