// Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011): ten rounds turn a 128-bit
// counter and a 64-bit key into four independent 32-bit words. Any word can be had directly; there is no state.
#pragma once
#include "launch.h"

namespace pycnn {

struct PhiloxWords {
  uint32_t word[4];
  __host__ __device__ uint32_t operator[](int i) const { return word[i]; }
};

__host__ __device__ __forceinline__ PhiloxWords philox(PhiloxWords counter, uint64_t key) {
  uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3], key0 = uint32_t(key), key1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t left = uint64_t(0xD2511F53u) * a, right = uint64_t(0xCD9E8D57u) * c;
    a = uint32_t(right >> 32) ^ b ^ key0;
    b = uint32_t(right);
    c = uint32_t(left >> 32) ^ d ^ key1;
    d = uint32_t(left);
    key0 += 0x9E3779B9u;  // golden ratio
    key1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return {{a, b, c, d}};
}

}  // namespace pycnn
