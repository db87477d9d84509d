// Sums and maxima over a warp and over a block. The order of the additions depends on nothing but the number of
// threads, and every thread gets the same bits.
#pragma once
#include "launch.h"

namespace pycnn {

inline constexpr unsigned kFullMask = 0xffffffff;

// Of all 32 lanes, each of which must take part. Lane l adds lane l^16, then l^8, ... l^1.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kFullMask, value, distance);
  return value;
}

// A NaN in any lane gives NaN.
template <class T>
__device__ __forceinline__ T warp_max(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kFullMask, value, distance);
    value = other > value || other != other ? other : value;
  }
  return value;
}

// Of a block of `threads` threads, each of which must take part: the sums of its warps, added in the warps' order.
template <int threads, class T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(threads % kWarp == 0 && threads <= 1024, "a block_sum needs whole warps");
  value = warp_sum(value);
  if constexpr (threads > kWarp) {
    SHARED(T, warp_sums, threads / kWarp);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    if (thread % kWarp == 0) warp_sums[thread / kWarp] = value;
    __syncthreads();
    value = warp_sums[0];
    for (int warp = 1; warp < threads / kWarp; warp++) value += warp_sums[warp];
    __syncthreads();  // warp_sums may be written again
  }
  return value;
}

// As block_sum, the maximum. A NaN in any thread gives NaN.
template <int threads, class T>
__device__ __forceinline__ T block_max(T value) {
  static_assert(threads % kWarp == 0 && threads <= 1024, "a block_max needs whole warps");
  value = warp_max(value);
  if constexpr (threads > kWarp) {
    SHARED(T, warp_maxima, threads / kWarp);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    if (thread % kWarp == 0) warp_maxima[thread / kWarp] = value;
    __syncthreads();
    value = warp_maxima[0];
    for (int warp = 1; warp < threads / kWarp; warp++) {
      const T other = warp_maxima[warp];
      value = other > value || other != other ? other : value;
    }
    __syncthreads();  // warp_maxima may be written again
  }
  return value;
}

}  // namespace pycnn
