/*
conv2d forward for the CPU: implicit GEMM on the register-tile micro-kernel (common/host_gemm.h).

Math      y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[k,r,s,c]
Memory    each block of pixels gathers its rows of im2col(x), at most 256 terms at a time, into cache; weight is packed
          (transposed: filters along vectors), once into the workspace where several blocks of pixels share it. A tap
          outside the image is a zero that is multiplied: an infinite weight gives NaN there, as in PyTorch.
          Under 1x1 filters x is read where it lies. One channel and at most half a vector of filters: vectors along pixels
          instead, x read as it lies. Narrow groups: no matrix, lines of x copied as planes (common/host_grouped.h).
Threads   over blocks of pixels and filters; a sum is never shared, so its bits do not depend on the number of threads
Limit     the gather takes 5 to 10 % of the time at K = 64, twice that at K = 32; a vector of filters is half empty at K = 8
Next      backward_data_host.cuh is the same product on dy
Storage   float double
*/
#include "../common/host_conv.h"
#include "../common/host_grouped.h"
#include "conv2d.h"

namespace pycnn {

template <class T>
const char* conv2d_forward_host_supports(const ConvShape& sh, const Request&, Plan& plan) {
  plan.workspace = host::workspace_bytes<T>(sh.groups, sh.gemm_m(), sh.gemm_n(), sh.gemm_k());
  if (host::runs_in_lanes<T>(sh, sh.group_C(), sh.group_K())) plan.workspace = sh.K * sh.gemm_k() * sizeof(T);
  return nullptr;
}

// The transpose of im2col(x) for one channel and one line of y: row (r,s) is a line of x, shifted.
template <class T> struct ShiftedLines {
  const T *image, *x_end;
  int64_t p;
  const ConvShape& sh;
  void fill(int64_t row, int64_t rows, int64_t from, int64_t n, T* out, int64_t stride) const {
    int64_t r = row / sh.S, s = row % sh.S;
    for (int64_t i = 0; i < rows; i++, out += stride) {
      const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h, w = from - sh.pad_w + s * sh.dilation_w;
      const bool outside = h < 0 || h >= sh.H;
      const int64_t low = outside ? n : std::clamp<int64_t>(-w, 0, n), high = outside ? n : std::clamp<int64_t>(sh.W - w, low, n);
      if (low > 0) std::fill_n(out, low, T(0));
      if (low < high) host::copy_rows(image + h * sh.W + w + low, 0, 1, high - low, out + low, 0, x_end);
      if (high < n) std::fill_n(out + high, n - high, T(0));
      if (++s == sh.S) r++, s = 0;
    }
  }
};

// One channel and few filters, as in the first layer for gray images: vectors along pixels fill where filters would not.
template <class T>
bool forward_along_pixels(const ConvShape& sh, Array x) {
  return sh.C == 1 && x.pitch == 1 && sh.stride_w == 1 && sh.K <= host::kLanes<T> / 2 && sh.gemm_k() <= host::kDepth<T>;
}

template <class T>
void conv2d_forward_along_pixels(const ConvShape& sh, Array x, Array weight, Array bias, Array y) {
  using namespace host;
  constexpr int64_t kLines = 16;
  const int64_t depth = sh.gemm_k(), lines = sh.N * sh.P;
  const DenseRows<T> filters{weight.as<const T>(), depth, weight.as<const T>() + sh.K * depth};
  for_each(ceil_div(lines, kLines), 2.0 * sh.gemm_m() * sh.K * depth, [&](int64_t block) {
    alignas(64) T filter_block[kLanes<T> * kRowStride<T>], x_block[kDepth<T> * kTileColumns<T> + kLanes<T>],
        sums[kLanes<T>][kTileColumns<T>];
    T *row[kLanes<T>], shift[kLanes<T>];
    const int K = int(sh.K);
    const bool accumulate = sh.accumulate != 0;
    for (int k = 0; k < K; k++) row[k] = sums[k], shift[k] = bias ? bias.as<const T>()[k] : T(0);
    filters.fill(0, sh.K, 0, depth, filter_block, kRowStride<T>);
    for (int64_t line = block * kLines; line < std::min(lines, (block + 1) * kLines); line++) {
      const T* image = x.as<const T>() + line / sh.P * sh.H * sh.W;
      const ShiftedLines<T> shifted{image, x.as<const T>() + sh.N * sh.H * sh.W, line % sh.P, sh};
      for (int64_t q = 0; q < sh.Q; q += kTileColumns<T>) {
        const int64_t pixels = std::min<int64_t>(sh.Q - q, kTileColumns<T>);
        shifted.fill(0, depth, q, pixels, x_block, tile_vectors<T>(pixels) * kLanes<T>);  // rows in order: one tile as it is
        block_product<T, Layout::rows>(sh.K, pixels, depth, filter_block, kRowStride<T>, x_block, row, 0, nullptr, false);
        T* out = y.as<T>() + (line * sh.Q + q) * y.pitch;
        for (int64_t i = 0; i < pixels; i++, out += y.pitch)
          for (int k = 0; k < K; k++) out[k] = sums[k][i] + shift[k] + (accumulate ? out[k] : T(0));
      }
    }
  });
}

template <class T>
void conv2d_forward_host(const Plan& plan, Array x, Array weight, Array bias, Array y) {
  using namespace host;
  const auto& sh = plan.problem<ConvShape>();
  if (runs_in_lanes<T>(sh, sh.group_C(), sh.group_K())) return grouped_forward(sh, x, weight, bias, y, plan.workspace_as<T>());
  if (forward_along_pixels<T>(sh, x)) return conv2d_forward_along_pixels<T>(sh, x, weight, bias, y);
  ConvShape group = sh;
  group.C = sh.C / sh.groups;
  const int64_t M = sh.gemm_m(), N = sh.gemm_n(), K = sh.gemm_k();
  const T* x_end = end_of(x.as<const T>(), sh.N * sh.H * sh.W, x.pitch, sh.C);
  const auto product_of = [&](int64_t g) {
    const Im2col<T> rows{x.as<const T>() + g * group.C, x_end, x.pitch, group};
    const DenseRows<T> filters{weight.as<const T>() + g * N * K, K, weight.as<const T>() + sh.K * K};
    const Rows<T> out{y.as<T>() + g * N, y.pitch};
    return Product<T, Im2col<T>, DenseRows<T>, Rows<T>>{rows, filters, out, bias ? bias.as<const T>() + g * N : nullptr};
  };
  multiply<T, Layout::rows, Source::across>(sh.groups, M, N, K, product_of, sh.accumulate, plan.workspace_as<T>());
}

REGISTER_VERSION(Conv2dForward, host, 0, "implicit GEMM, register tiles in vector registers",
                 conv2d_forward_host_supports<STORAGE>, conv2d_forward_host<STORAGE>);

}  // namespace pycnn
