/*
Range check of class labels, version 2: check_labels_1_plain with a strip of labels per thread.

Math      bad = the first n whose label is neither ignore_index nor in [0, classes), or -1
Memory    target: n   bad: 1, in between the first bad place as an unsigned number, so that -1 is larger than all
Threads   1. unless bad is kept, one sets it to -1   2. a strip of labels each; whoever finds a bad one lowers bad atomically: a minimum of
          integers is the same in every order
Limit     memory bandwidth
Next      -
Storage   int64_t
*/
#include "loss.h"

namespace pycnn {

inline constexpr int kLabelStrip = PYCNN_CUDA ? 4 : 64;

template <class T>
__global__ void no_bad_label_kernel2(T* bad) {
  bad[0] = -1;
}

template <class T>
__global__ void check_labels_kernel2(const T* target, T* bad, LabelShape sh) {
  const int64_t first = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kLabelStrip;
  const int count = int(sh.n - first < kLabelStrip ? sh.n - first : kLabelStrip);
  int wrong = 0;
  for (int j = 0; j < count; j++) {
    const T label = target[first + j];
    wrong |= (label != sh.ignore_index) & ((label < 0) | (label >= sh.classes));
  }
  if (!wrong) return;
  for (int j = count - 1; j >= 0; j--) {
    const T label = target[first + j];
    if (label != sh.ignore_index && (label < 0 || label >= sh.classes))
      atomicMin(reinterpret_cast<unsigned long long*>(bad), (unsigned long long)(first + j));
  }
}

template <class T>
void check_labels2(const Plan& plan, Array target, Array bad) {
  const auto& sh = plan.problem<LabelShape>();
  if (!sh.keep) launch<no_bad_label_kernel2<T>>({1, 1}, bad.as<T>());
  launch<check_labels_kernel2<T>>({grid_size(ceil_div(sh.n, 256 * kLabelStrip)), 256}, target.as<const T>(), bad.as<T>(), sh);
}

REGISTER_VERSION(CheckLabels, strips, 2, "a strip of labels per thread, integer minimum", supports_all<LabelShape>,
                 check_labels2<STORAGE>);

}  // namespace pycnn
