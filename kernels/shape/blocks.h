// How a strided copy is cut into blocks of two axes: v, the innermost of y, and u, the innermost of x.
#pragma once
#include "shape.h"

namespace pycnn {

struct CopyBlock {
  int64_t x, y;       // offsets of its first element
  int rows, columns;  // extents along u and v; smaller at the edges
};

struct CopyBlocks {
  Strided<2> outer;       // the other axes; array 0 is y, 1 is x
  int64_t rows, columns;  // extents of u and v; u has extent 1 if it is the same axis as v
  int64_t x_u, x_v, y_u, y_v;

  explicit CopyBlocks(const Strided<2>& walk) : outer(walk.collapsed()), rows(1), x_u(0), y_u(0) {
    const int v = kMaxRank - 1;
    int u = v;
    for (int d = 0; d < v; d++)
      if (outer.extent[d] > 1 && outer.stride[1][d] < outer.stride[1][u]) u = d;
    columns = take(v, x_v, y_v);
    if (u != v) rows = take(u, x_u, y_u);
  }

  int64_t count(int block_rows, int block_columns) const {
    return outer.size() * ceil_div(rows, block_rows) * ceil_div(columns, block_columns);
  }

  __host__ __device__ __forceinline__ CopyBlock block(int64_t i, int block_rows, int block_columns) const {
    const int64_t across = ceil_div(columns, block_columns), down = ceil_div(rows, block_rows);
    const int64_t line = i / across, v = (i - line * across) * block_columns;
    const int64_t plane = line / down, u = (line - plane * down) * block_rows;
    int64_t at[2];
    outer.offsets(plane, at);
    const int64_t rows_left = rows - u, columns_left = columns - v;
    return {at[1] + u * x_u + v * x_v, at[0] + u * y_u + v * y_v, int(rows_left < block_rows ? rows_left : block_rows),
            int(columns_left < block_columns ? columns_left : block_columns)};
  }

 private:
  int64_t take(int axis, int64_t& x_step, int64_t& y_step) {
    const int64_t extent = outer.extent[axis];
    x_step = outer.stride[1][axis], y_step = outer.stride[0][axis];
    outer.extent[axis] = 1;
    return extent;
  }
};

}  // namespace pycnn
