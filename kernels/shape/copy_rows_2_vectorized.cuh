/*
Copy of rows, version 2: copy_rows_1_plain with a block of rows and columns per thread.

Math      y[r,c] = x[r,c];  += when accumulating
Memory    x, y: rows of C neighboring elements, each with its own pitch from row to row
Threads   16 bytes of 4 rows each on a GPU, c fastest: a warp moves whole cache lines; about 4096 elements each on a CPU
Limit     memory bandwidth
Next      -
Storage   float half bfloat16 double uint8_t
*/
#include "../common/lanes.h"
#include "../common/strip.h"
#include "shape.h"

namespace pycnn {

// How a matrix is cut into threads: `height` rows and `width` columns each, fewer at the edges.
struct RowBlocks {
  int64_t rows, C, across, count;
  int width, height;

  RowBlocks(int64_t rows, int64_t C, int V) : rows(rows), C(C) {
    constexpr int kElements = 4096;
    width = PYCNN_CUDA ? V : int(C < kElements ? C : kElements);
    height = PYCNN_CUDA || !C ? 4 : kElements / width;
    across = C ? ceil_div(C, width) : 0;
    count = across * ceil_div(rows, height);
  }
};

template <class T, int kMaxV>
__global__ void copy_rows_kernel2(const T* x, T* y, RowBlocks b, int64_t x_pitch, int64_t y_pitch, bool accumulate) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= b.count) return;
  const int64_t down = i / b.across, begin = down * b.height, c0 = (i - down * b.across) * b.width;
  const int64_t end = begin + b.height < b.rows ? begin + b.height : b.rows;
  const int columns = b.width < b.C - c0 ? b.width : int(b.C - c0);

  for (int64_t r = begin; r < end; r++) {
    const T* from = x + r * x_pitch + c0;
    T* to = y + r * y_pitch + c0;
#if !PYCNN_CUDA
    if (accumulate) {
      STRIP for (int c = 0; c < columns; c++) to[c] = T(A(to[c]) + A(from[c]));
    } else {
      std::memcpy(to, from, columns * sizeof(T));
    }
#else
    for_lanes<kMaxV>(0, columns, [&](auto lanes, int c) {
      constexpr int V = decltype(lanes)::value;
      const auto values = load_lanes<V>(from + c);
      if (!accumulate) return store_lanes<V>(values.value, to + c);
      const auto before = load_lanes<V>(to + c);
      A sum[V];
      LANES for (int j = 0; j < V; j++) sum[j] = A(before[j]) + A(values[j]);
      store_lanes<V>(sum, to + c);
    });
#endif
  }
}

template <class T>
void copy_rows2(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<CopyRowsShape>();
  with_lanes<T>(int(plan.config[0]), [&](auto V) {
    const RowBlocks b(p.rows, p.C, V);
    const unsigned block = PYCNN_CUDA ? 128 : 16;
    launch<copy_rows_kernel2<T, V>>({grid_size(ceil_div(b.count, block)), block}, x.as<const T>(), y.as<T>(), b, x.pitch, y.pitch,
                                    p.accumulate != 0);
  });
}

template <class T>
const char* supports_copy_rows2(const CopyRowsShape& p, const Request&, Plan& plan) {
  const int V = lanes_for<T>(p.C);
  plan.config[0] = V;
  plan.alignment = PYCNN_CUDA ? V * int(sizeof(T)) : 1;
  return nullptr;
}

REGISTER_VERSION(CopyRows, vectorized, 2, "16 bytes of several rows per thread", supports_copy_rows2<STORAGE>,
                 copy_rows2<STORAGE>);

}  // namespace pycnn
