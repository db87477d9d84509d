/*
conv2d backward-data (dgrad) for the CPU: dx gathers from dy, the same implicit GEMM as forward_host.cuh.

Math      dx[n,h,w,c] = bias[c] + sum over r,s,k of dy[n,p,q,k] * weight[k,r,s,c] where p*stride - pad + r*dilation = h and q
          likewise. With stride t the pixels of one h mod t see the same few taps (dgrad_class.h). Within such a class p falls
          by the same step from tap to tap: a convolution of dy with stride 1 and its taps in reverse.
Memory    the class's taps are read as rows (r,s,k), as weight stores them; each block of pixels gathers its rows of
          im2col(dy); under 1x1 filters dy is read where it lies. With few channels vectors along c would be mostly empty, and
          with a dx much larger than dy most of the products would be with zero: then dy * weight is computed for all taps
          (r,s,c) of a pixel of dy at once, and each row of it is added to the pixels of dx it touches, in order.
          Taps that lie side by side under a stride of S join: their channels are those of one pixel, S times as wide.
          Narrow groups: no matrix, all classes from one copy of dy's lines (common/host_grouped.h).
Threads   over blocks of pixels and channels, one class after the other; over bands of lines of dx where rows are added
Limit     a strided convolution gathers dy once per class
Next      backward_weight_host.cuh sums over pixels instead
Storage   float double
*/
#include "../common/host_conv.h"
#include "../common/host_grouped.h"
#include "conv2d.h"
#include "dgrad_class.h"

namespace pycnn {

// Row (r,s,k) of the weights of a class: the channels of one tap of one filter.
template <class T> struct DgradTaps {
  const T* weight;  // of the group's first filter
  const T* end;     // of all weights
  int64_t R, S, C, K;
  DgradClass h, w;
  int64_t pitch = R * S * C;  // from filter to filter
  const T* in_place() const { return R * S == 1 ? weight : nullptr; }
  void fill(int64_t row, int64_t rows, int64_t from, int64_t n, T* out, int64_t stride) const {
    while (rows > 0) {  // the filters of one tap at a time
      const int64_t k = row % K, s = w.tap(w.taps - 1 - row / K % w.taps), r = h.tap(h.taps - 1 - row / K / w.taps);
      const int64_t filters = std::min(rows, K - k);
      host::copy_rows(weight + (r * S + s) * C + k * pitch + from, pitch, filters, n, out, stride, end);
      row += filters, rows -= filters, out += filters * stride;
    }
  }
};

// Where the pixels of a class are in dx.
template <class T> struct DgradPixels {
  T* dx;
  int64_t pitch, H, W;
  DgradClass h, w;
  T* row(int64_t i) const {
    const int64_t line = i / w.pixels, image = line / h.pixels;
    return dx + ((image * H + h.pixel(line % h.pixels)) * W + w.pixel(i % w.pixels)) * pitch;
  }
};

// The pixels of one class, a product for each group.
template <class T>
void dgrad_gather_class(const ConvShape& sh, const DgradClass& h, const DgradClass& w, Array dy, Array weight, Array bias,
                        Array dx, T* workspace) {
  using namespace host;
  const int64_t C = sh.group_C(), K = sh.group_K();
  const int64_t pad_h = (h.taps - 1) * h.p_step - h.first_p, pad_w = (w.taps - 1) * w.p_step - w.first_p;
  const ConvShape view{sh.N, sh.P, sh.Q, K, C, h.taps, w.taps, h.pixels, w.pixels, 1, 1, pad_h, pad_w, h.p_step, w.p_step, 1, 0};
  const T* dy_end = end_of(dy.as<const T>(), sh.N * sh.P * sh.Q, dy.pitch, sh.K);
  const T *filters = weight.as<const T>(), *filters_end = filters + sh.K * sh.gemm_k();
  const auto product_of = [&](int64_t g) {
    const Im2col<T> rows{dy.as<const T>() + g * K, dy_end, dy.pitch, view};
    const DgradTaps<T> taps{filters + g * K * sh.gemm_k(), filters_end, sh.R, sh.S, C, K, h, w};
    const DgradPixels<T> out{dx.as<T>() + g * C, dx.pitch, sh.H, sh.W, h, w};
    return Product<T, Im2col<T>, DgradTaps<T>, DgradPixels<T>>{rows, taps, out, bias ? bias.as<const T>() + g * C : nullptr};
  };
  multiply<T, Layout::rows, Source::along>(sh.groups, view.gemm_m(), C, view.gemm_k(), product_of, sh.accumulate, workspace);
}

template <class T>
void dgrad_gather(const ConvShape& sh, Array dy, Array weight, Array bias, Array dx, T* workspace) {
  for (int64_t first_h = 0; first_h < std::min(sh.stride_h, sh.H); first_h++) {
    const DgradClass h(first_h, sh.stride_h, sh.pad_h, sh.dilation_h, sh.H, sh.R);
    for (int64_t first_w = 0; first_w < std::min(sh.stride_w, sh.W); first_w++) {
      const DgradClass w(first_w, sh.stride_w, sh.pad_w, sh.dilation_w, sh.W, sh.S);
      dgrad_gather_class(sh, h, w, dy, weight, bias, dx, workspace);
    }
  }
}

// Few channels, or a dx of which most taps fall outside dy: a row of dy * weight holds all taps (r,s,c) of one pixel of dy, and
// is added to the pixels of dx it touches.
template <class T> bool dgrad_scatters(const ConvShape& sh) {
  const int64_t C = sh.group_C(), lanes = host::kLanes<T>;
  const bool few_channels = C <= lanes / 2 || (C <= lanes && sh.group_K() >= 2 * C);
  return (few_channels || sh.H * sh.W >= 4 * sh.P * sh.Q * sh.stride_h * sh.stride_w) && sh.gemm_k() <= 1024;
}

// One group of lines [begin, end) of an image of dx, from the lines p of dy that touch them, in order.
template <class T>
void dgrad_scatter_lines(const ConvShape& sh, const host::DenseRows<T>& dy, const T* packed, int64_t image, int64_t begin,
                         int64_t end, const T* bias, T* dx, int64_t pitch) {
  using namespace host;
  const int64_t C = sh.group_C(), width = round_up(sh.gemm_k(), kLanes<T>);
  const bool joint = pitch == C && sh.dilation_w == 1;
  const int64_t taps = joint ? sh.S : 1, reach = (sh.R - 1) * sh.dilation_h;
  T* lines = dx + image * sh.H * sh.W * pitch;
  const T* lines_end = lines + end * sh.W * pitch;
  for (int64_t i = begin * sh.W; i < end * sh.W; i++) {
    T* pixel = lines + i * pitch;
    if (!sh.accumulate) std::fill_n(pixel, C, T(0));
    for (int64_t c = 0; c < C && bias; c++) pixel[c] += bias[c];
  }

  alignas(64) T product[kBlockSize<T>];
  const int64_t at_once = std::min<int64_t>(kBlockRows, kBlockSize<T> / width);
  T* row[kBlockRows];
  for (int64_t i = 0; i < at_once; i++) row[i] = product + i * width;
  const Depths<T> blocks(sh.group_K());
  const int64_t p_begin = std::max<int64_t>(0, begin + sh.pad_h - reach) / sh.stride_h;
  const int64_t p_end = std::min(sh.P, (end - 1 + sh.pad_h) / sh.stride_h + 1);
  for (int64_t i = p_begin * sh.Q; i < p_end * sh.Q; i += at_once) {
    const int64_t rows = std::min(at_once, p_end * sh.Q - i);
    for (int64_t b = 0; b < blocks.count; b++) {
      const int64_t k = blocks.begin(b), depth = blocks.size(b);
      const T* pixel = dy.data + (image * sh.P * sh.Q + i) * dy.pitch + k;
      block_product<T, Layout::rows>(rows, width, depth, pixel, dy.pitch, packed + k * width, row, 0, nullptr, b > 0);
    }
    int64_t p = i / sh.Q, q = i % sh.Q;
    for (int64_t j = 0; j < rows; j++) {
      for (int64_t r = 0; r < sh.R; r++) {
        const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h;
        if (h < begin || h >= end) continue;
        for (int64_t s = 0; s < sh.S; s += taps) {
          const int64_t w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
          const int64_t low = std::max<int64_t>(0, -w), high = std::min(taps, sh.W - w);  // taps inside the image
          if (low < high)
            add_row(row[j] + ((r * sh.S + s) + low) * C, (high - low) * C, lines + (h * sh.W + w + low) * pitch,
                    joint ? lines_end : nullptr);
        }
      }
      if (++q == sh.Q) p++, q = 0;
    }
  }
}

template <class T>
void dgrad_scatter(const ConvShape& sh, Array dy, Array weight, Array bias, Array dx, T* packed) {
  using namespace host;
  const int64_t C = sh.group_C(), K = sh.group_K(), columns = sh.gemm_k();
  // Bands of lines, where the images are few; lines of dy that touch two bands are multiplied twice.
  const int64_t reach = sh.R * sh.dilation_h;
  const int64_t bands =
      std::max<int64_t>(1, std::min(ceil_div(4 * cpu::get_num_threads(), std::max<int64_t>(1, sh.N)), sh.H / (4 * reach)));
  const T* dy_end = end_of(dy.as<const T>(), sh.N * sh.P * sh.Q, dy.pitch, sh.K);
  for (int64_t g = 0; g < sh.groups; g++) {
    const T* filters = weight.as<const T>() + g * K * columns;
    const DenseRows<T> filter_rows{filters, columns, weight.as<const T>() + sh.K * columns};
    pack<T, Source::along>(1, K, columns, [&](int64_t) { return filter_rows; }, packed);
    const DenseRows<T> dy_rows{dy.as<const T>() + g * K, dy.pitch, dy_end};
    for_each(sh.N * bands, 2.0 * sh.gemm_m() * columns * K, [&](int64_t i) {
      const int64_t band = i % bands;
      dgrad_scatter_lines(sh, dy_rows, packed, i / bands, band * sh.H / bands, (band + 1) * sh.H / bands,
                          bias ? bias.as<const T>() + g * C : nullptr, dx.as<T>() + g * C, dx.pitch);
    });
  }
}

// Filters side by side (U-Net's 2x2 with stride 2): the S taps of a line are the channels of one pixel of S*C, as they lie.
template <class T> bool dgrad_joins(const ConvShape& sh) {
  const bool side_by_side = sh.stride_w == sh.S && sh.dilation_w == 1 && sh.pad_w == 0 && sh.W == sh.Q * sh.S;
  return side_by_side && sh.S > 1 && sh.groups == 1 && !dgrad_scatters<T>(sh);
}
inline ConvShape dgrad_joined(ConvShape sh) {
  sh.W = sh.Q, sh.C *= sh.S, sh.S = sh.stride_w = 1;
  return sh;
}

template <class T>
int64_t dgrad_gather_bytes(const ConvShape& sh) {
  return host::workspace_bytes<T>(sh.groups, sh.N * sh.H * sh.W, sh.group_C(), sh.R * sh.S * sh.group_K());
}

// The packed weights; after those of a joined shape S copies of bias.
template <class T>
const char* conv2d_backward_data_host_supports(const ConvShape& sh, const Request&, Plan& plan) {
  plan.workspace =
      dgrad_scatters<T>(sh) ? sizeof(T) * sh.group_K() * host::round_up(sh.gemm_k(), host::kLanes<T>) : dgrad_gather_bytes<T>(sh);
  if (dgrad_joins<T>(sh)) {
    const ConvShape joined = dgrad_joined(sh);
    plan.workspace = std::max(plan.workspace, dgrad_gather_bytes<T>(joined) + joined.C * int64_t(sizeof(T)));
  }
  if (host::backward_data_runs_in_lanes<T>(sh)) plan.workspace = sh.K * sh.gemm_k() * sizeof(T);
  return nullptr;
}

template <class T>
void conv2d_backward_data_host(const Plan& plan, Array dy, Array weight, Array bias, Array dx) {
  const auto& sh = plan.problem<ConvShape>();
  if (dx.size() == 0) return;
  if (host::backward_data_runs_in_lanes<T>(sh))
    return host::grouped_backward_data(sh, dy, weight, bias, dx, plan.workspace_as<T>());
  if (dgrad_scatters<T>(sh)) return dgrad_scatter<T>(sh, dy, weight, bias, dx, plan.workspace_as<T>());
  if (!dgrad_joins<T>(sh) || !dx.dense()) return dgrad_gather<T>(sh, dy, weight, bias, dx, plan.workspace_as<T>());
  const ConvShape joined = dgrad_joined(sh);
  if (bias) {
    T* copies = plan.workspace_as<T>(dgrad_gather_bytes<T>(joined));
    for (int64_t c = 0; c < joined.C; c++) copies[c] = bias.as<const T>()[c % sh.C];
    bias.data = copies;
  }
  dx.pitch = joined.C;
  dgrad_gather<T>(joined, dy, weight, bias, dx, plan.workspace_as<T>());
}

REGISTER_VERSION(Conv2dBackwardData, host, 0, "implicit GEMM on dy, one product per class of pixels modulo the stride",
                 conv2d_backward_data_host_supports<STORAGE>, conv2d_backward_data_host<STORAGE>);

}  // namespace pycnn
