// The host micro-kernel: every product of the CPU's "host" versions is a sum of register tiles computed here.
//
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//
// A tile of c (kTileRows x 2 vectors) stays in registers while k advances: two vector loads of b, one broadcast per row
// of a. Operands are copied ("packed") into cache-sized blocks first; a source is anything that can copy a range of its
// rows, so an image is a matrix whose rows are gathered on the fly (host_conv.h) and no column buffer exists.
// A sum is cut into blocks of at most kDepth terms, by shape alone: its bits do not depend on tiles or threads.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "launch.h"

namespace pycnn::host {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kTileRows = 14;  // 28 sums + 2 of b + 1 of a, of 32 registers
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kTileRows = 6;  // 12 + 2 + 1 of 16
#elif defined(__aarch64__)
inline constexpr int kVectorBytes = 16, kTileRows = 12;  // 24 + 2 + 3 of 32
#else
inline constexpr int kVectorBytes = 16, kTileRows = 6;  // SSE: 12 + 2 + 1 of 16
#endif

template <class T> struct Simd {
  static constexpr int lanes = kVectorBytes / sizeof(T);
  typedef T type __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));  // loads from any T*
};
template <class T> using Vec = typename Simd<T>::type;
template <class T> inline constexpr int kLanes = Simd<T>::lanes;
template <class T> inline constexpr int kTileColumns = 2 * kLanes<T>;
template <class T> inline constexpr int kSlack = kLanes<T> / 2 - 1;
template <class T> inline constexpr int kDepth = 1024 / sizeof(T);  // most terms of a block: its tile of b fills half of L1
template <class T> inline constexpr int kRowStride = kDepth<T> + kLanes<T>;  // off a power of two, room to copy whole vectors
inline constexpr int kBlockRows = 8 * kTileRows;  // rows of a packed at once
template <class T> inline constexpr int kColumnStride = kBlockRows + kLanes<T>;
template <class T> inline constexpr int kBlockSize = std::max(kBlockRows * kRowStride<T>, kDepth<T> * kColumnStride<T>);
inline constexpr int kLocalColumns = 192;         // columns of b packed on the stack of the thread that uses them
inline constexpr int kBlockColumns = 512;         // columns of b that meet them

#define PYCNN_UNROLL _Pragma("GCC unroll 16")

template <class T> Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }

inline int64_t round_up(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }

// How the packed block of a lies in memory: rows[m][kRowStride] or columns [k][stride].
enum class Layout { rows, columns };

// What becomes of a tile: c (+)= sums (+ bias). row[m] is where row m of c starts.
template <class T> struct Tile {
  T* const* row;
  int64_t column;   // first column in c
  int64_t columns;  // of it that exist
  const T* bias;    // of this column; nullptr for none
  bool add;         // += what is there
};

// Copies exactly n elements, at most `most`, a power of two.
template <class T, int most> void copy_few(const T* in, int64_t n, T* out) {
  PYCNN_UNROLL
  for (int size = most; size > 0; size /= 2) {
    if (!(n & size)) continue;
    std::memcpy(out, in, size * sizeof(T));
    in += size, out += size;
  }
}

// ---- the micro-kernel ------------------------------------------------------------------------------------------

template <class T, Layout layout, int rows, int vectors>
void tile_product(int64_t depth, const T* a, int64_t a_stride, const T* b, const Tile<T>& c) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[rows][vectors] = {};
  for (int64_t k = 0; k < depth; k++) {
    Vec<T> bk[vectors];
    PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) bk[v] = load(b + v * L);
    PYCNN_UNROLL
    for (int m = 0; m < rows; m++) {
      const T am = layout == Layout::rows ? a[m * kRowStride<T>] : a[m];
      PYCNN_UNROLL
      for (int v = 0; v < vectors; v++) sum[m][v] += am * bk[v];
    }
    a += layout == Layout::rows ? 1 : a_stride;
    b += vectors * L;
  }

  constexpr int width = vectors * L;
  const bool whole = c.columns == width;
  T edge[width] = {}, bias[width] = {};
  if (c.bias) copy_few<T, width>(c.bias, c.columns, bias);
  PYCNN_UNROLL
  for (int m = 0; m < rows; m++) {
    T *const row = c.row[m] + c.column, *const out = whole ? row : edge;
    if (!whole && c.add) copy_few<T, width>(row, c.columns, edge);
    PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) {
      if (c.bias) sum[m][v] += load(bias + v * L);
      if (c.add) sum[m][v] += load(out + v * L);
      store(out + v * L, sum[m][v]);
    }
    if (!whole) copy_few<T, width>(edge, c.columns, row);
  }
}

template <class T> using TileProduct = void (*)(int64_t, const T*, int64_t, const T*, const Tile<T>&);

// The kernel for a tile of `rows` x `vectors`: every height has its own, so a remainder wastes no row.
template <class T, Layout layout, int... r>
TileProduct<T> tile_kernel(int rows, int vectors, std::integer_sequence<int, r...>) {
  static constexpr TileProduct<T> one[] = {tile_product<T, layout, r + 1, 1>...};
  static constexpr TileProduct<T> two[] = {tile_product<T, layout, r + 1, 2>...};
  return (vectors == 1 ? one : two)[rows - 1];
}

// Columns of the tile that starts at `column` of `columns`: two vectors, or one where one is enough.
template <class T> int tile_vectors(int64_t columns_left) { return columns_left > kLanes<T> ? 2 : 1; }

// All tiles of a block: `rows` x `columns` of c from packed a and packed b. Tile j of b is `depth` x 1 or 2 vectors.
template <class T, Layout layout>
void block_product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_stride, const T* b, T* const* row,
                   int64_t column, const T* bias, bool add) {
  const int64_t tiles = ceil_div(rows, kTileRows);
  for (int64_t n = 0; n < columns; n += kTileColumns<T>) {
    const int vectors = tile_vectors<T>(columns - n);
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t m = t * rows / tiles, height = (t + 1) * rows / tiles - m;  // heights differ by at most 1
      const auto kernel = tile_kernel<T, layout>(int(height), vectors, std::make_integer_sequence<int, kTileRows>{});
      kernel(depth, layout == Layout::rows ? a + m * kRowStride<T> : a + m, a_stride, b + n * depth,
             {row + m, column + n, std::min<int64_t>(columns - n, vectors * kLanes<T>), bias ? bias + n : nullptr, add});
    }
  }
}

// ---- packing ---------------------------------------------------------------------------------------------------

// Copies `rows` rows of `halves` half vectors, the number known so that no loop over them is left.
template <class T, int halves>
void copy_halves(const T* in, int64_t in_stride, int64_t rows, T* out, int64_t out_stride) {
  for (int64_t i = 0; i < rows; i++, in += in_stride, out += out_stride) {
    PYCNN_UNROLL
    for (int v = 0; v < halves / 2; v++) store(out + v * kLanes<T>, load(in + v * kLanes<T>));
    if (halves % 2) std::memcpy(out + halves / 2 * kLanes<T>, in + halves / 2 * kLanes<T>, kVectorBytes / 2);
  }
}

// Copies `rows` rows of n elements; in half vectors where memory up to `end` allows, up to kSlack elements too many.
template <class T>
void copy_rows(const T* in, int64_t in_stride, int64_t rows, int64_t n, T* out, int64_t out_stride, const T* end) {
  constexpr int four = 4 * kLanes<T>, half = kLanes<T> / 2;
  for (; n >= four; n -= four, in += four, out += four) copy_halves<T, 8>(in, in_stride, rows, out, out_stride);
  const int64_t halves = ceil_div(n, half);
  int64_t whole = rows;
  while (whole > 0 && in + (whole - 1) * in_stride + halves * half > end) whole--;
  switch (halves) {
    case 0: return;
    case 1: copy_halves<T, 1>(in, in_stride, whole, out, out_stride); break;
    case 2: copy_halves<T, 2>(in, in_stride, whole, out, out_stride); break;
    case 3: copy_halves<T, 3>(in, in_stride, whole, out, out_stride); break;
    case 4: copy_halves<T, 4>(in, in_stride, whole, out, out_stride); break;
    case 5: copy_halves<T, 5>(in, in_stride, whole, out, out_stride); break;
    case 6: copy_halves<T, 6>(in, in_stride, whole, out, out_stride); break;
    case 7: copy_halves<T, 7>(in, in_stride, whole, out, out_stride); break;
    case 8: copy_halves<T, 8>(in, in_stride, whole, out, out_stride); break;
  }
  for (int64_t i = whole; i < rows; i++) std::memcpy(out + i * out_stride, in + i * in_stride, n * sizeof(T));
}

// out[0 .. n) += in. Memory up to `end` belongs to the caller: the last vector may write back there what it read.
template <class T> void add_row(const T* in, int64_t n, T* out, const T* end) {
  constexpr int L = kLanes<T>;
  static constexpr auto mask = [] {
    std::array<T, 2 * L> ones_zeros{};
    for (int i = 0; i < L; i++) ones_zeros[i] = 1;
    return ones_zeros;
  }();
  for (; n >= L; n -= L, in += L, out += L) store(out, load(out) + load(in));
  if (n > 0 && out + L <= end) {
    const Vec<T> old = load(out), inside = load(mask.data() + L - n);
    store(out, inside != 0 ? old + load(in) : old);
  } else {
    for (int64_t i = 0; i < n; i++) out[i] += in[i];
  }
}

// A source of rows in memory. Every source has fill(row, rows, from, n, out, stride): columns [from, from + n) of `rows`
// rows are copied to out; up to kSlack elements after each row's n may be overwritten.
template <class T> struct DenseRows {
  const T* data;
  int64_t pitch;
  const T* end;  // of the memory that may be read
  void fill(int64_t row, int64_t rows, int64_t from, int64_t n, T* out, int64_t stride) const {
    copy_rows(data + row * pitch + from, pitch, rows, n, out, stride, end);
  }
};

// Past the last element of `rows` rows.
template <class T> const T* end_of(const T* data, int64_t rows, int64_t pitch, int64_t columns) {
  return rows ? data + (rows - 1) * pitch + columns : data;
}

// Where the rows of c start.
template <class T> struct Rows {
  T* data;
  int64_t pitch;
  T* row(int64_t i) const { return data + i * pitch; }
};

// Transposes kLanes rows of kLanes elements by interleaving halves log2(kLanes) times.
template <class T, int... i>
void transpose(const T* in, int64_t in_stride, T* out, int64_t out_stride, std::integer_sequence<int, i...>) {
  constexpr int L = kLanes<T>;
#if defined(__clang__) || __GNUC__ >= 12
  Vec<T> v[L] = {load(in + i * in_stride)...}, w[L];
  PYCNN_UNROLL
  for (int step = 1; step < L; step *= 2) {
    PYCNN_UNROLL
    for (int j = 0; j < L / 2; j++) {
      w[2 * j] = __builtin_shufflevector(v[j], v[j + L / 2], (i / 2 + i % 2 * L)...);
      w[2 * j + 1] = __builtin_shufflevector(v[j], v[j + L / 2], (L / 2 + i / 2 + i % 2 * L)...);
    }
    PYCNN_UNROLL
    for (int j = 0; j < L; j++) v[j] = w[j];
  }
  (store(out + i * out_stride, v[i]), ...);
#else
  for (int j = 0; j < L; j++)
    for (int k = 0; k < L; k++) out[k * out_stride + j] = in[j * in_stride + k];
#endif
}

// Which index of a packed block is contiguous in the source: its rows are b's columns (across) or b's rows (along).
enum class Source { across, along };

// b[k .. k + depth, n .. n + columns) as tiles of `depth` x 1 or 2 vectors; `columns` ends a tile or is the last.
template <class T, Source direction, class B>
void pack_block(const B& b, int64_t k, int64_t depth, int64_t n, int64_t columns, T* out) {
  constexpr int L = kLanes<T>;
  for (int64_t left = columns; direction == Source::across && left > 0; left -= kTileColumns<T>, n += kTileColumns<T>) {
    alignas(64) T rows[L * kRowStride<T>];
    const int64_t width = tile_vectors<T>(left) * L;
    for (int64_t v = 0; v < width; v += L) {
      const int64_t count = std::min<int64_t>(left - v, L);
      b.fill(n + v, count, k, depth, rows, kRowStride<T>);
      for (int64_t i = count; i < L; i++) std::fill_n(rows + i * kRowStride<T>, depth, T(0));
      int64_t d = 0;
      for (; d + L <= depth; d += L)
        transpose(rows + d, kRowStride<T>, out + d * width + v, width, std::make_integer_sequence<int, L>{});
      for (; d < depth; d++)
        for (int i = 0; i < L; i++) out[d * width + v + i] = rows[i * kRowStride<T> + d];
    }
    out += depth * width;
  }
  if (direction == Source::across) return;

  const int64_t width = tile_vectors<T>(columns) * L;
  if (columns + kSlack<T> <= width) return b.fill(k, depth, n, columns, out, width);  // one tile with room to spare
  alignas(64) T rows[8 * (kBlockColumns + L)];
  const int64_t stride = round_up(columns, L) + L, at_once = 8 * (kBlockColumns + L) / stride;
  for (int64_t d = 0; d < depth; d += at_once) {
    const int64_t count = std::min(depth - d, at_once);
    b.fill(k + d, count, n, columns, rows, stride);
    for (int64_t j = 0; j < columns; j += kTileColumns<T>) {
      T* tile = out + j * depth;
      if (tile_vectors<T>(columns - j) == 2) copy_halves<T, 4>(rows + j, stride, count, tile + d * 2 * L, 2 * L);
      else copy_halves<T, 2>(rows + j, stride, count, tile + d * L, L);
    }
  }
}

// ---- products --------------------------------------------------------------------------------------------------

// How the terms of a sum are cut: blocks of equal depth, at most kDepth.
template <class T> struct Depths {
  int64_t terms, count, depth;
  explicit Depths(int64_t terms)
      : terms(terms), count(std::max<int64_t>(1, ceil_div(terms, kDepth<T>))), depth(ceil_div(terms, count)) {}
  int64_t begin(int64_t i) const { return std::min(terms, i * depth); }
  int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }
};

// Runs f(0 .. items - 1), over the threads unless the whole is too little work to wake them.
template <class F> void for_each(int64_t items, double operations, F f) {
  if (operations > 1e6) return cpu::parallel_for(items, f);
  for (int64_t i = 0; i < items; i++) f(i);
}

// Whether all of b is packed first, into the workspace: where several blocks of rows share it.
inline bool packs_first(int64_t M) { return M > kBlockRows; }

template <class T> int64_t workspace_bytes(int64_t M, int64_t N, int64_t K) {
  return packs_first(M) ? K * round_up(N, kLanes<T>) * int64_t(sizeof(T)) : 0;
}

template <class T, Source direction, class B>
void pack(int64_t K, int64_t N, const B& b, T* packed) {
  const Depths<T> blocks(K);
  const int64_t step = direction == Source::across ? kTileColumns<T> : kBlockColumns, pieces = ceil_div(N, step);
  for_each(pieces * blocks.count, 8.0 * K * N, [&](int64_t i) {
    const int64_t k = blocks.begin(i % blocks.count), depth = blocks.size(i % blocks.count), n = i / blocks.count * step;
    pack_block<T, direction>(b, k, depth, n, std::min(N - n, step), packed + k * round_up(N, kLanes<T>) + n * depth);
  });
}

// c[M, N] (+)= a * b (+ bias). c.row(m) is where row m starts.
template <class T, Layout layout, Source direction, class A, class B, class C>
void multiply(int64_t M, int64_t N, int64_t K, const A& a, const B& b, const C& c, const T* bias, bool accumulate, T* workspace) {
  if (M == 0 || N == 0) return;
  const bool first = packs_first(M);
  if (first) pack<T, direction>(K, N, b, workspace);

  // Blocks of c: enough of them to share out, large ones where there are many. No sum depends on this choice.
  const int64_t row_blocks = ceil_div(M, kBlockRows);
  const int64_t wanted = std::max(ceil_div(N, first ? kBlockColumns : kLocalColumns), ceil_div(4 * cpu::get_num_threads(), row_blocks));
  const int64_t block_columns = round_up(ceil_div(N, wanted), kTileColumns<T>), column_blocks = ceil_div(N, block_columns);
  const Depths<T> blocks(K);
  for_each(row_blocks * column_blocks, 2.0 * M * N * K, [&](int64_t i) {
    const int64_t block = i / column_blocks, m = block * M / row_blocks, rows = (block + 1) * M / row_blocks - m;
    const int64_t n = i % column_blocks * block_columns, columns = std::min(N - n, block_columns);
    T* row[kBlockRows];
    for (int64_t j = 0; j < rows; j++) row[j] = c.row(m + j);
    alignas(64) T a_block[kBlockSize<T>], b_block[kDepth<T> * kLocalColumns];
    for (int64_t d = 0; d < blocks.count; d++) {
      const int64_t k = blocks.begin(d), depth = blocks.size(d);
      if (layout == Layout::rows) a.fill(m, rows, k, depth, a_block, kRowStride<T>);
      else a.fill(k, depth, m, rows, a_block, kColumnStride<T>);
      const T* packed = first ? workspace + k * round_up(N, kLanes<T>) + n * depth : b_block;
      if (!first) pack_block<T, direction>(b, k, depth, n, columns, b_block);
      block_product<T, layout>(rows, columns, depth, a_block, kColumnStride<T>, packed, row, n, d == 0 && bias ? bias + n : nullptr,
                               d > 0 || accumulate);
    }
  });
}

}  // namespace pycnn::host
