// What benchmarks/bench_cuda_on_cpu.py measures, as a library of C functions.
#include "kernels.h"

using namespace pycnn;
using namespace pycnn::test;

namespace {

__global__ void many_shuffles(int n, float* y) {
  float v = float(threadIdx.x);
  for (int i = 0; i < n; i++) v = __shfl_xor_sync(kAll, v, 1);
  y[global_thread()] = v;
}

template <int V>
void launch_relu(const float* x, float* y, int64_t n) {
  launch<relu<V>>({dim3(grid_size(ceil_div(n, 256 * V))), dim3(256)}, x, y, n);
}

}  // namespace

extern "C" {

void set_num_threads(int n) { cpu::set_num_threads(n); }

void relu_4(const float* x, float* y, int64_t n) { launch_relu<4>(x, y, n); }
void relu_16(const float* x, float* y, int64_t n) { launch_relu<16>(x, y, n); }
void relu_64(const float* x, float* y, int64_t n) { launch_relu<64>(x, y, n); }

// Each thread of each block goes through n barriers, or n shuffles.
void barriers(int blocks, int threads, int n) { launch<many_barriers>({dim3(blocks), dim3(threads)}, n); }
void shuffles(int threads, int n, float* y) { launch<many_shuffles>({dim3(1), dim3(threads)}, n, y); }
}
