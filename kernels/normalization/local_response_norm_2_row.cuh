/*
local_response_norm forward and backward, version 2: local_response_norm_1_plain with a row's squares, and backward its ratios, in
shared memory.

Math      y[c] = x[c] s[c]^-beta,  s[c] = k + alpha * sum of x[i]^2 over c - size/2 <= i <= c + (size-1)/2
          dx[c] = dy[c] s[c]^-beta - 2 alpha beta x[c] * sum of dy[i] x[i] s[i]^(-beta-1) over c - (size-1)/2 <= i <= c + size/2
Memory    x, y, dy, dx: rows,C (c contiguous)   shared: a row of squares and ratios with zeros around, so that no window is cut
Threads   a warp per row, 4 warps a block (a CPU: one thread, 64 rows). Sums of size terms are added anew for each c: a running
          sum would keep what rounding left in it, and infinities
Limit     memory: forward x is read and y written once, backward dy and x are read and dx written once
Next      -
Storage   float half bfloat16 double
*/
#include "../common/strip.h"
#include "local_response_norm.h"

namespace pycnn {

inline constexpr int kResponseLanes = PYCNN_CUDA ? kWarp : 1;  // threads of a row
inline constexpr int kResponseRows = PYCNN_CUDA ? 4 : 1;       // rows of a block at once
inline constexpr int kResponseTurns = PYCNN_CUDA ? 2 : 64;     // of such rows

// The sum of `size` values from p on; kSize is size where it is known to the compiler.
template <int kSize, class A>
__device__ __forceinline__ A window_sum(const SharedPointer<A>& p, int size) {
  A sum = 0;
  if constexpr (kSize > 0) {
    UNROLLED for (int j = 0; j < kSize; j++) sum += p[j];
  } else {
    for (int j = 0; j < size; j++) sum += p[j];
  }
  return sum;
}

template <class T, int kSize, bool kThreeQuarters>
__global__ void local_response_norm_forward_kernel2(const T* x, T* y, LocalResponseNormShape sh, int64_t x_pitch,
                                                    int64_t y_pitch) {
  using A = Accumulator<T>;
  const int C = int(sh.C), size = kSize ? kSize : int(sh.size), before = size / 2, lane = threadIdx.x;
  const A alpha = A(sh.alpha), k = A(sh.k);
  DYNAMIC_SHARED(A, shared);
  const SharedPointer<A> square = shared + int(threadIdx.y) * (C + size - 1);  // of channel c at c + before
  for (int i = lane; i < size - 1; i += kResponseLanes) square[i < before ? i : C + i] = 0;

  for (int turn = 0; turn < kResponseTurns; turn++) {
    const int64_t row = (int64_t(blockIdx.x) * kResponseTurns + turn) * kResponseRows + threadIdx.y;
    const int channels = row < sh.rows ? C : 0;
    const T* x_row = x + row * x_pitch;
    T* y_row = y + row * y_pitch;
    STRIP for (int c = lane; c < channels; c += kResponseLanes) square[before + c] = A(x_row[c]) * A(x_row[c]);
    __syncthreads();
    STRIP for (int c = lane; c < channels; c += kResponseLanes) {
      const A s = k + alpha * window_sum<kSize, A>(square + c, size);
      y_row[c] = T(A(x_row[c]) * inverse_power<kThreeQuarters>(s, sh.beta));
    }
    __syncthreads();
  }
}

template <class T, int kSize, bool kThreeQuarters>
__global__ void local_response_norm_backward_kernel2(const T* dy, const T* x, T* dx, LocalResponseNormShape sh, int64_t dy_pitch,
                                                     int64_t x_pitch, int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int C = int(sh.C), size = kSize ? kSize : int(sh.size), before = size / 2, after = size - 1 - before, lane = threadIdx.x;
  const A alpha = A(sh.alpha), k = A(sh.k), factor = A(-2 * sh.alpha * sh.beta);
  DYNAMIC_SHARED(A, shared);
  const SharedPointer<A> square = shared + int(threadIdx.y) * (3 * C + 2 * (size - 1));  // of channel c at c + before
  const SharedPointer<A> ratio = square + (C + size - 1);                                // dy x s^(-beta-1) of c at c + after
  const SharedPointer<A> direct = ratio + (C + size - 1);                                // dy s^-beta
  for (int i = lane; i < size - 1; i += kResponseLanes) {
    square[i < before ? i : C + i] = 0;
    ratio[i < after ? i : C + i] = 0;
  }

  for (int turn = 0; turn < kResponseTurns; turn++) {
    const int64_t row = (int64_t(blockIdx.x) * kResponseTurns + turn) * kResponseRows + threadIdx.y;
    const int channels = row < sh.rows ? C : 0;
    const T *dy_row = dy + row * dy_pitch, *x_row = x + row * x_pitch;
    T* dx_row = dx + row * dx_pitch;
    STRIP for (int c = lane; c < channels; c += kResponseLanes) square[before + c] = A(x_row[c]) * A(x_row[c]);
    __syncthreads();
    STRIP for (int c = lane; c < channels; c += kResponseLanes) {
      const A s = k + alpha * window_sum<kSize, A>(square + c, size);
      const A scaled = A(dy_row[c]) * inverse_power<kThreeQuarters>(s, sh.beta);
      direct[c] = scaled;
      ratio[after + c] = scaled * A(x_row[c]) / s;
    }
    __syncthreads();
    if (sh.accumulate) {
      STRIP for (int c = lane; c < channels; c += kResponseLanes) direct[c] += A(dx_row[c]);
    }
    STRIP for (int c = lane; c < channels; c += kResponseLanes) dx_row[c] =
        T(direct[c] + factor * A(x_row[c]) * window_sum<kSize, A>(ratio + c, size));
  }
}

inline constexpr int64_t kResponseShared = 48 * 1024;  // what a block gets without asking for more

inline int64_t response_bytes(const LocalResponseNormShape& sh, int arrays, int padded, size_t element) {
  return kResponseRows * (arrays * sh.C + padded * (sh.size - 1)) * int64_t(element);
}

template <class T>
const char* supports_response_forward2(const LocalResponseNormShape& sh, const Request&, Plan&) {
  return response_bytes(sh, 1, 1, sizeof(Accumulator<T>)) > kResponseShared ? "its rows do not fit into shared memory" : nullptr;
}
template <class T>
const char* supports_response_backward2(const LocalResponseNormShape& sh, const Request&, Plan&) {
  return response_bytes(sh, 3, 2, sizeof(Accumulator<T>)) > kResponseShared ? "its rows do not fit into shared memory" : nullptr;
}

inline Geometry response_geometry(const LocalResponseNormShape& sh, int64_t shared) {
  const int64_t blocks = sh.C ? ceil_div(sh.rows, kResponseRows * kResponseTurns) : 0;
  return {grid_size(blocks), dim3(kResponseLanes, kResponseRows), size_t(shared)};
}

// Calls f(size, three_quarters) with constants: size 5 with beta 0.75 is every network's, all others are 0 and a power.
template <class F>
void with_response(const LocalResponseNormShape& sh, const F& f) {
  if (sh.size == 5 && sh.beta == 0.75) f(std::integral_constant<int, 5>{}, std::true_type{});
  else if (sh.beta == 0.75) f(std::integral_constant<int, 0>{}, std::true_type{});
  else f(std::integral_constant<int, 0>{}, std::false_type{});
}

template <class T>
void local_response_norm_forward2(const Plan& plan, Array x, Array y) {
  const auto& sh = plan.problem<LocalResponseNormShape>();
  const Geometry geometry = response_geometry(sh, response_bytes(sh, 1, 1, sizeof(Accumulator<T>)));
  with_response(sh, [&](auto size, auto three_quarters) {
    launch<local_response_norm_forward_kernel2<T, size, three_quarters>>(geometry, x.as<const T>(), y.as<T>(), sh, x.pitch,
                                                                         y.pitch);
  });
}

template <class T>
void local_response_norm_backward2(const Plan& plan, Array dy, Array x, Array dx) {
  const auto& sh = plan.problem<LocalResponseNormShape>();
  const Geometry geometry = response_geometry(sh, response_bytes(sh, 3, 2, sizeof(Accumulator<T>)));
  with_response(sh, [&](auto size, auto three_quarters) {
    launch<local_response_norm_backward_kernel2<T, size, three_quarters>>(geometry, dy.as<const T>(), x.as<const T>(), dx.as<T>(),
                                                                          sh, dy.pitch, x.pitch, dx.pitch);
  });
}

REGISTER_VERSION(LocalResponseNormForward, row, 2, "a row's squares in shared memory", supports_response_forward2<STORAGE>,
                 local_response_norm_forward2<STORAGE>);
REGISTER_VERSION(LocalResponseNormBackward, row, 2, "a row's squares and ratios in shared memory",
                 supports_response_backward2<STORAGE>, local_response_norm_backward2<STORAGE>);

}  // namespace pycnn
