// The host micro-kernel: every product of the CPU's "host" versions is made of register tiles computed here.
// A tile of c (kTileRows x 2 vectors) stays in registers while k advances: two vector loads of b and one broadcast per row
// of a feed 2 * kTileRows multiply-adds. GCC's vector types, no intrinsics: the same source is AVX-512, AVX, SSE and NEON.
#pragma once
#include <algorithm>
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
template <class T> inline constexpr int kSlack = kLanes<T> / 2 - 1;  // elements a copied row may run over its end
template <class T> inline constexpr int kDepth = 1024 / sizeof(T);   // most terms of a block: its tile of b fills half of L1
template <class T> inline constexpr int kRowStride = kDepth<T> + kLanes<T>;  // off a power of two, room to copy whole vectors
inline constexpr int kBlockRows = 8 * kTileRows;                             // rows of a packed at once
template <class T> inline constexpr int kBlockSize = kBlockRows * kRowStride<T>;  // of a, in either layout
inline constexpr int kLocalColumns = 192;  // columns of b packed on the stack of the thread that uses them
inline constexpr int kBlockColumns = 512;  // columns of b that meet them

#ifdef __clang__
#define PYCNN_UNROLL _Pragma("unroll")
#else
#define PYCNN_UNROLL _Pragma("GCC unroll 16")
#endif

template <class T> Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }

inline int64_t round_up(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }

// How the block of a lies in memory: packed as rows [m][kRowStride] or as a strip [k][kTileRows] for each tile, or not packed:
// rows [m][pitch].
enum class Layout { rows, strips, in_place };

// Tile t of a block of `rows` rows begins at row t * rows / tiles: heights differ by at most 1.
inline int64_t tile_row(int64_t t, int64_t rows) { return t * rows / ceil_div(rows, kTileRows); }

// From strip to strip: copying whole vectors runs over the end.
template <class T> int64_t strip_pitch(int64_t depth) { return depth * kTileRows + kLanes<T>; }

// What becomes of a tile: c (+)= sums (+ bias). row[m] is where row m of c starts.
template <class T> struct Tile {
  T* const* row;
  int64_t column;   // first column in c
  int64_t columns;  // of it that exist
  const T* bias;    // of this column, readable in whole vectors; nullptr for none
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

// Writes the sums of a tile of which some columns do not exist.
template <class T, int width> void write_edge(const T* sums, int rows, const Tile<T>& c) {
  for (int m = 0; m < rows; m++, sums += width) {
    T *const out = c.row[m] + c.column, edge[width] = {};
    if (c.add) copy_few<T, width>(out, c.columns, edge);
    for (int i = 0; i < width; i++) edge[i] += sums[i];
    copy_few<T, width>(edge, c.columns, out);
  }
}

// The sums of one tile over `depth` terms: a's block as laid out, b's block depth x vectors.
template <class T, Layout layout, int rows, int vectors>
void tile_product(int64_t depth, const T* a, int64_t pitch, const T* b, Tile<T> c) {
  constexpr int L = kLanes<T>, width = vectors * L;
  const bool whole = c.columns == width, add = c.add;
  if (whole) {  // c may be far away
    PYCNN_UNROLL
    for (int m = 0; m < rows; m++) PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) __builtin_prefetch(c.row[m] + c.column + v * L, 1);
  }
  Vec<T> sum[rows][vectors] = {};
  for (int64_t k = 0; k < depth; k++) {
    Vec<T> bk[vectors];
    PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) bk[v] = load(b + v * L);
    PYCNN_UNROLL
    for (int m = 0; m < rows; m++) {
      const T am = a[layout == Layout::strips ? m : layout == Layout::rows ? m * kRowStride<T> : m * pitch];
      PYCNN_UNROLL
      for (int v = 0; v < vectors; v++) sum[m][v] += am * bk[v];
    }
    a += layout == Layout::strips ? kTileRows : 1;
    b += vectors * L;
  }

  if (c.bias) {
    PYCNN_UNROLL
    for (int m = 0; m < rows; m++) PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) sum[m][v] += load(c.bias + v * L);
  }
  if (!whole) {
    T sums[rows * width];
    PYCNN_UNROLL
    for (int m = 0; m < rows; m++) PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) store(sums + m * width + v * L, sum[m][v]);
    return write_edge<T, width>(sums, rows, c);
  }
  PYCNN_UNROLL
  for (int m = 0; m < rows; m++) {
    T* const out = c.row[m] + c.column;
    PYCNN_UNROLL
    for (int v = 0; v < vectors; v++) store(out + v * L, add ? sum[m][v] + load(out + v * L) : sum[m][v]);
  }
}

template <class T> using TileProduct = void (*)(int64_t, const T*, int64_t, const T*, Tile<T>);

// The kernel for a tile of `rows` x `vectors`: every height has its own, so a remainder wastes no row.
template <class T, Layout layout, int... r>
TileProduct<T> tile_kernel(int rows, int vectors, std::integer_sequence<int, r...>) {
  static constexpr TileProduct<T> one[] = {tile_product<T, layout, r + 1, 1>...};
  static constexpr TileProduct<T> two[] = {tile_product<T, layout, r + 1, 2>...};
  return (vectors == 1 ? one : two)[rows - 1];
}

// Vectors of the next tile of a block with so many columns left: two, or one where one is enough.
template <class T> int tile_vectors(int64_t columns_left) { return columns_left > kLanes<T> ? 2 : 1; }

// All tiles of a block: `rows` x `columns` of c from a block of a and packed b. Tile j of b is `depth` x 1 or 2 vectors.
template <class T, Layout layout>
void block_product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t pitch, const T* b, T* const* row,
                   int64_t column, const T* bias, bool add) {
  struct {
    int64_t row, height;
    const T* a;
  } tile[kBlockRows / kTileRows];
  const int64_t tiles = ceil_div(rows, kTileRows);
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t m = tile_row(t, rows);
    const int64_t from =
        layout == Layout::strips ? t * strip_pitch<T>(depth) : m * (layout == Layout::rows ? kRowStride<T> : pitch);
    tile[t] = {m, tile_row(t + 1, rows) - m, a + from};
  }
  for (int64_t n = 0; n < columns; n += kTileColumns<T>) {
    const int vectors = tile_vectors<T>(columns - n);
    const int64_t exist = std::min<int64_t>(columns - n, vectors * kLanes<T>);
    for (int64_t t = 0; t < tiles; t++) {
      const auto kernel = tile_kernel<T, layout>(int(tile[t].height), vectors, std::make_integer_sequence<int, kTileRows>{});
      kernel(depth, tile[t].a, pitch, b + n * depth, {row + tile[t].row, column + n, exist, bias ? bias + n : nullptr, add});
    }
  }
}

}  // namespace pycnn::host
