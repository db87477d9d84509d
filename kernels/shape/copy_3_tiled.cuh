/*
Strided copy, version 3: copy_2_blocks with a block of threads per tile, which passes through shared memory.

Math      y[y_offset + sum of i[d] Y[d]] = x[x_offset + sum of i[d] X[d]]
Memory    v is y's innermost axis and u the one where x's stride is smallest: a warp reads along u and writes along v, 32
          neighbours both times. Rows of the tile are 33 wide, so that a column lies in 32 different banks
Threads   32 × 8 for a tile of 32 × 32
Limit     axes u or v much shorter than 32 leave threads idle
Next      -
Storage   float half bfloat16 double
*/
#include "blocks.h"

namespace pycnn {

inline constexpr int kCopyTile = 32, kCopyTileRows = 8;

template <class T>
__global__ void strided_copy_kernel3(const T* x, T* y, CopyBlocks b, bool accumulate) {
  using A = Accumulator<T>;
  SHARED(T, tile, kCopyTile, kCopyTile + 1);
  const CopyBlock at = b.block(blockIdx.x, kCopyTile, kCopyTile);
  const int lane = threadIdx.x;
  for (int v = threadIdx.y; v < at.columns; v += kCopyTileRows)
    if (lane < at.rows) tile[v][lane] = x[at.x + lane * b.x_u + v * b.x_v];
  __syncthreads();
  for (int u = threadIdx.y; u < at.rows; u += kCopyTileRows) {
    if (lane >= at.columns) continue;
    T* target = y + at.y + u * b.y_u + lane * b.y_v;
    *target = accumulate ? T(A(*target) + A(tile[lane][u])) : tile[lane][u];
  }
}

template <class T>
void strided_copy3(const Plan& plan, Array x, Array y) {
  const auto& p = plan.problem<StridedCopyShape>();
  const CopyBlocks b(p.strided());
  launch<strided_copy_kernel3<T>>({grid_size(b.count(kCopyTile, kCopyTile)), dim3(kCopyTile, kCopyTileRows)},
                                  x.as<const T>() + p.x_offset, y.as<T>() + p.y_offset, b, p.accumulate != 0);
}

inline const char* supports_copy3(const StridedCopyShape& p, const Request&, Plan&) {
  return CopyBlocks(p.strided()).rows == 1 ? "no axes change places" : nullptr;
}

REGISTER_VERSION(StridedCopy, tiled, 3, "a tile of two axes through shared memory per block", supports_copy3,
                 strided_copy3<STORAGE>);

}  // namespace pycnn
