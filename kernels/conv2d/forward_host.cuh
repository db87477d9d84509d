/*
conv2d forward for the CPU: implicit GEMM on the register-tile micro-kernel (common/host_gemm.h).

Math      y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[k,r,s,c]
Memory    weight is packed once into the workspace (transposed: filters along vectors); each block of pixels gathers its
          rows of im2col(x), a few hundred terms at a time, into cache. A tap outside the image is a zero that is
          multiplied, so an infinite weight there gives NaN, as in PyTorch.
Threads   over blocks of pixels and filters; a sum is never shared
Limit     the gather costs a tenth of the time at K = 64, more at K < 32
Next      backward_data_host.cuh is the same product on dy
Storage   float double
*/
#include "../common/host_conv.h"
#include "conv2d.h"

namespace pycnn {

template <class T>
const char* conv2d_forward_host_supports(const ConvShape& sh, const Request&, Plan& plan) {
  plan.workspace = host::workspace_bytes<T>(sh.gemm_m(), sh.gemm_n(), sh.gemm_k());
  return nullptr;
}

template <class T>
void conv2d_forward_host(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  using namespace host;
  const auto& sh = plan.problem<ConvShape>();
  ConvShape group = sh;
  group.C = sh.C / sh.groups;
  const int64_t M = sh.gemm_m(), N = sh.gemm_n(), K = sh.gemm_k();
  for (int64_t g = 0; g < sh.groups; g++) {
    const DenseRows<T> filters{weight.as<const T>() + g * N * K, K, weight.as<const T>() + sh.K * K};
    const Im2col<T> rows{x.as<const T>() + g * group.C, end_of(x.as<const T>(), sh.N * sh.H * sh.W, x.pitch, sh.C), x.pitch, group};
    const Rows<T> out{y.as<T>() + g * N, y.pitch};
    multiply<T, Layout::rows, Source::across>(M, N, K, rows, filters, out, bias ? bias.as<const T>() + g * N : nullptr, sh.accumulate,
                                              plan.workspace_as<T>());
  }
}

REGISTER_VERSION(Conv2dForward, host, 0, "implicit GEMM, register tiles in vector registers",
                 conv2d_forward_host_supports<STORAGE>, conv2d_forward_host<STORAGE>);

}  // namespace pycnn
