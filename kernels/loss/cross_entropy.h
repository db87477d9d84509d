// What the versions of cross entropy share: the arithmetic of one row once its sums are known.
#pragma once
#include "../common/functions.h"
#include "../common/launch.h"
#include "loss.h"

namespace pycnn {

// A row's label. Only a valid one is used as an index.
struct Label {
  int64_t value;
  bool ignored, valid;
  __device__ __forceinline__ Label(int64_t label, int64_t classes, int64_t ignore_index)
      : value(label), ignored(label == ignore_index), valid(!ignored && label >= 0 && label < classes) {}
};

// The row's weight in a mean.
template <class A>
__device__ __forceinline__ A row_weight(const Label& label, const A* weight) {
  return label.valid && weight ? weight[label.value] : A(label.ignored ? 0 : 1);
}

// x: the row's logits   spread: sum over c of w[c] (L - x[c])
template <class T, class A>
__device__ __forceinline__ A row_loss(const Label& label, const T* x, const A* weight, const LogSum<A>& L, A spread,
                                      const CrossEntropyShape& sh) {
  if (!label.valid) return label.ignored ? A(0) : A(NAN);
  const A s = A(sh.label_smoothing), loss = (A(1) - s) * row_weight(label, weight) * L.cost(A(x[label.value]));
  return s > 0 ? loss + s / A(sh.classes) * spread : loss;
}

// The factors of a row's gradient: dx[c] = P[c] * all - w[c] * each - (c == t) * label.
template <class A>
struct RowGradient {
  A all, each, label;

  __device__ __forceinline__ RowGradient(const Label& t, int64_t row, const A* dloss, const A* weight, const A* totals,
                                         A weight_sum, const CrossEntropyBackwardShape& sh) {
    const A s = A(sh.label_smoothing), w = row_weight(t, weight);
    const A g = dloss[sh.rowwise ? row : 0] / (totals ? totals[1] : A(1));
    label = g * (A(1) - s) * w;
    each = g * s / A(sh.classes);
    all = label + each * weight_sum;
  }
};

}  // namespace pycnn
