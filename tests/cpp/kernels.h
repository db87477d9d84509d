// Kernels that use every word of CUDA that kernels/cpu offers, in source that nvcc compiles too.
#pragma once
#include "common/launch.h"
#include "common/reduce.h"
#include "common/vec.h"

namespace pycnn::test {

constexpr unsigned kAll = 0xffffffff;

__device__ inline int global_thread() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

// ---- indices and shared memory ----

// One element for each thread of a three-dimensional grid.
__global__ void write_indices(int64_t* y) {
  int64_t block = blockIdx.x + int64_t(gridDim.x) * (blockIdx.y + int64_t(gridDim.y) * blockIdx.z);
  int64_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int64_t i = block * (int64_t(blockDim.x) * blockDim.y * blockDim.z) + thread;
  y[i] += i + 1;
}

// Strips of V floats: what a thread without barriers costs.
template <int V>
__global__ void relu(const float* x, float* y, int64_t n) {
  int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * V;
  if (i + V > n) return;
  float value[V];
  VECTOR_LOOP for (int k = 0; k < V; k++) value[k] = x[i + k];
  VECTOR_LOOP for (int k = 0; k < V; k++) value[k] = value[k] < 0 ? 0 : value[k];
  VECTOR_LOOP for (int k = 0; k < V; k++) y[i + k] = value[k];
}

// Transposes tiles of 32 x 32 by 32 x 8 threads.
template <class T>
__global__ void transpose(const T* x, T* y, int n) {
  SHARED(T, tile, 32, 33);
  int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32;
  for (int i = threadIdx.y; i < 32; i += 8) tile[i][threadIdx.x] = x[(row + i) * n + column];
  __syncthreads();
  column = blockIdx.y * 32 + threadIdx.x, row = blockIdx.x * 32;
  for (int i = threadIdx.y; i < 32; i += 8) y[(row + i) * n + column] = tile[threadIdx.x][i];
}

// Sums of each block, through two static arrays, halving.
__global__ void tree_sum(const float* x, float* y) {
  SHARED(float, partial, 256);
  SHARED(int, count, 1);
  int t = threadIdx.x;
  partial[t] = x[global_thread()];
  if (t == 0) count[0] = 0;
  __syncthreads();
  for (int stride = 128; stride > 0; stride /= 2) {
    if (t < stride) partial[t] += partial[t + stride];
    __syncthreads();
  }
  atomicAdd(&count[0], 1);
  __syncthreads();
  if (t == 0) y[blockIdx.x] = partial[0] * (int(count[0]) == int(blockDim.x) ? 1 : 0);
}

// Moves 16 bytes at a time through dynamic shared memory cut in two.
__global__ void swap_halves(const float* x, float* y) {
  DYNAMIC_SHARED(float, low);
  SharedPointer<float> high = low + 4 * blockDim.x;
  using Four = Vector<float, 4>;
  int t = threadIdx.x, n = 4 * blockDim.x;
  Four::load(x + 4 * t).store(low + 4 * t);
  Four::load(x + n + 4 * t).store(high + 4 * t);
  __syncthreads();
  int other = blockDim.x - 1 - t;
  Four::load(high + 4 * other).store(y + 4 * other);
  Four::load(low + 4 * other).store(y + n + 4 * other);
}

__global__ void read_poison(int* nan) {
  SHARED(float, never_written, 64);
  DYNAMIC_SHARED(float, nor_this);
  float a = never_written[threadIdx.x], b = nor_this[threadIdx.x];
  nan[global_thread()] = (a != a) + (b != b);
  never_written[threadIdx.x] = nor_this[threadIdx.x] = 1;
}

__global__ void shared_addresses(uint64_t* y) {
  DYNAMIC_SHARED(double, a);
  SHARED(float, b, 8);
  if (threadIdx.x == 0) {
    y[0] = __cvta_generic_to_shared(&a[0]), y[1] = __cvta_generic_to_shared(&a[3]);
    y[2] = __cvta_generic_to_shared(&b[0]), y[3] = __cvta_generic_to_shared(&b[5]);
  }
}

// ---- barriers and warps ----

// Even threads predicate. y: count, and, or, and of all, or of none.
__global__ void counting_barriers(int* y) {
  int even = threadIdx.x % 2 == 0;
  int results[5] = {__syncthreads_count(even), __syncthreads_and(even), __syncthreads_or(even), __syncthreads_and(1),
                    __syncthreads_or(0)};
  for (int i = 0; i < 5; i++) y[5 * threadIdx.x + i] = results[i];
}

// y[kind][thread] for the four shuffles of v(lane), with an argument that differs by lane for the first.
template <class T>
__global__ void shuffles(T* y, int argument, int width) {
  int t = threadIdx.x, n = blockDim.x;
  T v = T(float(3 * t + 1));
  y[t] = __shfl_sync(kAll, v, t + argument, width);
  y[n + t] = __shfl_up_sync(kAll, v, argument, width);
  y[2 * n + t] = __shfl_down_sync(kAll, v, argument, width);
  y[3 * n + t] = __shfl_xor_sync(kAll, v, argument, width);
}

__global__ void votes(unsigned* y) {
  int t = threadIdx.x;
  unsigned* mine = y + 12 * t;
  mine[0] = __ballot_sync(kAll, t % 3 == 0);
  mine[1] = __any_sync(kAll, t == 40);
  mine[2] = __all_sync(kAll, t < 40);
  mine[3] = __match_any_sync(kAll, t % 5);
  mine[4] = __activemask() >> (t % 32) & 1;
  mine[5] = __popc(__ballot_sync(kAll, 1));
  int all;
  mine[6] = __match_all_sync(kAll, t / 32, &all) == kAll && all;
  mine[7] = __match_all_sync(kAll, t, &all) == 0 && !all;
}

#if !PYCNN_CUDA || __CUDA_ARCH__ >= 800
__global__ void warp_reductions(int* y) {
  int t = threadIdx.x, v = t * 37 % 64 - 20;
  int* mine = y + 6 * t;
  mine[0] = __reduce_add_sync(kAll, v), mine[1] = __reduce_min_sync(kAll, v), mine[2] = __reduce_max_sync(kAll, v);
  mine[3] = int(__reduce_and_sync(kAll, unsigned(v))), mine[4] = int(__reduce_or_sync(kAll, unsigned(v)));
  mine[5] = int(__reduce_xor_sync(kAll, unsigned(v)));
}
#else
__global__ void warp_reductions(int*) {}
#endif

// The halves of a warp go different ways and meet again.
__global__ void half_warps(int* y) {
  SHARED(int, box, 64);
  int t = threadIdx.x, lane = t % 32, v = 0;
  if (lane < 16) {
    for (int i = 0; i <= t / 32; i++) v += __shfl_xor_sync(0x0000ffff, t, 1);
  } else {
    v = __popc(__ballot_sync(0xffff0000, lane % 2));
    box[t] = v;
    __syncwarp(0xffff0000);
    v += box[t ^ 1];
  }
  __syncwarp();
  y[t] = v + __shfl_sync(kAll, v, 31 - lane);
}

// Each warp works on its own, a different number of times; block barriers only at the end.
__global__ void uneven_warps(int* y) {
  SHARED(int, sums, 8);
  int warp = threadIdx.x / 32, v = 1;
  for (int i = 0; i < warp * 3; i++) v += __shfl_xor_sync(kAll, v, 1 << i % 5);
  int sum = warp_sum(v);
  if (threadIdx.x % 32 == 0) sums[warp] = sum;
  __syncthreads();
  y[threadIdx.x] = sums[threadIdx.x % 8];
}

template <int threads, class T>
__global__ void block_reductions(const T* x, T* y) {
  T value = x[blockIdx.x * threads + threadIdx.x + blockDim.x * threadIdx.y];
  T sum = block_sum<threads>(value), maximum = block_max<threads>(value), again = block_sum<threads>(value);
  int i = blockIdx.x * threads + threadIdx.x + blockDim.x * threadIdx.y;
  y[3 * i] = sum, y[3 * i + 1] = maximum, y[3 * i + 2] = again;
}

// Inclusive prefix sums of each block: a barrier inside a loop, every thread in every round.
__global__ void scan(const float* x, float* y) {
  SHARED(float, buffer, 2, 256);
  int t = threadIdx.x, current = 0;
  buffer[0][t] = x[global_thread()];
  for (int distance = 1; distance < 256; distance *= 2, current ^= 1) {
    __syncthreads();
    float value = buffer[current][t];
    if (t >= distance) value += buffer[current][t - distance];
    buffer[current ^ 1][t] = value;
  }
  y[global_thread()] = buffer[current][t];
}

// Two halves of a block, each with a barrier of its own, a different number of times; one more meets both.
__global__ void named_barriers(int* y) {
  SHARED(int, box, 128);
  int t = threadIdx.x, half = t / 64, v = t;
  for (int i = 0; i < (half ? 5 : 3); i++) {
    box[t] = v;
    __barrier_sync_count(1 + half, 64);
    v += box[64 * half + (t + 1) % 64];
    __barrier_sync_count(1 + half, 64);
  }
  box[t] = v;
  if (half) __barrier_sync_count(5, 128);
  else __barrier_sync_count(5, 128);
  y[t] = box[127 - t];
}

__global__ void lonely_at_a_named_barrier() {
  if (threadIdx.x < 40) __barrier_sync_count(3, 64);
}

__global__ void many_barriers(int n) {
  for (int i = 0; i < n; i++) __syncthreads();
}

// ---- atomics and arithmetic ----

struct Counters {
  int add, sub, minimum, maximum, exchanged, bits_or, bits_and, bits_xor, by_cas;
  unsigned wrapped_up, wrapped_down;
  unsigned long long add64, maximum64;
  float add_float;
  double add_double;
};

__global__ void atomics(Counters* c, int* tickets) {
  int i = global_thread();
  tickets[i] = atomicAdd(&c->add, 1);
  atomicSub(&c->sub, 2);
  atomicMin(&c->minimum, i - 7);
  atomicMax(&c->maximum, i);
  atomicExch(&c->exchanged, 5);
  atomicOr(&c->bits_or, 1 << i % 31);
  atomicAnd(&c->bits_and, ~(1 << i % 8));
  atomicXor(&c->bits_xor, i);
  for (int old = c->by_cas, seen;; old = seen) {
    seen = atomicCAS(&c->by_cas, old, old + 3);
    if (seen == old) break;
  }
  atomicInc(&c->wrapped_up, 9);
  atomicDec(&c->wrapped_down, 9);
  atomicAdd(&c->add64, 1ull << 33);
  atomicMax(&c->maximum64, (unsigned long long)(i) << 32);
  atomicAdd(&c->add_float, 1.0f);
  atomicAdd(&c->add_double, 0.5);
  __threadfence();
}

// y[i] = 1 where the i-th fact holds.
__global__ void arithmetic(int* y) {
  int i = 0;
  y[i++] = __popc(0xf0f0u) == 8 && __popcll(~0ull) == 64;
  y[i++] = __clz(1) == 31 && __clz(0) == 32 && __clzll(1) == 63 && __clzll(0) == 64;
  y[i++] = __ffs(0) == 0 && __ffs(8) == 4 && __ffsll(1ll << 40) == 41;
  y[i++] = __brev(1) == 0x80000000u && __brevll(2) == 1ull << 62;
  y[i++] = __umulhi(0x80000000u, 6) == 3 && __mulhi(-2147483647 - 1, 2) == -1 && __umul64hi(1ull << 63, 4) == 2;
  y[i++] = __float_as_int(1.0f) == 0x3f800000 && __int_as_float(0x40000000) == 2.0f;
  y[i++] = __float_as_uint(-0.0f) == 0x80000000u && __uint_as_float(0x7f800000u) > 3e38f;
  y[i++] = min(2, 3) == 2 && max(2u, 3u) == 3 && min(2.0f, 3.0f) == 2 && max(2.0, 3.0) == 3;
  float nan = __int_as_float(0x7fc00000);
  y[i++] = min(nan, 1.0f) == 1 && max(1.0f, nan) == 1 && max(nan, nan) != max(nan, nan);
  y[i++] = fabsf(rsqrtf(4.0f) - 0.5f) < 1e-6f && fabsf(__expf(1.0f) - 2.71828f) < 1e-4f;
  y[i++] = fabsf(__fdividef(1.0f, 4.0f) - 0.25f) < 1e-6f && __fmaf_rn(2.0f, 3.0f, 1.0f) == 7;
  y[i++] = __saturatef(2.0f) == 1 && __saturatef(-1.0f) == 0 && __float2int_rn(2.5f) == 2;
  float4 v = make_float4(1, 2, 3, 4);
  int2 w = make_int2(5, 6);
  y[i++] = v.x + v.w == 5 && w.y == 6 && sizeof(float4) == 16 && alignof(float4) == 16 && sizeof(double2) == 16;
  y[i++] = sizeof(uint3) == 12 && alignof(int2) == 8 && make_uint4(1, 2, 3, 4).z == 3;
  y[i++] = float(half(1.5f)) == 1.5f && float(bfloat16(-2.0f)) == -2 && sizeof(half) == 2 && sizeof(bfloat16) == 2;
  y[i++] = float(half(1.0f) + half(0.5f)) == 1.5f && half(1.0f) < half(2.0f);
  y[i++] = __half2float(__float2half(0.25f)) == 0.25f && __bfloat162float(__float2bfloat16(8.0f)) == 8;
  float one = 1;
  y[i++] = __ldg(&y[0]) == 1 && one == 1 && warpSize == 32;
}
constexpr int kFacts = 18;

// ---- planted bugs ----

__global__ void divergent_exit() {
  if (threadIdx.x == 5) return;
  __syncthreads();
}

__global__ void divergent_lines(int* y) {
  if (threadIdx.x < 40) {
    y[0] = 1;
    __syncthreads();
  } else {
    y[1] = 1;
    __syncthreads();
  }
}

__global__ void dead_locked_warp(int* y) {
  if (threadIdx.x % 32 == 3) return;
  y[threadIdx.x] = __shfl_down_sync(kAll, int(threadIdx.x), 1);
}

__global__ void warp_against_block() {
  if (threadIdx.x == 33) __syncthreads();
  else __syncwarp();
}

__global__ void different_collectives(int* y) {
  if (threadIdx.x < 9) y[0] = __any_sync(kAll, 1);
  else y[1] = __all_sync(kAll, 1);
}

__global__ void mask_without_self() { __syncwarp(0x0000ffff); }

// Without its barrier if `barrier` is false.
template <bool barrier>
__global__ void neighbors(int* y) {
  SHARED(int, ring, 8, 8);
  int t = threadIdx.x, next = (t + 1) % 64;
  ring[t / 8][t % 8] = t;
  if (barrier) __syncthreads();
  y[global_thread()] = ring[next / 8][next % 8];
}

// Reads before the neighbour overwrites, if `barrier`.
template <bool barrier>
__global__ void overwrites(int* y) {
  SHARED(int, ring, 64);
  int t = threadIdx.x;
  ring[t] = t;
  __syncthreads();
  int before = ring[(t + 63) % 64];
  if (barrier) __syncthreads();
  ring[t] = -t;
  y[t] = before;
}

// Within a warp. A shuffle is no barrier.
template <bool barrier>
__global__ void warp_neighbors(int* y) {
  SHARED(half, lanes, 64);
  int t = threadIdx.x;
  lanes[t] = half(float(t));
  if (barrier) __syncwarp();
  else y[t] = __shfl_sync(kAll, t, 0);
  y[t] = int(float(lanes[t ^ 1]));
}

__global__ void atomic_and_plain(int* y) {
  SHARED(int, count, 1);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(&count[0], 1);
  y[threadIdx.x] = count[0];
}

__global__ void index_beyond(int* y, int column) {
  SHARED(int, tile, 4, 8);
  if (threadIdx.x == 6) tile[2][column] = 1;
  y[threadIdx.x] = 0;
}

__global__ void dynamic_beyond(int* y, int i) {
  DYNAMIC_SHARED(int, buffer);
  if (threadIdx.x == 2) buffer[i] = 1;
  y[threadIdx.x] = 0;
}

__global__ void misaligned_vector(float* y, int i) {
  DYNAMIC_SHARED(float, buffer);
  Vector<float, 4>::load(buffer + i).store(y);
}

__global__ void static_beyond() {
  SHARED(float, a, 8192);
  SHARED(float, b, 8192);
  a[threadIdx.x] = 0, b[threadIdx.x] = 0;
}

__global__ void static_and_dynamic() {
  SHARED(float, a, 1024);
  a[threadIdx.x] = 0;
}

}  // namespace pycnn::test
