// Declarations of the losses.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

// L = log of the sum over c of exp(x[c]) as the largest x and the rest. Apart, for their sum would be rounded: to the multiples of 2
// where x is 1e16 in double.
template <class A>
struct LogSum {
  A most, log;
  // L - x = -log P, the cost of the class with logit x.
  __device__ __forceinline__ A cost(A x) const { return log - (x - most); }
  // Of `row`, all maxima before all logarithms.
  static __device__ __forceinline__ LogSum load(const A* log_sum, int64_t row, int64_t rows) {
    return {log_sum[row], log_sum[rows + row]};
  }
  __device__ __forceinline__ void store(A* log_sum, int64_t row, int64_t rows) const {
    log_sum[row] = most, log_sum[rows + row] = log;
  }
};

struct CrossEntropyShape {
  int64_t rows, classes;
  int64_t ignore_index;    // rows with this label cost nothing
  int64_t accumulate;      // gradient: 1: dlogits += ..., 0: dlogits = ...
  double label_smoothing;  // s: this part of the label is spread evenly over the classes
  int64_t normalized;      // 1: x are log-probabilities already, and L = 0
  static constexpr const char* names = "rows classes ignore_index accumulate .label_smoothing normalized";
};

// Of each row: its loss  (1 - s) w[t] (L - x[t]) + s / classes * sum over c of w[c] (L - x[c])  with t the row's label and
// L = log of the sum over c of exp(x[c]), its weight w[t] in a mean, and L. Rows of label ignore_index have loss and weight 0,
// rows of a label out of range the loss NaN. Logits f32 f16 bf16 (f64 on the CPU); everything else in the accumulator type
// but the labels, int64. terms: losses, then weights. log_sum: L in two parts (LogSum), the maxima, then the logarithms.
struct CrossEntropyForward {
  static constexpr const char* name = "cross_entropy_forward";
  using Problem = CrossEntropyShape;
  static Signature signature(const CrossEntropyShape& p, DType t);
  static void check(const CrossEntropyShape& p);
  static Preference prefer(const CrossEntropyShape& p, const Request& request);
};

// dlogits[n,c] = g ((1 - s) w[t] (P[c] - [c = t]) + s / classes * (P[c] * (sum of w) - w[c])),  P[c] = exp(x[c] - L[n]), or 0 where
// x is normalized.
// g = dloss[0] / totals[1] for a mean, dloss[0] for a sum, dloss[n] for neither; totals are the sums of losses and weights.
// dloss has 1 or `rows` elements, told apart by the field rowwise.
struct CrossEntropyBackwardShape {
  int64_t rows, classes, ignore_index, accumulate;
  double label_smoothing;
  int64_t normalized, rowwise;
  static constexpr const char* names = "rows classes ignore_index accumulate .label_smoothing normalized rowwise";
};

struct CrossEntropyBackward {
  static constexpr const char* name = "cross_entropy_backward";
  using Problem = CrossEntropyBackwardShape;
  static Signature signature(const CrossEntropyBackwardShape& p, DType t);
  static void check(const CrossEntropyBackwardShape& p);
  static Preference prefer(const CrossEntropyBackwardShape& p, const Request& request);
};

struct LabelShape {
  int64_t n, classes, ignore_index;
  int64_t keep;  // 1: what bad held before counts too, so that one check after many calls is enough
  static constexpr const char* names = "n classes ignore_index keep";
};

// bad[0] = the first n whose label is neither ignore_index nor in [0, classes), or -1. With keep the least of these and of the
// one it holds. Storage int64.
struct CheckLabels {
  static constexpr const char* name = "check_labels";
  using Problem = LabelShape;
  static Signature signature(const LabelShape& p, DType t);
  static void check(const LabelShape& p);
  static Preference prefer(const LabelShape& p, const Request& request);
};

}  // namespace pycnn
