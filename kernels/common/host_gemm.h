// Matrix products of the CPU's "host" versions: what is packed when, and how the work is shared out.
// A sum is cut into blocks of at most kDepth terms, by shape alone: its bits do not depend on tiles or threads.
#pragma once
#include <atomic>

#include "host_pack.h"

namespace pycnn::host {

// How the terms of a sum are cut: blocks of equal depth, at most kDepth.
template <class T> struct Depths {
  int64_t terms, count, depth;
  explicit Depths(int64_t terms)
      : terms(terms), count(std::max<int64_t>(1, ceil_div(terms, kDepth<T>))), depth(ceil_div(terms, count)) {}
  int64_t begin(int64_t i) const { return std::min(terms, i * depth); }
  int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }
};

// Runs f(0 .. items - 1), over the threads unless the whole is too little work to wake them. A thread that is done takes the
// next item, so one that is slowed down by other programs delays the rest by one item at most.
template <class F> void for_each(int64_t items, double operations, F f) {
  if (operations <= 2e6) {
    for (int64_t i = 0; i < items; i++) f(i);
    return;
  }
  std::atomic<int64_t> next{0};
  cpu::parallel_for(std::min<int64_t>(items, cpu::get_num_threads()), [&](int64_t) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < items;) f(i);
  });
}

// Whether all of b is packed first, into the workspace: where several blocks of rows share it.
inline bool packs_first(int64_t M) { return M > kBlockRows; }

template <class T> int64_t workspace_bytes(int64_t groups, int64_t M, int64_t N, int64_t K) {
  return packs_first(M) ? groups * K * round_up(N, kLanes<T>) * int64_t(sizeof(T)) : 0;
}

// Packs the b of every group; b_of(group) is its source.
template <class T, Source direction, class Sources>
void pack(int64_t groups, int64_t K, int64_t N, const Sources& b_of, T* packed) {
  const Depths<T> blocks(K);
  const int64_t step = direction == Source::across ? kTileColumns<T> : kBlockColumns, pieces = ceil_div(N, step);
  for_each(groups * pieces * blocks.count, 8.0 * groups * K * N, [&](int64_t i) {
    const int64_t k = blocks.begin(i % blocks.count), depth = blocks.size(i % blocks.count);
    const int64_t n = i / blocks.count % pieces * step, group = i / blocks.count / pieces;
    T* out = packed + (group * K + k) * round_up(N, kLanes<T>) + n * depth;
    pack_block<T, direction>(b_of(group), k, depth, n, std::min(N - n, step), out);
  });
}

// What is multiplied: c (+)= a * b (+ bias). c.row(m) is where row m starts.
template <class T, class A, class B, class C> struct Product {
  A a;
  B b;
  C c;
  const T* bias;  // or nullptr
};

// The products of all groups, each M x N x K, in one parallel loop. product_of(group) says what they are.
template <class T, Layout layout, Source direction, class Products>
void multiply(int64_t groups, int64_t M, int64_t N, int64_t K, const Products& product_of, bool accumulate, T* workspace) {
  if (M == 0 || N == 0) return;
  const bool first = packs_first(M);
  if (first) pack<T, direction>(groups, K, N, [&](int64_t group) { return product_of(group).b; }, workspace);

  // Blocks of c: 16 for each thread, so that none waits long for the last; large ones where there are more, and columns are
  // parted before rows, which read b again. No sum depends on this choice.
  const int64_t threads = cpu::get_num_threads(), items = ceil_div(16 * threads, groups);
  int64_t row_blocks = 1, wanted = std::max(ceil_div(N, kLocalColumns), ceil_div(items, 4));
  if (first) {
    const int64_t large = ceil_div(M, kBlockRows), small = ceil_div(M, kBlockRows / 2);
    wanted = std::clamp(ceil_div(items, large), ceil_div(N, kBlockColumns), ceil_div(N, kBlockColumns / 4));
    row_blocks = std::min(M, round_up(std::clamp(ceil_div(items, wanted), large, small), threads));  // as many for each thread
  }
  const int64_t block_columns = round_up(ceil_div(N, wanted), kTileColumns<T>), column_blocks = ceil_div(N, block_columns);
  const Depths<T> blocks(K);
  for_each(groups * row_blocks * column_blocks, 2.0 * groups * M * N * K, [&](int64_t i) {
    const int64_t group = i / column_blocks / row_blocks;
    const auto [a, b, c, bias] = product_of(group);
    const int64_t block = i / column_blocks % row_blocks, m = block * M / row_blocks, rows = (block + 1) * M / row_blocks - m;
    const int64_t n = i % column_blocks * block_columns, columns = std::min(N - n, block_columns);
    T* row[kBlockRows];
    for (int64_t j = 0; j < rows; j++) row[j] = c.row(m + j);
    alignas(64) T a_block[kBlockSize<T>], b_block[kDepth<T> * kLocalColumns], bias_block[kBlockColumns + kLanes<T>];
    if (bias) std::copy_n(bias + n, columns, bias_block), std::fill_n(bias_block + columns, kLanes<T>, T(0));
    for (int64_t d = 0; d < blocks.count; d++) {
      const int64_t k = blocks.begin(d), depth = blocks.size(d);
      const T* packed = first ? workspace + (group * K + k) * round_up(N, kLanes<T>) + n * depth : b_block;
      if (!first) pack_block<T, direction>(b, k, depth, n, columns, b_block);
      const T* bias_here = d == 0 && bias ? bias_block : nullptr;
      const bool add = d > 0 || accumulate;
      if constexpr (layout == Layout::strips) {
        pack_strips(a, k, depth, m, rows, a_block);
        block_product<T, Layout::strips>(rows, columns, depth, a_block, 0, packed, row, n, bias_here, add);
      } else {
        const T* in = a.in_place();
        if (!in) a.fill(m, rows, k, depth, a_block, kRowStride<T>);
        block_product<T, Layout::rows>(rows, columns, depth, in ? in + m * a.pitch + k : a_block, in ? a.pitch : kRowStride<T>,
                                       packed, row, n, bias_here, add);
      }
    }
  });
}

}  // namespace pycnn::host
