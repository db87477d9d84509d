// Maximum and sum of exponentials of a row, by one thread with 16 running values, which a host compiler keeps in vectors.
#pragma once
#include "../common/functions.h"
#include "../common/lanes.h"

namespace pycnn {

inline constexpr int kRowValues = 16;

// Rows a block takes: enough work for an OS thread on a CPU, a few warps on a GPU. A function of the shape alone.
inline unsigned rows_per_block(int64_t classes) {
  if (PYCNN_CUDA) return 64;
  return classes >= 16384 ? 1 : classes <= 64 ? 256 : unsigned(16384 / classes);
}

// The next 16 elements of a row that has `left` more; `fill` where there are none.
template <class T, class A>
__device__ __forceinline__ void load_row(const T* x, int64_t left, A fill, A (&value)[kRowValues]) {
  if (left >= kRowValues) {
    LANES for (int j = 0; j < kRowValues; j++) value[j] = A(x[j]);
  } else {
    LANES for (int j = 0; j < kRowValues; j++) value[j] = j < left ? A(x[j]) : fill;
  }
}

template <class T, class A>
__device__ __forceinline__ void store_row(T* y, int64_t left, bool accumulate, const A (&value)[kRowValues]) {
  if (accumulate) {
    LANES for (int j = 0; j < kRowValues; j++) if (j < left) y[j] = T(A(y[j]) + value[j]);
  } else if (left >= kRowValues) {
    LANES for (int j = 0; j < kRowValues; j++) y[j] = T(value[j]);
  } else {
    LANES for (int j = 0; j < kRowValues; j++) if (j < left) y[j] = T(value[j]);
  }
}

// The sum of the lanes, as a tree.
template <class A>
__device__ __forceinline__ A lane_sum(A (&lane)[kRowValues]) {
  for (int half = kRowValues / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

// NaNs are skipped; they come back in the sum.
template <class A, class T>
__device__ __forceinline__ A row_max(const T* x, int64_t n) {
  A most[kRowValues], value[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) most[j] = A(-INFINITY);
  for (int64_t c = 0; c < n; c += kRowValues) {
    load_row(x + c, n - c, A(-INFINITY), value);
    LANES for (int j = 0; j < kRowValues; j++) most[j] = value[j] > most[j] ? value[j] : most[j];
  }
  for (int j = 1; j < kRowValues; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
  return most[0];
}

// The sum of exp(x - most); the exponentials are kept in `kept` if there is one.
template <class T, class A>
__device__ __forceinline__ A row_sum_exp(const T* x, int64_t n, A most, T* kept = nullptr) {
  A sum[kRowValues], value[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) sum[j] = 0;
  for (int64_t c = 0; c < n; c += kRowValues) {
    load_row(x + c, n - c, A(-INFINITY), value);
    LANES for (int j = 0; j < kRowValues; j++) value[j] = math::exp(value[j] - most);
    if (kept) store_row(kept + c, n - c, false, value);
    LANES for (int j = 0; j < kRowValues; j++) sum[j] += value[j];
  }
  return lane_sum(sum);
}

}  // namespace pycnn
