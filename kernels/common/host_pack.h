// Packing: copies of cache-sized blocks of a and b in the order the micro-kernel reads them. A source is anything that can
// copy a range of its rows, so an image is a matrix whose rows are gathered on the fly (host_conv.h): no column buffer.
#pragma once
#include <array>

#include "host_tile.h"

namespace pycnn::host {

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
// rows are copied to out; up to kSlack elements after each row's n may be overwritten. A source also has in_place(): where its
// first row is if the rows lie in memory `pitch` apart, else nullptr.
template <class T> struct DenseRows {
  const T* data;
  int64_t pitch;
  const T* end;  // of the memory that may be read
  void fill(int64_t row, int64_t rows, int64_t from, int64_t n, T* out, int64_t stride) const {
    copy_rows(data + row * pitch + from, pitch, rows, n, out, stride, end);
  }
  const T* in_place() const { return data; }
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

// Columns [m, m + rows) of rows [k, k + depth) of a's source, as strips.
template <class T, class A>
void pack_strips(const A& a, int64_t k, int64_t depth, int64_t m, int64_t rows, T* out) {
  constexpr int64_t L = kLanes<T>, at_once = 16, stride = kBlockRows + L;
  alignas(64) T lines[at_once * stride];
  const int64_t tiles = ceil_div(rows, kTileRows);
  for (int64_t d = 0; d < depth; d += at_once) {
    const int64_t count = std::min(depth - d, at_once);
    a.fill(k + d, count, m, rows, lines, stride);
    for (int64_t t = 0; t < tiles; t++) {
      const T* in = lines + tile_row(t, rows);
      T* strip = out + t * strip_pitch<T>(depth) + d * kTileRows;
      for (int64_t i = 0; i < count; i++)  // what runs over is written again by the next
        for (int v = 0; v < kTileRows; v += L) store(strip + i * kTileRows + v, load(in + i * stride + v));
    }
  }
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

  if (const T* in = b.in_place()) {  // whole tiles are copied as they lie
    const int64_t whole = columns / kTileColumns<T> * kTileColumns<T>;
    for (int64_t d = 0; d < depth; d += 8)
      for (int64_t j = 0; j < whole; j += kTileColumns<T>)
        copy_halves<T, 4>(in + (k + d) * b.pitch + n + j, b.pitch, std::min<int64_t>(depth - d, 8), out + j * depth + d * 2 * L,
                          2 * L);
    n += whole, columns -= whole, out += whole * depth;
    if (columns == 0) return;
  }

  const int64_t width = tile_vectors<T>(columns) * L;
  // Lanes past the last column are computed and dropped. They are cleared first: stray denormal numbers would be slow.
  if (columns + kSlack<T> <= width) {  // one tile with room for what a row runs over
    std::fill_n(out, depth * width, T(0));
    return b.fill(k, depth, n, columns, out, width);
  }
  alignas(64) T rows[8 * (kBlockColumns + L)];
  const int64_t stride = round_up(columns, L) + L, at_once = 8 * (kBlockColumns + L) / stride;
  for (int64_t d = 0; d < depth; d += at_once) {
    const int64_t count = std::min(depth - d, at_once);
    for (int64_t i = 0; i < count; i++) store(rows + i * stride + columns, Vec<T>{});
    b.fill(k + d, count, n, columns, rows, stride);
    for (int64_t j = 0; j < columns; j += kTileColumns<T>) {
      T* tile = out + j * depth;
      if (tile_vectors<T>(columns - j) == 2) copy_halves<T, 4>(rows + j, stride, count, tile + d * 2 * L, 2 * L);
      else copy_halves<T, 2>(rows + j, stride, count, tile + d * L, L);
    }
  }
}

}  // namespace pycnn::host
