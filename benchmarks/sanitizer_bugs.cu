// One planted bug for each tool of compute-sanitizer: `sanitizer_bugs memcheck` must make memcheck report an error.
#include <cstdio>
#include <cstring>

// memcheck: the last thread writes behind the array.
__global__ void out_of_bounds(int* x, int n) { x[threadIdx.x + 1 + n - blockDim.x] = 1; }

// racecheck: a neighbor's element is read with no barrier after it was written.
__global__ void race(int* x) {
  __shared__ int tile[256];
  tile[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = tile[(threadIdx.x + 32) % 256];
}

// initcheck: memory is read that nobody wrote.
__global__ void uninitialized(const int* x, int* y) { y[threadIdx.x] = x[threadIdx.x] + 1; }

// synccheck: half of a warp comes to a barrier of the whole one.
__global__ void divergent(int* x) {
  if (threadIdx.x < 16) __syncwarp(0xffffffffu);
  x[threadIdx.x] = 1;
}

int main(int argc, char** argv) {
  const char* tool = argc > 1 ? argv[1] : "";
  int *x, *y;
  cudaMalloc(&x, 256 * sizeof(int));
  cudaMalloc(&y, 256 * sizeof(int));
  if (!std::strcmp(tool, "memcheck")) out_of_bounds<<<1, 256>>>(x, 256);
  else if (!std::strcmp(tool, "racecheck")) cudaMemset(x, 0, 256 * sizeof(int)), race<<<1, 256>>>(x);
  else if (!std::strcmp(tool, "initcheck")) uninitialized<<<1, 256>>>(x, y);
  else if (!std::strcmp(tool, "synccheck")) divergent<<<1, 32>>>(x);
  else return std::fprintf(stderr, "usage: sanitizer_bugs memcheck|racecheck|initcheck|synccheck\n"), 2;
  return cudaDeviceSynchronize() == cudaSuccess ? 0 : 1;
}
