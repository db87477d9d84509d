/*
Strided copy, version 1: one thread per element.

Math      y[y_offset + sum of i[d] Y[d]] = x[x_offset + sum of i[d] X[d]]
Memory    up to 6 axes, any strides on both sides
Threads   one element each, in the order of the extents
Limit     six integer divisions per element; a transpose reads or writes 4 bytes of each 32-byte sector
Next      copy_2_blocks.cuh joins axes and gives a thread a block of two axes
Storage   float half bfloat16 double
*/
#include "shape.h"

namespace pycnn {

template <class T>
__global__ void strided_copy_kernel1(const T* x, T* y, Strided<2> s, int64_t n, bool accumulate) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t at[2];
  s.offsets(i, at);
  y[at[0]] = accumulate ? T(A(y[at[0]]) + A(x[at[1]])) : x[at[1]];
}

template <class T>
void strided_copy1(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<StridedCopyShape>();
  const Strided<2> s = p.strided();
  launch<strided_copy_kernel1<T>>({grid_size(ceil_div(s.size(), 256)), 256}, x.as<const T>() + p.x_offset, y.as<T>() + p.y_offset,
                                  s, s.size(), p.accumulate != 0);
}

REGISTER_VERSION(StridedCopy, plain, 1, "one thread per element", supports_all<StridedCopyShape>, strided_copy1<STORAGE>);

}  // namespace pycnn
