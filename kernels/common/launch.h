// launch<kernel<T>>(geometry, args...): the only <<<>>> and the only launch check. On a host compiler the kernel,
// being a template value, is inlined into the loop over a block's threads.
#pragma once
#include <cstdint>

#include "array.h"
#if PYCNN_CUDA
#include <cuda_runtime.h>
#else
#include "../cpu/cuda_on_cpu.h"
#endif

namespace pycnn {

struct Geometry {
  dim3 grid, block;
  size_t shared = 0;  // bytes of dynamic shared memory
  dim3 cluster{1, 1, 1};
  bool cooperative = false;
};

inline constexpr int kWarp = 32;

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A one-dimensional grid of `blocks`, checked against the hardware's 2^31 - 1.
inline unsigned grid_size(int64_t blocks) {
  if (blocks > INT32_MAX) throw LaunchError("a grid of " + std::to_string(blocks) + " blocks exceeds 2^31 - 1");
  return unsigned(blocks);
}

// Before a loop over the neighbouring elements of one thread: unrolled on a GPU; kept a loop for g++, which makes vector
// instructions of short loops only while they are loops.
#if PYCNN_CUDA
#define VECTOR_LOOP _Pragma("unroll")
#elif defined(__clang__)
#define VECTOR_LOOP
#else
#define VECTOR_LOOP _Pragma("GCC unroll 1")
#endif

template <class T, int64_t... extents> struct ArrayOf {
  using type = T;
};
template <class T, int64_t n, int64_t... rest>
struct ArrayOf<T, n, rest...> {
  using type = typename ArrayOf<T, rest...>::type[n];
};

#if PYCNN_CUDA

// SHARED(float, tile, 32, 33) declares `float tile[32][33]` in shared memory; DYNAMIC_SHARED the launch's dynamic part.
#define SHARED(T, name, ...) __shared__ typename ::pycnn::ArrayOf<T, __VA_ARGS__>::type name
#define DYNAMIC_SHARED(T, name)                                          \
  extern __shared__ __align__(128) unsigned char pycnn_dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(pycnn_dynamic_shared)

// A pointer into shared memory; in the checked CPU build one that checks.
template <class T> using SharedPointer = T*;

inline thread_local cudaStream_t current_stream = nullptr;  // set by the binding from CuPy's current stream

inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw LaunchError(std::string(what) + ": " + cudaGetErrorString(error));
}

// More than 48 KB of shared memory must be asked for, once per kernel and device.
template <auto kernel>
void allow_shared(size_t bytes) {
  static thread_local size_t allowed[64] = {};
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  if (bytes <= 48 * 1024 || bytes <= allowed[device % 64]) return;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), "shared memory");
  allowed[device % 64] = bytes;
}

template <auto kernel, class... Args>
void launch(const Geometry& g, Args... args) {
  if (!(g.grid.x && g.grid.y && g.grid.z)) return;
  allow_shared<kernel>(g.shared);
  cudaLaunchConfig_t config = {};
  config.gridDim = g.grid;
  config.blockDim = g.block;
  config.dynamicSmemBytes = g.shared;
  config.stream = current_stream;
  cudaLaunchAttribute attributes[2];
  config.attrs = attributes;
  if (g.cluster.x * g.cluster.y * g.cluster.z > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs].val.clusterDim.x = g.cluster.x;
    attributes[config.numAttrs].val.clusterDim.y = g.cluster.y;
    attributes[config.numAttrs++].val.clusterDim.z = g.cluster.z;
  }
  if (g.cooperative) {
    attributes[config.numAttrs].id = cudaLaunchAttributeCooperative;
    attributes[config.numAttrs++].val.cooperative = 1;
  }
  check_cuda(cudaLaunchKernelEx(&config, kernel, args...), __PRETTY_FUNCTION__);
}

#else

template <auto kernel, class... Args>
void launch(const Geometry& g, Args... args) {
  if (g.cooperative || g.cluster.x * g.cluster.y * g.cluster.z > 1)
    throw NotSupported("clusters and cooperative launches need a GPU");
  auto call = [=]() __attribute__((always_inline)) { kernel(args...); };
  cpu::run_grid(g.grid, g.block, g.shared, __PRETTY_FUNCTION__, call);
}

#endif

}  // namespace pycnn
