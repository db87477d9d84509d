// Compiles the test kernels with nvcc: their source is CUDA.
#include "kernels.h"

namespace pycnn::test {

void launch_all(int64_t* indices, float* x, float* y, double* d, int* i, unsigned* u, uint64_t* a, Counters* c, half* h) {
  Geometry g{dim3(2), dim3(64)};
  launch<write_indices>(g, indices);
  launch<relu<4>>(g, x, y, int64_t(1));
  launch<transpose<float>>(g, x, y, 32);
  launch<transpose<half>>(g, h, h, 32);
  launch<tree_sum>(g, x, y);
  launch<swap_halves>(g, x, y);
  launch<read_poison>(g, i);
  launch<shared_addresses>(g, a);
  launch<counting_barriers>(g, i);
  launch<named_barriers>(g, i);
  launch<shuffles<float>>(g, y, 1, 32);
  launch<shuffles<double>>(g, d, 1, 32);
  launch<shuffles<half>>(g, h, 1, 32);
  launch<votes>(g, u);
  launch<warp_reductions>(g, i);
  launch<half_warps>(g, i);
  launch<uneven_warps>(g, i);
  launch<block_reductions<256, float>>(g, x, y);
  launch<block_reductions<64, double>>(g, d, d);
  launch<scan>(g, x, y);
  launch<many_barriers>(g, 3);
  launch<atomics>(g, c, i);
  launch<arithmetic>(g, i);
  launch<neighbors<true>>(g, i);
  launch<overwrites<true>>(g, i);
  launch<warp_neighbors<true>>(g, i);
  launch<index_beyond>(g, i, 8);
  launch<misaligned_vector>(g, y, 4);
}

}  // namespace pycnn::test
