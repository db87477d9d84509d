/*
Copy of rows, version 1: one thread per element.

Math      y[r,c] = x[r,c];  += when accumulating
Memory    x, y: rows of C neighboring elements, each with its own pitch from row to row
Threads   one element each, c fastest
Limit     a 64-bit division and one access of 1 to 8 bytes a thread
Next      copy_rows_2_vectorized.cuh gives a thread 16 bytes of several rows
Storage   float half bfloat16 double uint8_t
*/
#include "shape.h"

namespace pycnn {

template <class T>
__global__ void copy_rows_kernel1(const T* x, T* y, int64_t rows, int64_t C, int64_t x_pitch, int64_t y_pitch, bool accumulate) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * C) return;
  const int64_t r = i / C, c = i - r * C;
  T* to = y + r * y_pitch + c;
  const T value = x[r * x_pitch + c];
  *to = accumulate ? T(A(*to) + A(value)) : value;
}

template <class T>
void copy_rows1(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<CopyRowsShape>();
  launch<copy_rows_kernel1<T>>({grid_size(ceil_div(p.rows * p.C, 256)), 256}, x.as<const T>(), y.as<T>(), p.rows, p.C, x.pitch,
                               y.pitch, p.accumulate != 0);
}

REGISTER_VERSION(CopyRows, plain, 1, "one thread per element", supports_all<CopyRowsShape>, copy_rows1<STORAGE>);

}  // namespace pycnn
