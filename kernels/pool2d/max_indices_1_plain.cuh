/*
max_pool2d indices, version 1: one thread per output element.

Math      indices[n,p,q,c] = h*W+w of the tap that argmax names
Memory    argmax, indices: N,P,Q,C   (c contiguous)
Threads   one element each, c fastest
Limit     only return_indices=True asks for it: 1 byte read and 8 written an element, and three 64-bit divisions
Next      -
Storage   int64_t
*/
#include "pool2d.h"

namespace pycnn {

template <class T>
__global__ void max_pool2d_indices_kernel1(const uint8_t* argmax, T* indices, PoolShape sh) {
  int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= sh.outputs()) return;
  int64_t q = i / sh.C % sh.Q, p = i / (sh.C * sh.Q) % sh.P, tap = argmax[i];
  int64_t h = p * sh.stride_h - sh.pad_h + tap / sh.S * sh.dilation_h,
          w = q * sh.stride_w - sh.pad_w + tap % sh.S * sh.dilation_w;
  indices[i] = h < 0 || h >= sh.H || w < 0 || w >= sh.W ? -1 : h * sh.W + w;
}

template <class T>
void max_pool2d_indices1(const Plan& plan, Array argmax, Array indices) {
  const auto& sh = plan.problem<PoolShape>();
  launch<max_pool2d_indices_kernel1<T>>({grid_size(ceil_div(sh.outputs(), 256)), 256}, argmax.as<const uint8_t>(),
                                        indices.as<T>(), sh);
}

REGISTER_VERSION(MaxPool2dIndices, plain, 1, "one thread per output element", supports_all<PoolShape>,
                 max_pool2d_indices1<STORAGE>);

}  // namespace pycnn
