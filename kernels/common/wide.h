// V numbers that are computed with as one: a compiler's own vector on a CPU, which stays in registers where an array of sums would
// not; an array of registers on a GPU. Arithmetic, comparisons and where() are written as for one number.
#pragma once
#include <type_traits>

#include "lanes.h"

namespace pycnn {

// The integer as wide as A, so that a comparison of A selects among integers too.
template <class A> using IntLike = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;

#if PYCNN_CUDA

template <class A, int V> struct Wide {
  A lane[V];
  __device__ __forceinline__ A& operator[](int i) { return lane[i]; }
  __device__ __forceinline__ const A& operator[](int i) const { return lane[i]; }
  __device__ __forceinline__ Wide& operator+=(const Wide& b) {
    LANES for (int i = 0; i < V; i++) lane[i] += b[i];
    return *this;
  }
};

#define PYCNN_WIDE(op, Result)                                                                           \
  template <class A, int V>                                                                              \
  __device__ __forceinline__ Wide<Result, V> operator op(const Wide<A, V>& a, const Wide<A, V>& b) {     \
    Wide<Result, V> c;                                                                                   \
    LANES for (int i = 0; i < V; i++) c[i] = a[i] op b[i];                                               \
    return c;                                                                                            \
  }                                                                                                      \
  template <class A, int V>                                                                              \
  __device__ __forceinline__ Wide<Result, V> operator op(const Wide<A, V>& a, std::common_type_t<A> b) { \
    Wide<Result, V> c;                                                                                   \
    LANES for (int i = 0; i < V; i++) c[i] = a[i] op b;                                                  \
    return c;                                                                                            \
  }
PYCNN_WIDE(+, A)
PYCNN_WIDE(-, A)
PYCNN_WIDE(*, A)
PYCNN_WIDE(/, A)
PYCNN_WIDE(>, bool)
PYCNN_WIDE(==, bool)
PYCNN_WIDE(!=, bool)
PYCNN_WIDE(|, A)
#undef PYCNN_WIDE

template <class A, int V>
__device__ __forceinline__ Wide<A, V> where(const Wide<bool, V>& mask, const Wide<A, V>& a, const Wide<A, V>& b) {
  Wide<A, V> c;
  LANES for (int i = 0; i < V; i++) c[i] = mask[i] ? a[i] : b[i];
  return c;
}

// Of V values of T that a thread moves at once, how many are computed with at once.
template <class T, int V> inline constexpr int kWideLanes = V;

#else

#if defined(__AVX512F__)
inline constexpr int kWideBytes = 64;
#elif defined(__AVX__)
inline constexpr int kWideBytes = 32;
#else
inline constexpr int kWideBytes = 16;  // SSE, NEON
#endif

// A vector longer than the machine's would be taken apart element by element.
template <class T, int V>
inline constexpr int kWideLanes = V < kWideBytes / int(sizeof(Accumulator<T>)) ? V : kWideBytes / int(sizeof(Accumulator<T>));

template <class A, int V> struct WideOf {
  typedef A type __attribute__((vector_size(V * sizeof(A))));
  typedef A in_memory __attribute__((vector_size(V * sizeof(A)), aligned(alignof(A)), may_alias));  // at any A*
};
template <class A, int V> using Wide = typename WideOf<A, V>::type;

template <class Mask, class W>
__forceinline__ W where(const Mask& mask, const W& a, const W& b) {
  return mask ? a : b;
}

#endif

// How many Wides a thread computes side by side where it walks down a column of pixels: a CPU would wait for each sum, and for
// memory, if it took the 64 bytes of one at a time. kBundled<lanes, V> is how many make up the lanes of for_lanes<kBundle * V>.
inline constexpr int kBundle = PYCNN_CUDA ? 1 : 4;
template <int lanes, int V> inline constexpr int kBundled = lanes > V ? lanes / V : 1;

// p, of which the compiler knows nothing: what is added to it is not computed ahead of a loop and kept for it. The pointers of
// a tile of pixels are more than a CPU has registers.
template <class T>
__device__ __forceinline__ T* unknown(T* p) {
#if !PYCNN_CUDA
  asm("" : "+r"(p));
#endif
  return p;
}

// V times the same number.
template <int V, class A>
__device__ __forceinline__ Wide<A, V> wide(A value) {
#if PYCNN_CUDA
  Wide<A, V> w;
  LANES for (int i = 0; i < V; i++) w[i] = value;
  return w;
#else
  return value - Wide<A, V>{};  // one broadcast; -0 stays -0
#endif
}

#if !PYCNN_CUDA
// GCC converts vectors of bytes one by one. Four bytes are one word of a vector, shifted and masked; the machine is little-endian.
template <int V>
__forceinline__ Wide<int32_t, V> lane_numbers() {
  Wide<int32_t, V> w;
  for (int i = 0; i < V; i++) w[i] = i;
  return w;
}
template <int V>
__forceinline__ Wide<int32_t, V> bytes_at(const uint8_t* p) {
  const auto lane = lane_numbers<V>();
  auto words = wide<V>(int32_t(0));
  for (int group = 0; group < V / 4; group++) {
    int32_t word;
    std::memcpy(&word, p + 4 * group, 4);
    words = where((lane >> 2) == group, wide<V>(word), words);
  }
  return (words >> ((lane & 3) << 3)) & 255;
}
template <int V>
__forceinline__ void store_bytes(Wide<int32_t, V> numbers, uint8_t* p) {
  numbers <<= (lane_numbers<V>() & 3) << 3;
  Wide<int64_t, V / 2> pairs;
  std::memcpy(&pairs, &numbers, sizeof pairs);
  pairs |= pairs >> 32;
  for (int group = 0; group < V / 4; group++) {
    const int32_t word = int32_t(pairs[2 * group] | pairs[2 * group + 1]);
    std::memcpy(p + 4 * group, &word, 4);
  }
}
#endif

// The V numbers at p as A. On a GPU p must be a multiple of their size.
template <class A, int V, class T>
__device__ __forceinline__ Wide<A, V> load_wide(const T* p) {
  Wide<A, V> w;
#if !PYCNN_CUDA
  if constexpr (std::is_same_v<T, A>) return *reinterpret_cast<const typename WideOf<A, V>::in_memory*>(p);
  if constexpr (std::is_same_v<T, uint8_t> && sizeof(A) == 4 && V % 4 == 0)
    return __builtin_convertvector(bytes_at<V>(p), Wide<A, V>);
#endif
  const auto loaded = load_lanes<V>(p);
  A lanes[V];
  LANES for (int i = 0; i < V; i++) lanes[i] = A(loaded[i]);
  std::memcpy(&w, lanes, sizeof w);
  return w;
}

// The same, into a register of a CPU: g++ 12 would load numbers of type A again for each product, and two loads a cycle leave none
// for what they are multiplied with.
template <class A, int V, class T>
__device__ __forceinline__ Wide<A, V> load_once(const T* p) {
#if !PYCNN_CUDA
  if constexpr (std::is_same_v<T, A>) return *reinterpret_cast<const volatile typename WideOf<A, V>::in_memory*>(p);
#endif
  return load_wide<A, V>(p);
}

// Rounds to T and writes V numbers. On a GPU p must be a multiple of their size.
template <class A, int V, class T>
__device__ __forceinline__ void store_wide(const Wide<A, V>& w, T* p) {
#if !PYCNN_CUDA
  if constexpr (std::is_same_v<T, A>) {
    *reinterpret_cast<typename WideOf<A, V>::in_memory*>(p) = w;
    return;
  }
  if constexpr (std::is_same_v<T, uint8_t> && sizeof(A) == 4 && V % 4 == 0)
    return store_bytes<V>(__builtin_convertvector(w, Wide<int32_t, V>), p);
#endif
  A lanes[V];
  std::memcpy(lanes, &w, sizeof w);
  store_lanes<V>(lanes, p);
}

// The same for sums, which are added to what is there when accumulating.
template <class A, int V, class T>
__device__ __forceinline__ void store_sums(Wide<A, V> sum, T* p, bool accumulate) {
  if (accumulate) sum = load_wide<A, V>(p) + sum;
  store_wide<A, V>(sum, p);
}

}  // namespace pycnn
