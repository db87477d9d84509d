/*
max_unpool2d forward, version 1: one thread per channel of an image.

Math      y[n,h,w,c] = x[n,p,q,c] where indices[n,p,q,c] = h*W+w, 0 where there is none; of several the last in the order p, q
Memory    x, indices: N,P,Q,C   y: N,H,W,C   (c contiguous)
Threads   one (n, c) each, c fastest: it alone writes its channel, zeros first, then x in the order p, q
Limit     N * C threads; 4-byte accesses a pixel apart
Next      max_unpool_forward_2_strips.cuh gives a thread neighboring channels
Storage   float half bfloat16 double
*/
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void max_unpool2d_forward_kernel1(const T* x, const int64_t* indices, T* y, UnpoolShape sh, int64_t x_pitch,
                                             int64_t y_pitch) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.C) return;
  int64_t n = i / sh.C, c = i % sh.C, outputs = sh.H * sh.W, inputs = sh.P * sh.Q;

  T* target = y + n * outputs * y_pitch + c;
  for (int64_t pixel = 0; pixel < outputs; pixel++) target[pixel * y_pitch] = T(Accumulator<T>(0));
  for (int64_t pixel = n * inputs; pixel < (n + 1) * inputs; pixel++) {
    const int64_t index = indices[pixel * sh.C + c];
    if (index >= 0 && index < outputs) target[index * y_pitch] = x[pixel * x_pitch + c];
  }
}

template <class T>
void max_unpool2d_forward1(const Plan& plan, Array x, Array indices, Array y) {
  const auto& sh = plan.problem<UnpoolShape>();
  launch<max_unpool2d_forward_kernel1<T>>({grid_size(ceil_div(sh.N * sh.C, 128)), 128}, x.as<const T>(),
                                          indices.as<const int64_t>(), y.as<T>(), sh, x.pitch, y.pitch);
}

REGISTER_VERSION(MaxUnpool2dForward, plain, 1, "one thread per channel of an image", supports_all<UnpoolShape>,
                 max_unpool2d_forward1<STORAGE>);

}  // namespace pycnn
