/*
max_unpool2d forward, version 2: a thread takes neighboring channels of an image, where version 1 takes one.

Math      y[n,h,w,c] = x[n,p,q,c] where indices[n,p,q,c] = h*W+w, 0 where there is none; of several the last in the order p, q
Memory    x, indices: N,P,Q,C   y: N,H,W,C   (c contiguous)
Threads   16 bytes of channels of an image each (a CPU: a cache line): it alone writes them, zeros first, then x in the order p, q
Limit     few threads: N * C / V. On a CPU the zeros of a strip are still in L2 when x is written over them
Next      max_unpool_forward_3_winners.cuh gives every element a thread
Storage   float half bfloat16 double
*/
#include "../common/lanes.h"
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void max_unpool2d_forward_kernel2(const T* x, const int64_t* indices, T* y, UnpoolShape sh, int64_t x_pitch,
                                             int64_t y_pitch, int64_t strips) {
  constexpr int V = kLanes<T>;
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * strips) return;
  const int64_t n = i / strips, c = i % strips * V, outputs = sh.H * sh.W, inputs = sh.P * sh.Q;
  const int count = int(sh.C - c < V ? sh.C - c : V);

  T* target = y + n * outputs * y_pitch + c;
  const T zero = T(Accumulator<T>(0));
  for (int64_t pixel = 0; pixel < outputs; pixel++) {
    T* lanes = target + pixel * y_pitch;
    if (count == V) {
      LANES for (int j = 0; j < V; j++) lanes[j] = zero;
    } else {
      for (int j = 0; j < count; j++) lanes[j] = zero;
    }
  }
  for (int64_t pixel = n * inputs; pixel < (n + 1) * inputs; pixel++) {
    const int64_t* index = indices + pixel * sh.C + c;
    const T* value = x + pixel * x_pitch + c;
    for (int j = 0; j < count; j++)
      if (index[j] >= 0 && index[j] < outputs) target[index[j] * y_pitch + j] = value[j];
  }
}

template <class T>
void max_unpool2d_forward2(const Plan& plan, Array x, Array indices, Array y) {
  const auto& sh = plan.problem<UnpoolShape>();
  const int64_t strips = ceil_div(sh.C, kLanes<T>);
  const unsigned block = PYCNN_CUDA ? 128 : 1;
  launch<max_unpool2d_forward_kernel2<T>>({grid_size(ceil_div(sh.N * strips, block)), block}, x.as<const T>(),
                                          indices.as<const int64_t>(), y.as<T>(), sh, x.pitch, y.pitch, strips);
}

REGISTER_VERSION(MaxUnpool2dForward, strips, 2, "neighboring channels of an image a thread", supports_all<UnpoolShape>,
                 max_unpool2d_forward2<STORAGE>);

}  // namespace pycnn
