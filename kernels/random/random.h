// Declarations of the random ops. Numbers are Philox-4x32-10 words, indexed by op and element in logical order.
#pragma once
#include "../common/philox.h"
#include "../common/plan.h"

namespace pycnn {

struct DropoutShape {
  int64_t N, C, L;        // logical order n,c,l: images have L = H*W, anything else N = C = 1
  int64_t channels_last;  // 1: memory order is n,l,c
  int64_t op_index;       // keeps the masks of one step's ops apart
  int64_t accumulate;     // 1: y += ...
  double p;               // probability of zeroing
  static constexpr const char* names = "N C L channels_last op_index accumulate .p";

  __host__ __device__ int64_t size() const { return N * C * L; }
};

inline constexpr int kStateSlots = 8, kSeedSlot = 0, kCounterSlot = 1;

// y = x / (1 - p) where an element is kept, 0 * x elsewhere. Element l of channel c of image n is kept where word l % 4 of
// philox(counter = (block, op_index, state[1]), key = state[0]), block = (n*C + c) * ceil(L / 4) + l / 4, is at least p * 2^32.
// state: 8 int64 (seed, counter, ...)  drawn: a copy of state, for the backward pass, or none.
struct Dropout {
  static constexpr const char* name = "dropout";
  using Problem = DropoutShape;
  static Signature signature(const DropoutShape& sh, DType t);
  static void check(const DropoutShape& sh);
  static Preference prefer(const DropoutShape& sh, const Request& request);
};

// The lowest word that keeps an element: p * 2^32, rounded; 2^32 keeps none.
inline uint64_t keep_threshold(double p) { return uint64_t(p * 4294967296.0 + 0.5); }

template <class A>
A keep_scale(double p) {
  return p < 1 ? A(1 / (1 - p)) : A(0);
}

__host__ __device__ __forceinline__ PhiloxWords dropout_words(uint32_t block, uint32_t op_index, const int64_t* state) {
  const uint64_t counter = uint64_t(state[kCounterSlot]);
  return philox({{block, op_index, uint32_t(counter), uint32_t(counter >> 32)}}, uint64_t(state[kSeedSlot]));
}

}  // namespace pycnn
