// Warp collectives for a host compiler. Each runs once, by the last of its lanes to arrive. They are as strict as CUDA's
// text: the calling lane must be in its mask, no lane of the mask may have returned, and none but __syncwarp orders
// memory. What a shuffle reads from a lane outside the mask is undefined on a GPU and has all bits set here.
#pragma once
#include "scheduler.h"

namespace pycnn::cpu {

template <class T>
inline uint64_t to_lane(T value) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
inline T from_lane(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Calls f(lane) for the lanes of a mask. Those outside may have results of another collective yet to fetch.
template <class F>
inline void for_lanes(uint32_t mask, F f) {
  for (; mask; mask &= mask - 1) f(__builtin_ctz(mask));
}

// A shuffle's argument: the lane, delta or lane mask, times 64, plus the width.
inline int shuffle_argument(int value, int width) { return value * 64 + width; }

// result[lane] = value[source(lane, argument, first lane of its segment, last lane)], its own if that is elsewhere.
template <class Source>
inline void shuffle(uint32_t mask, const int* argument, uint64_t* value, Source source) {
  uint64_t result[32];
  for_lanes(mask, [&](int lane) {
    int width = argument[lane] & 63, first = lane & -width;
    int from = source(lane, argument[lane] >> 6 & 31, first, first + width - 1);
    result[lane] = mask >> from & 1 ? value[from] : ~uint64_t(0);
  });
  for_lanes(mask, [&](int lane) { value[lane] = result[lane]; });
}

inline constexpr Collective kShuffle{"__shfl_sync", [](uint32_t mask, const int* argument, uint64_t* value) {
  shuffle(mask, argument, value, [](int, int from, int first, int last) { return first + (from & (last - first)); });
}};
inline constexpr Collective kShuffleUp{"__shfl_up_sync", [](uint32_t mask, const int* argument, uint64_t* value) {
  shuffle(mask, argument, value, [](int lane, int delta, int first, int) { return lane - delta < first ? lane : lane - delta; });
}};
inline constexpr Collective kShuffleDown{"__shfl_down_sync", [](uint32_t mask, const int* argument, uint64_t* value) {
  shuffle(mask, argument, value, [](int lane, int delta, int, int last) { return lane + delta > last ? lane : lane + delta; });
}};
inline constexpr Collective kShuffleXor{"__shfl_xor_sync", [](uint32_t mask, const int* argument, uint64_t* value) {
  shuffle(mask, argument, value, [](int lane, int bits, int, int last) { return (lane ^ bits) > last ? lane : lane ^ bits; });
}};

// Every lane gets combine(...combine(combine(start, first lane), second lane)...).
template <class Combine>
inline void reduce(uint32_t mask, uint64_t* value, uint64_t start, Combine combine) {
  for_lanes(mask, [&](int lane) { start = combine(start, value[lane], lane); });
  for_lanes(mask, [&](int lane) { value[lane] = start; });
}

inline constexpr Collective kSyncWarp{"__syncwarp", nullptr};  // no values; orders memory
inline void ballot(uint32_t mask, const int*, uint64_t* value) {
  reduce(mask, value, 0, [](uint64_t lanes, uint64_t predicate, int lane) { return lanes | predicate << lane; });
}
inline constexpr Collective kBallot{"__ballot_sync", ballot};
inline constexpr Collective kAny{"__any_sync", ballot};
inline constexpr Collective kAll{"__all_sync", ballot};

inline constexpr Collective kMatchAny{"__match_any_sync", [](uint32_t mask, const int*, uint64_t* value) {
  uint64_t result[32] = {};
  for_lanes(mask, [&](int lane) {
    for_lanes(mask, [&](int other) { result[lane] |= uint64_t(value[lane] == value[other]) << other; });
  });
  for_lanes(mask, [&](int lane) { value[lane] = result[lane]; });
}};
inline constexpr Collective kMatchAll{"__match_all_sync", [](uint32_t mask, const int*, uint64_t* value) {
  uint64_t first = value[__builtin_ctz(mask)];
  reduce(mask, value, mask, [=](uint64_t all, uint64_t v, int) { return v == first ? all : 0; });
}};

#define PYCNN_REDUCE(Name, function, T, expression)                                           \
  template <class T>                                                                          \
  inline constexpr Collective Name{function, [](uint32_t mask, const int*, uint64_t* value) { \
    const int first = __builtin_ctz(mask);                                                    \
    reduce(mask, value, value[first], [=](uint64_t total, uint64_t lane_value, int lane) {    \
      T a = from_lane<T>(total), b = from_lane<T>(lane_value);                                \
      return lane == first ? total : to_lane(T(expression));                                  \
    });                                                                                       \
  }};
PYCNN_REDUCE(kReduceAdd, "__reduce_add_sync", T, unsigned(a) + unsigned(b))
PYCNN_REDUCE(kReduceMin, "__reduce_min_sync", T, b < a ? b : a)
PYCNN_REDUCE(kReduceMax, "__reduce_max_sync", T, b > a ? b : a)
PYCNN_REDUCE(kReduceAnd, "__reduce_and_sync", T, a& b)
PYCNN_REDUCE(kReduceOr, "__reduce_or_sync", T, a | b)
PYCNN_REDUCE(kReduceXor, "__reduce_xor_sync", T, a ^ b)
#undef PYCNN_REDUCE

template <class T>
inline T collective(const Collective& what, unsigned mask, T value, int argument, Site site) {
  return from_lane<T>(scheduler->collective(what, mask, to_lane(value), argument, site));
}

}  // namespace pycnn::cpu

inline void __syncwarp(unsigned mask = 0xffffffff, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  pycnn::cpu::scheduler->collective(pycnn::cpu::kSyncWarp, mask, 0, 0, site);
}

#define PYCNN_SHUFFLE(name, what)                                                                                         \
  template <class T>                                                                                                      \
  inline T name(unsigned mask, T value, int argument, int width = 32, pycnn::cpu::Site site = pycnn::cpu::Site::here()) { \
    return pycnn::cpu::collective(pycnn::cpu::what, mask, value, pycnn::cpu::shuffle_argument(argument, width), site);    \
  }
PYCNN_SHUFFLE(__shfl_sync, kShuffle)
PYCNN_SHUFFLE(__shfl_up_sync, kShuffleUp)
PYCNN_SHUFFLE(__shfl_down_sync, kShuffleDown)
PYCNN_SHUFFLE(__shfl_xor_sync, kShuffleXor)
#undef PYCNN_SHUFFLE

inline unsigned __ballot_sync(unsigned mask, int predicate, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return unsigned(pycnn::cpu::scheduler->collective(pycnn::cpu::kBallot, mask, predicate != 0, 0, site));
}
inline int __any_sync(unsigned mask, int predicate, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return pycnn::cpu::scheduler->collective(pycnn::cpu::kAny, mask, predicate != 0, 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return pycnn::cpu::scheduler->collective(pycnn::cpu::kAll, mask, predicate == 0, 0, site) == 0;  // no lane says no
}
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  return unsigned(pycnn::cpu::scheduler->collective(pycnn::cpu::kMatchAny, mask, pycnn::cpu::to_lane(value), 0, site));
}
template <class T>
inline unsigned __match_all_sync(unsigned mask, T value, int* all, pycnn::cpu::Site site = pycnn::cpu::Site::here()) {
  uint64_t same = pycnn::cpu::scheduler->collective(pycnn::cpu::kMatchAll, mask, pycnn::cpu::to_lane(value), 0, site);
  *all = same != 0;
  return unsigned(same);
}

#define PYCNN_REDUCE(name, what, T)                                                         \
  inline T name(unsigned mask, T value, pycnn::cpu::Site site = pycnn::cpu::Site::here()) { \
    return pycnn::cpu::collective(pycnn::cpu::what<T>, mask, value, 0, site);               \
  }
PYCNN_REDUCE(__reduce_add_sync, kReduceAdd, unsigned)
PYCNN_REDUCE(__reduce_add_sync, kReduceAdd, int)
PYCNN_REDUCE(__reduce_min_sync, kReduceMin, unsigned)
PYCNN_REDUCE(__reduce_min_sync, kReduceMin, int)
PYCNN_REDUCE(__reduce_max_sync, kReduceMax, unsigned)
PYCNN_REDUCE(__reduce_max_sync, kReduceMax, int)
PYCNN_REDUCE(__reduce_and_sync, kReduceAnd, unsigned)
PYCNN_REDUCE(__reduce_or_sync, kReduceOr, unsigned)
PYCNN_REDUCE(__reduce_xor_sync, kReduceXor, unsigned)
#undef PYCNN_REDUCE

// The lanes that run together with the calling one: none, since threads run one at a time.
inline unsigned __activemask() { return 1u << pycnn::cpu::scheduler->thread() % 32; }
