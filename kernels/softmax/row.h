// Maximum and sum of exponentials of a row, by one thread with 16 running values, which a host compiler keeps in vectors.
#pragma once
#include "../common/functions.h"
#include "../common/strip.h"

namespace pycnn {

inline constexpr int kRowValues = 16;

// Rows a block takes: enough work for an OS thread on a CPU, a few warps on a GPU. A function of the shape alone.
inline unsigned rows_per_block(int64_t classes) {
  if (PYCNN_CUDA) return 64;
  return classes >= 16384 ? 1 : classes <= 64 ? 256 : unsigned(16384 / classes);
}

// The sum of the lanes, as a tree.
template <class A>
__device__ __forceinline__ A lane_sum(A (&lane)[kRowValues]) {
  for (int half = kRowValues / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

// Lane j of the elements from c on. Past the row's end it loads `fill` and stores nothing.
struct RowLane {
  int64_t c;
  int j;
  bool inside;
  template <class A, class T>
  __device__ __forceinline__ A load(const T* row, A fill) const {
    return inside ? A(row[c + j]) : fill;
  }
  template <class A, class T>
  __device__ __forceinline__ void store(T* row, A value) const {
    if (inside) row[c + j] = T(value);
  }
};

// body(lane) for all n elements of a row, 16 at a time. What it reads goes straight into its arithmetic: a loop that only copies 16
// elements becomes a memcpy in halves of a vector, and reading the whole vector back waits for both.
template <class Body>
__device__ __forceinline__ void for_row(int64_t n, const Body& body) {
  int64_t c = 0;
  for (; c + kRowValues <= n; c += kRowValues) LANES STRIP for (int j = 0; j < kRowValues; j++) body(RowLane{c, j, true});
  const int left = int(n - c);
  if (left) LANES STRIP for (int j = 0; j < kRowValues; j++) body(RowLane{c, j, j < left});
}

// NaNs are skipped; they come back in the sum.
template <class A, class T>
__device__ __forceinline__ A row_max(const T* x, int64_t n) {
  A most[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) most[j] = A(-INFINITY);
  for_row(n, [&](RowLane lane) {
    const A value = lane.load(x, A(-INFINITY));
    most[lane.j] = value > most[lane.j] ? value : most[lane.j];
  });
  for (int j = 1; j < kRowValues; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
  return most[0];
}

// The sum of exp(x - most).
template <class T, class A>
__device__ __forceinline__ A row_sum_exp(const T* x, int64_t n, A most) {
  A sum[kRowValues];
  LANES for (int j = 0; j < kRowValues; j++) sum[j] = 0;
  for_row(n, [&](RowLane lane) { sum[lane.j] += math::exp(lane.load(x, A(-INFINITY)) - most); });
  return lane_sum(sum);
}

}  // namespace pycnn
