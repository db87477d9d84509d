/*
max_unpool2d backward, version 1: one thread per element of dx.

Math      dx[n,p,q,c] = dy[n,h,w,c] with h*W+w = indices[n,p,q,c];  += when accumulating
Memory    indices, dx: N,P,Q,C   dy: N,H,W,C   (c contiguous)
Threads   one dx element each, c fastest
Limit     two 64-bit divisions for each element
Next      max_unpool_backward_2_vectorized.cuh does them once for a run of pixels
Storage   float half bfloat16 double
*/
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void max_unpool2d_backward_kernel1(const T* dy, const int64_t* indices, T* dx, UnpoolShape sh, int64_t dy_pitch,
                                              int64_t dx_pitch) {
  using A = Accumulator<T>;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.P * sh.Q * sh.C) return;
  const int64_t c = i % sh.C, pixel = i / sh.C, n = pixel / (sh.P * sh.Q), index = indices[i];
  const A gradient = index >= 0 && index < sh.H * sh.W ? A(dy[(n * sh.H * sh.W + index) * dy_pitch + c]) : A(0);
  T* target = dx + pixel * dx_pitch + c;
  *target = T(sh.accumulate ? A(*target) + gradient : gradient);
}

template <class T>
void max_unpool2d_backward1(const Plan& plan, Array dy, Array indices, Array dx) {
  const auto& sh = plan.problem<UnpoolShape>();
  launch<max_unpool2d_backward_kernel1<T>>({grid_size(ceil_div(sh.N * sh.P * sh.Q * sh.C, 256)), 256}, dy.as<const T>(),
                                           indices.as<const int64_t>(), dx.as<T>(), sh, dy.pitch, dx.pitch);
}

REGISTER_VERSION(MaxUnpool2dBackward, plain, 1, "one thread per element of dx", supports_all<UnpoolShape>,
                 max_unpool2d_backward1<STORAGE>);

}  // namespace pycnn
