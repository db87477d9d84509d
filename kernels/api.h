// Every op Python may call: the table of contents. Each declaration states its arrays, storage, accumulator and indices.
#pragma once
#include "conv2d/conv2d.h"
#include "elementwise/elementwise.h"
#include "gemm/gemm.h"
#include "loss/loss.h"
#include "loss/pointwise.h"
#include "loss/soft_cross_entropy.h"
#include "normalization/l2_normalize.h"
#include "normalization/local_response_norm.h"
#include "normalization/normalization.h"
#include "optim/optim.h"
#include "pool2d/adaptive.h"
#include "pool2d/pool2d.h"
#include "random/counter.h"
#include "random/drop_path.h"
#include "random/random.h"
#include "reduce/reduce.h"
#include "resample/resample.h"
#include "shape/shape.h"
#include "softmax/softmax.h"

namespace pycnn {

inline std::vector<const OpRecord*>& ops() {
  static std::vector<const OpRecord*> all;
  return all;
}

template <template <class> class Op, class... F>
void append(List<F...>) {
  (ops().push_back(&op_record<Op<F>>()), ...);
}
template <template <class> class Op, class... F>
void append(LossList<F...>) {
  (ops().push_back(&op_record<Op<F>>()), ...);
}
template <class... Op>
void append() {
  (ops().push_back(&op_record<Op>()), ...);
}

inline const std::vector<const OpRecord*>& all_ops() {
  if (ops().empty()) {
    append<Conv2dForward, Conv2dBackwardData, Conv2dBackwardWeight>();
    append<Gemm>();
    append<Map>(MapFunctors{});
    append<Broadcast>(BroadcastFunctors{});
    append<Sum, SumBackward, BiasBackward, Max, MaxBackward>();
    append<SoftmaxForward, SoftmaxBackward>();
    append<CrossEntropyForward, CrossEntropyBackward, CheckLabels>();
    append<SoftCrossEntropyForward, SoftCrossEntropyBackward>();
    append<PointwiseLossForward>(PointwiseLosses{});
    append<PointwiseLossBackward>(PointwiseLosses{});
    append<StridedCopy, CopyRows, Cast, Fill>();
    append<Sgd, Adam, AdamCorrections, AdvanceStep>();
    append<MaxPool2dForward, MaxPool2dBackward, MaxPool2dIndices, AvgPool2dForward, AvgPool2dBackward>();
    append<AdaptiveAvgPool2dForward, AdaptiveAvgPool2dBackward, AdaptiveMaxPool2dForward, AdaptiveMaxPool2dBackward>();
    append<MaxUnpool2dForward, MaxUnpool2dBackward>();
    append<LocalResponseNormForward, LocalResponseNormBackward>();
    append<L2NormalizeForward, L2NormalizeBackward>();
    append<Increment>();
    append<Dropout, DropPath>();
    append<ResampleForward, ResampleBackward>();
    append<BatchNormStatistics, BatchNormForward, BatchNormBackwardSums, BatchNormBackward, BatchNormFold>();
  }
  return ops();
}

}  // namespace pycnn
