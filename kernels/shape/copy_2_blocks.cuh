/*
Strided copy, version 2: copy_1_plain with joined axes and a block of two axes per thread.

Math      y[y_offset + sum of i[d] Y[d]] = x[x_offset + sum of i[d] X[d]]
Memory    axes that can be walked as one are joined; of the rest, v is y's innermost and u the one where x's stride is
          smallest. If they are the same axis, rows are copied; if not, blocks are transposed, whole cache lines on both sides
Threads   kCopyBlockU × kCopyBlockV elements each (1 × kCopyRow along one axis)
Limit     neighbouring threads of a warp are a whole block apart, which a GPU's memory does not like
Next      copy_3_tiled.cuh passes blocks through shared memory
Storage   float half bfloat16 double
*/
#include "blocks.h"

namespace pycnn {

inline constexpr int kCopyBlockU = 16, kCopyBlockV = 16, kCopyRow = PYCNN_CUDA ? 4 : 256;

template <class T, int BU, int BV>
__global__ void strided_copy_kernel2(const T* x, T* y, CopyBlocks b, int64_t threads, bool accumulate) {
  using A = Accumulator<T>;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  const CopyBlock at = b.block(thread, BU, BV);
  x += at.x, y += at.y;
  for (int u = 0; u < at.rows; u++) {
    const T* source = x + u * b.x_u;
    T* target = y + u * b.y_u;
    if (accumulate)
      for (int v = 0; v < at.columns; v++) target[v * b.y_v] = T(A(target[v * b.y_v]) + A(source[v * b.x_v]));
    else if (b.x_v == 1 && b.y_v == 1)
      for (int v = 0; v < at.columns; v++) target[v] = source[v];
    else
      for (int v = 0; v < at.columns; v++) target[v * b.y_v] = source[v * b.x_v];
  }
}

template <class T, int BU, int BV>
void launch_strided_copy2(const CopyBlocks& b, const T* x, T* y, bool accumulate) {
  const int64_t threads = b.count(BU, BV);
  launch<strided_copy_kernel2<T, BU, BV>>({grid_size(ceil_div(threads, 128)), 128}, x, y, b, threads, accumulate);
}

template <class T>
void strided_copy2(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<StridedCopyShape>();
  const CopyBlocks b(p.strided());
  const T* from = x.as<const T>() + p.x_offset;
  T* to = y.as<T>() + p.y_offset;
  if (b.rows == 1) launch_strided_copy2<T, 1, kCopyRow>(b, from, to, p.accumulate != 0);
  else launch_strided_copy2<T, kCopyBlockU, kCopyBlockV>(b, from, to, p.accumulate != 0);
}

REGISTER_VERSION(StridedCopy, blocks, 2, "axes joined, a block of the two innermost axes per thread",
                 supports_all<StridedCopyShape>, strided_copy2<STORAGE>);

}  // namespace pycnn
