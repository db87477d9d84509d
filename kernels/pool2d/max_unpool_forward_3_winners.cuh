/*
max_unpool2d forward, version 3: every element has a thread, where version 2 gives a thread an image's strip of channels.

Math      y[n,h,w,c] = x[n,p,q,c] where indices[n,p,q,c] = h*W+w, 0 where there is none; of several the last in the order p, q
Memory    x, indices: N,P,Q,C   y: N,H,W,C   (c contiguous)   winner: H,W,C of as many images as the workspace holds
Threads   1. winner = -1   2. each x element offers p*Q+q to the place it goes to: the largest stays, a maximum of integers, which is
          the same in every order   3. each y element fetches its winner's value
Limit     4 bytes of winner are written, offered to and read for each y element
Next      -
Storage   float half bfloat16 double
*/
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void max_unpool2d_no_winner_kernel3(int* winner, int64_t elements) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < elements) winner[i] = -1;
}

template <class T>
__global__ void max_unpool2d_offer_kernel3(const int64_t* indices, int* winner, UnpoolShape sh) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.P * sh.Q * sh.C) return;
  const int64_t c = i % sh.C, pixel = i / sh.C, n = pixel / (sh.P * sh.Q), index = indices[i];
  if (index >= 0 && index < sh.H * sh.W) atomicMax(winner + (n * sh.H * sh.W + index) * sh.C + c, int(pixel - n * sh.P * sh.Q));
}

template <class T>
__global__ void max_unpool2d_forward_kernel3(const T* x, const int* winner, T* y, UnpoolShape sh, int64_t x_pitch,
                                             int64_t y_pitch) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.N * sh.H * sh.W * sh.C) return;
  const int64_t c = i % sh.C, pixel = i / sh.C, n = pixel / (sh.H * sh.W);
  const int from = winner[i];
  y[pixel * y_pitch + c] = from < 0 ? T(Accumulator<T>(0)) : x[(n * sh.P * sh.Q + from) * x_pitch + c];
}

// The images that are done at once: config[0].
template <class T>
const char* supports_unpool3(const UnpoolShape& sh, const Request& request, Plan& plan) {
  if (sh.P * sh.Q > INT32_MAX) return "it numbers the pixels of an image with 32 bits";
  const int64_t image = sh.H * sh.W * sh.C * int64_t(sizeof(int)), fit = request.workspace_limit / image;
  plan.config[0] = fit < 1 ? 1 : fit < sh.N ? fit : sh.N;
  plan.workspace = plan.config[0] * image;
  return nullptr;
}

template <class T>
void max_unpool2d_forward3(const Plan& plan, Array x, Array indices, Array y) {
  UnpoolShape sh = plan.problem<UnpoolShape>();
  const int64_t images = sh.N, inputs = sh.P * sh.Q, outputs = sh.H * sh.W;
  int* winner = plan.workspace_as<int>();
  for (int64_t n = 0; n < images; n += plan.config[0]) {
    sh.N = images - n < plan.config[0] ? images - n : plan.config[0];
    const int64_t large = sh.N * outputs * sh.C, small = sh.N * inputs * sh.C;
    launch<max_unpool2d_no_winner_kernel3<T>>({grid_size(ceil_div(large, 256)), 256}, winner, large);
    launch<max_unpool2d_offer_kernel3<T>>({grid_size(ceil_div(small, 256)), 256}, indices.as<const int64_t>() + n * inputs * sh.C,
                                          winner, sh);
    launch<max_unpool2d_forward_kernel3<T>>({grid_size(ceil_div(large, 256)), 256}, x.as<const T>() + n * inputs * x.pitch,
                                            (const int*)winner, y.as<T>() + n * outputs * y.pitch, sh, x.pitch, y.pitch);
  }
}

REGISTER_VERSION(MaxUnpool2dForward, winners, 3, "every element a thread; an integer maximum finds the last of several",
                 supports_unpool3<STORAGE>, max_unpool2d_forward3<STORAGE>);

}  // namespace pycnn
