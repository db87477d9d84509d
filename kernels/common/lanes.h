// V values side by side in one thread: 16 bytes of them, one instruction, on a GPU; a loop that a host compiler turns into
// its own vectors on a CPU.
#pragma once
#include <cstring>
#include <type_traits>

#include "vec.h"

namespace pycnn {

// Stands before a loop over lanes. GCC would unroll a short loop before it looks for vectors, and then find none.
#if PYCNN_CUDA
#define LANES _Pragma("unroll")
#elif defined(__clang__)
#define LANES _Pragma("clang loop unroll(disable)")
#else
#define LANES _Pragma("GCC unroll 1")
#endif

// What one thread moves at once: a 16-byte load of a GPU, or 64 bytes of a host, whose vectors may be that long.
template <class T>
inline constexpr int kLanes = (PYCNN_CUDA ? 16 : 64) / int(sizeof(T));

// The V values at p, still as T: converting them where they are used leaves GCC one loop to vectorize. On a GPU p must be a
// multiple of their size.
template <int V, class T>
__device__ __forceinline__ Vector<T, V> load_lanes(const T* p) {
#if PYCNN_CUDA
  return Vector<T, V>::load(p);
#else
  Vector<T, V> v;
  std::memcpy(&v, p, sizeof v);
  return v;
#endif
}

// Rounds to T and writes V values. On a GPU p must be a multiple of their size.
template <int V, class A, class T>
__device__ __forceinline__ void store_lanes(const A (&lanes)[V], T* p) {
#if PYCNN_CUDA
  Vector<T, V> v;
  LANES for (int i = 0; i < V; i++) v[i] = T(lanes[i]);
  v.store(p);
#else
  LANES for (int i = 0; i < V; i++) p[i] = T(lanes[i]);
#endif
}

// Calls body(V, c) for every V channels of begin <= c < end, with V as a constant; on a CPU then for what is left over with
// V/2, V/4 ... 1. On a GPU nothing is left over: its threads' parts are multiples of V.
template <int V, class Body>
__device__ __forceinline__ void for_lanes(int begin, int end, const Body& body) {
  for (; end - begin >= V; begin += V) body(std::integral_constant<int, V>{}, begin);
  if constexpr (V > 1 && !PYCNN_CUDA) {
    if (begin < end) for_lanes<V / 2>(begin, end, body);
  }
}

// How many of C channels a thread moves at once: on a GPU the most that divide C; a CPU's may leave a rest (for_lanes).
template <class T>
int lanes_for(int64_t C) {
  int V = kLanes<T>;
  while (PYCNN_CUDA && C % V) V /= 2;
  return V;
}

// Calls launcher(V) with what lanes_for returned as a constant.
template <class T, class Launcher>
void with_lanes(int V, const Launcher& launcher) {
  if (V == kLanes<T>) return launcher(std::integral_constant<int, kLanes<T>>{});
#if PYCNN_CUDA
  if constexpr (kLanes<T> == 8) {
    if (V == 4) return launcher(std::integral_constant<int, 4>{});
  }
  if (V == 2) return launcher(std::integral_constant<int, 2>{});
  launcher(std::integral_constant<int, 1>{});
#endif
}

}  // namespace pycnn
