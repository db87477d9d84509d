/*
adaptive_max_pool2d backward, version 3: an index is read once for a run of pixels, where version 2 compares it with each of them.

Math      dx[n,h,w,c] = sum of dy[n,p,q,c] over the windows p,q with indices[n,p,q,c] = h*W+w;  += when accumulating
Memory    dy, indices: N,P,Q,C   dx: N,H,W,C   (c contiguous)
Threads   V channels of up to 4 pixels next to each other (a CPU: all channels of up to 32): it alone writes them, zeros first,
          then what the windows above it name, in the order p, q
Limit     memory: dx is written once and a few of its elements again. A sum is rounded to T after each window, so for 16-bit T
          windows may not overlap
Next      -
Storage   float half bfloat16 double
*/
#include "../common/row_parts.h"
#include "adaptive.h"

namespace pycnn {

template <class T>
__global__ void adaptive_max_pool2d_backward_kernel3(const T* dy, const int64_t* indices, T* dx, AdaptivePoolShape sh,
                                                     int64_t dy_pitch, int64_t dx_pitch, RowParts parts) {
  using A = Accumulator<T>;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= parts.count) return;
  const RowPart part = parts[item];
  const int64_t h = part.row % sh.H, image = part.row / sh.H * sh.P, width = part.end - part.begin;
  const Span rows = share(h, sh.H, sh.P);
  const Span columns = {share(part.begin, sh.W, sh.Q).begin, share(part.end - 1, sh.W, sh.Q).end};
  T* run = dx + (part.row * sh.W + part.begin) * dx_pitch;

  if (!sh.accumulate) {
    for (int64_t pixel = 0; pixel < width; pixel++)
      for (int c = part.c_begin; c < part.c_end; c++) run[pixel * dx_pitch + c] = T(A(0));
  }
  for (int64_t p = rows.begin; p < rows.end; p++) {
    for (int64_t q = columns.begin; q < columns.end; q++) {
      const int64_t output = (image + p) * sh.Q + q;
      for (int c = part.c_begin; c < part.c_end; c++) {
        const int64_t pixel = indices[output * sh.C + c] - (h * sh.W + part.begin);
        if (pixel < 0 || pixel >= width) continue;
        T& sum = run[pixel * dx_pitch + c];
        sum = T(A(sum) + A(dy[output * dy_pitch + c]));
      }
    }
  }
}

template <class T>
const char* supports_scatter(const AdaptivePoolShape& sh, const Request& request, Plan& plan) {
  const bool apart = sh.H % sh.P == 0 && sh.W % sh.Q == 0;
  if (!apart && !std::is_same_v<T, Accumulator<T>>) return "its sums over windows that overlap would be rounded to 16 bits each";
  return supports_vectorized<T>(sh, request, plan);
}

template <class T>
void adaptive_max_pool2d_backward3(const Plan& plan, Array dy, Array indices, Array dx) {
  const auto& sh = plan.problem<AdaptivePoolShape>();
  const RowParts parts(sh.N * sh.H, sh.W, sh.C, int(plan.config[0]));
  launch<adaptive_max_pool2d_backward_kernel3<T>>(parts.geometry(), dy.as<const T>(), indices.as<const int64_t>(), dx.as<T>(), sh,
                                                  dy.pitch, dx.pitch, parts);
}

REGISTER_VERSION(AdaptiveMaxPool2dBackward, scatter, 3, "an index is read once for a run of pixels", supports_scatter<STORAGE>,
                 adaptive_max_pool2d_backward3<STORAGE>);

}  // namespace pycnn
