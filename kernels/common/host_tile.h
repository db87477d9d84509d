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
template <class T> inline constexpr int kCacheLine = 64 / sizeof(T);  // elements
template <class T> inline constexpr int kSlack = kLanes<T> / 2 - 1;   // elements a copied row may run over its end
template <class T> inline constexpr int kDepth = 1024 / sizeof(T);    // most terms of a block: tiles of a and b fit L1 together
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

// How the block of a lies in memory: rows [m][pitch], columns [k][pitch], or packed as a strip [k][kTileRows] for each tile.
enum class Layout { rows, columns, strips };

// Tile t of a block of `rows` rows begins at row t * rows / tiles: heights differ by at most 1.
inline int64_t tile_row(int64_t t, int64_t rows) { return t * rows / ceil_div(rows, kTileRows); }

// From strip to strip: copying whole vectors runs over the end.
template <class T> int64_t strip_pitch(int64_t depth) { return depth * kTileRows + kLanes<T>; }

// What becomes of tiles side by side: c (+)= sums (+ bias). row[m] is where row m of c starts.
template <class T> struct Tiles {
  T* const* row;
  int64_t column;   // first column in c
  int64_t columns;  // from there on that exist
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
template <class T, int width> void write_edge(const T* sums, int rows, const Tiles<T>& c) {
  for (int m = 0; m < rows; m++, sums += width) {
    T *const out = c.row[m] + c.column, edge[width] = {};
    if (c.add) copy_few<T, width>(out, c.columns, edge);
    for (int i = 0; i < width; i++) edge[i] += sums[i];
    copy_few<T, width>(edge, c.columns, out);
  }
}

// Tiles side by side, sums over `depth` terms: `rows` rows of a as laid out, b's tiles of depth x vectors one after the other.
template <class T, Layout layout, int rows, int vectors>
void tiles_product(int64_t depth, const T* a, int64_t pitch, const T* b, Tiles<T> c) {
  constexpr int L = kLanes<T>, width = vectors * L;
  for (; c.columns > 0; c.columns -= width, c.column += width) {
    PYCNN_UNROLL
    for (int m = 0; m < rows; m++) PYCNN_UNROLL
    for (int i = 0; i < width; i += kCacheLine<T>) __builtin_prefetch(c.row[m] + c.column + i, 1);  // c may be far away
    Vec<T> sum[rows][vectors] = {};
    const T* ak = a;
    for (int64_t k = 0; k < depth; k++) {
      Vec<T> bk[vectors];
      PYCNN_UNROLL
      for (int v = 0; v < vectors; v++) bk[v] = load(b + v * L);
      PYCNN_UNROLL
      for (int m = 0; m < rows; m++) {
        const T am = ak[layout == Layout::rows ? m * pitch : m];
        PYCNN_UNROLL
        for (int v = 0; v < vectors; v++) sum[m][v] += am * bk[v];
      }
      ak += layout == Layout::rows ? 1 : layout == Layout::columns ? pitch : kTileRows;
      b += width;
    }

    if (c.bias) {
      PYCNN_UNROLL
      for (int m = 0; m < rows; m++) PYCNN_UNROLL
      for (int v = 0; v < vectors; v++) sum[m][v] += load(c.bias + v * L);
      c.bias += width;
    }
    if (c.columns < width) {
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
      for (int v = 0; v < vectors; v++) store(out + v * L, c.add ? sum[m][v] + load(out + v * L) : sum[m][v]);
    }
  }
}

template <class T> using TilesProduct = void (*)(int64_t, const T*, int64_t, const T*, Tiles<T>);

// The kernel for tiles of `rows` x `vectors`: every height has its own, so a remainder wastes no row.
template <class T, Layout layout, int... r>
TilesProduct<T> tiles_kernel(int rows, int vectors, std::integer_sequence<int, r...>) {
  static constexpr TilesProduct<T> one[] = {tiles_product<T, layout, r + 1, 1>...};
  static constexpr TilesProduct<T> two[] = {tiles_product<T, layout, r + 1, 2>...};
  return (vectors == 1 ? one : two)[rows - 1];
}

// Vectors of the next tile of a block with so many columns left: two, or one where one is enough.
template <class T> int tile_vectors(int64_t columns_left) { return columns_left > kLanes<T> ? 2 : 1; }

// All tiles of a block: `rows` x `columns` of c from a block of a and packed b. Tile j of b is `depth` x 1 or 2 vectors.
// A tile's rows of a stay in L1 while b streams by from L2, and c is written row by row.
template <class T, Layout layout>
void block_product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t pitch, const T* b, T* const* row,
                   int64_t column, const T* bias, bool add) {
  constexpr std::make_integer_sequence<int, kTileRows> heights{};
  const int64_t tiles = ceil_div(rows, kTileRows), rest = columns % kTileColumns<T>;
  const int64_t last = rest > 0 && tile_vectors<T>(rest) == 1 ? rest : 0;  // columns of the last tile, if it is one vector wide
  const int64_t pairs = columns - last;
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t m = tile_row(t, rows), height = tile_row(t + 1, rows) - m;
    const T* from = a + (layout == Layout::rows ? m * pitch : layout == Layout::columns ? m : t * strip_pitch<T>(depth));
    const auto product = [&](int vectors, int64_t n, int64_t width) {
      const auto kernel = tiles_kernel<T, layout>(int(height), vectors, heights);
      kernel(depth, from, pitch, b + n * depth, {row + m, column + n, width, bias ? bias + n : nullptr, add});
    };
    if (pairs) product(2, 0, pairs);
    if (last) product(1, pairs, last);
  }
}

}  // namespace pycnn::host
