/*
Range check of class labels, version 1: one thread.

Math      bad = the first n whose label is neither ignore_index nor in [0, classes), or -1
Memory    target: n   bad: 1
Threads   one
Limit     one label after the other: 2 million pixels take a GPU's thread milliseconds
Next      check_labels_2_strips.cuh shares the labels out
Storage   int64_t
*/
#include "loss.h"

namespace pycnn {

template <class T>
__global__ void check_labels_kernel1(const T* target, T* bad, LabelShape sh) {
  int64_t n = 0;
  while (n < sh.n && (target[n] == sh.ignore_index || (target[n] >= 0 && target[n] < sh.classes))) n++;
  if (sh.keep && bad[0] >= 0 && bad[0] < n) return;
  if (!sh.keep || n < sh.n) bad[0] = n < sh.n ? n : -1;
}

template <class T>
void check_labels1(const Plan& plan, Array target, Array bad) {
  launch<check_labels_kernel1<T>>({1, 1}, target.as<const T>(), bad.as<T>(), plan.problem<LabelShape>());
}

REGISTER_VERSION(CheckLabels, plain, 1, "one thread", supports_all<LabelShape>, check_labels1<STORAGE>);

}  // namespace pycnn
