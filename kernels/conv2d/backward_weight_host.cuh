/*
conv2d backward-weight (wgrad) for the CPU: implicit GEMM whose sums run over the pixels.

Math      dweight[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] * x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c]
Memory    im2col(x) is gathered as it lies, at most 256 pixels at a time, and dy packed as strips, or read where it lies for few
          columns of x. The pixels are cut into chunks by shape alone; each chunk has its own partial dweight in the workspace,
          and they are added in order at the end. Narrow groups: no matrix, sums in registers (common/host_grouped_weight.h).
Threads   over chunks and blocks of columns (r,s,c)
Limit     the gather takes as long as the product at K = 16, more below; under 1x1 filters a third
Next      gemm/gemm_host.cuh is the micro-kernel without a gather
Storage   float double
*/
#include "../common/host_conv.h"
#include "../common/host_grouped_weight.h"
#include "conv2d.h"

namespace pycnn {

// The cut of a group: `columns` blocks of (r,s,c), `chunks` of pixels. About 32 pieces of work in all groups, of at least 512
// pixels each, and at most 8 MiB of partial sums.
struct WgradCut {
  int64_t columns, chunks, elements;  // elements of all groups
  explicit WgradCut(const ConvShape& sh) {
    elements = sh.K * sh.gemm_k();
    columns = ceil_div(sh.gemm_k(), host::kLocalColumns);
    chunks = elements ? std::min({ceil_div(32, columns * sh.groups), sh.gemm_m() / 512, (2 << 20) / elements}) : 1;
    chunks = std::max<int64_t>(chunks, 1);
  }
};

template <class T>
const char* conv2d_backward_weight_host_supports(const ConvShape& sh, const Request&, Plan& plan) {
  const WgradCut cut(sh);
  plan.workspace = cut.chunks > 1 ? cut.chunks * cut.elements * sizeof(T) : 0;
  if (host::backward_weight_runs_in_lanes<T>(sh)) {
    const host::LaneCut<T> lanes(sh);
    plan.workspace = lanes.pieces * lanes.elements * sizeof(T);
  }
  return nullptr;
}

// With at most so many columns of dweight packing dy would take longer than reading it where it lies.
inline constexpr int kColumnsInPlace = 64;

// One piece: columns [n, n + width) of dweight from the pixels [begin, end).
template <class T, class DY, class X>
void wgrad_block(const DY& dy, const X& x, int64_t K, int64_t n, int64_t width, int64_t begin, int64_t end, T* dweight,
                 int64_t row_length, bool accumulate) {
  using namespace host;
  alignas(64) T x_block[kDepth<T> * kLocalColumns], dy_block[kBlockSize<T>];
  const Depths<T> blocks(end - begin);
  for (int64_t b = 0; b < blocks.count; b++) {
    const int64_t pixel = begin + blocks.begin(b), depth = blocks.size(b);
    pack_block<T, Source::along>(x, pixel, depth, n, width, x_block);
    for (int64_t k = 0; k < K; k += kBlockRows) {
      const int64_t rows = std::min<int64_t>(K - k, kBlockRows);
      T* row[kBlockRows];
      for (int64_t i = 0; i < rows; i++) row[i] = dweight + (k + i) * row_length;
      const auto product = [&](auto layout, const T* in, int64_t pitch) {
        block_product<T, layout>(rows, width, depth, in, pitch, x_block, row, n, nullptr, b > 0 || accumulate);
      };
      if (width <= kColumnsInPlace) {
        product(std::integral_constant<Layout, Layout::columns>{}, dy.data + pixel * dy.pitch + k, dy.pitch);
      } else {
        pack_strips(dy, pixel, depth, k, rows, dy_block);
        product(std::integral_constant<Layout, Layout::strips>{}, dy_block, 0);
      }
    }
  }
}

template <class T>
void conv2d_backward_weight_host(const Plan& plan, Array dy, Array x, Array dweight) {
  using namespace host;
  const auto& sh = plan.problem<ConvShape>();
  if (dweight.size() == 0) return;
  if (backward_weight_runs_in_lanes<T>(sh)) return grouped_backward_weight(sh, dy, x, dweight, plan.workspace_as<T>());
  const WgradCut cut(sh);
  const int64_t K = sh.gemm_n(), columns = sh.gemm_k(), pixels = sh.gemm_m();
  T* partial = plan.workspace_as<T>();
  ConvShape group = sh;
  group.C = sh.group_C();
  const T* x_end = end_of(x.as<const T>(), sh.N * sh.H * sh.W, x.pitch, sh.C);
  const T* dy_end = end_of(dy.as<const T>(), pixels, dy.pitch, sh.K);
  for_each(sh.groups * cut.chunks * cut.columns, 2.0 * pixels * cut.elements, [&](int64_t i) {
    const int64_t g = i / cut.columns / cut.chunks, chunk = i / cut.columns % cut.chunks, block = i % cut.columns;
    const DenseRows<T> dy_rows{dy.as<const T>() + g * K, dy.pitch, dy_end};
    const Im2col<T> x_rows{x.as<const T>() + g * group.C, x_end, x.pitch, group};
    const int64_t tiles = ceil_div(columns, kTileColumns<T>);
    const int64_t n = block * tiles / cut.columns * kTileColumns<T>,
                  end = std::min(columns, (block + 1) * tiles / cut.columns * kTileColumns<T>);
    T* out = cut.chunks > 1 ? partial + chunk * cut.elements : dweight.as<T>();
    wgrad_block<T>(dy_rows, x_rows, K, n, end - n, chunk * pixels / cut.chunks, (chunk + 1) * pixels / cut.chunks,
                   out + g * K * columns, columns, cut.chunks == 1 && sh.accumulate);
  });
  if (cut.chunks == 1) return;
  for_each(sh.K, double(cut.chunks * cut.elements), [&](int64_t k) {
    T* sum = dweight.as<T>() + k * columns;
    for (int64_t chunk = 0; chunk < cut.chunks; chunk++) {
      const T* more = partial + chunk * cut.elements + k * columns;
      for (int64_t i = 0; i < columns; i++) sum[i] = chunk == 0 && !sh.accumulate ? more[i] : sum[i] + more[i];
    }
  });
}

REGISTER_VERSION(Conv2dBackwardWeight, host, 0, "implicit GEMM over pixels, partial sums cut by shape",
                 conv2d_backward_weight_host_supports<STORAGE>, conv2d_backward_weight_host<STORAGE>);

}  // namespace pycnn
