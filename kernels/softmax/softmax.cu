// Softmax: what it requires of its shape, and which version is the default.
#include "softmax.h"

namespace pycnn {

void SoftmaxForward::check(const SoftmaxShape& p) {
  if (p.rows < 0 || p.classes < 0) throw ShapeError("softmax: rows and classes must not be negative");
}

Preference SoftmaxForward::prefer(const SoftmaxShape&, const Request& request) {
  if (request.cuda) return {"warp", "lanes", "plain"};
  return {"lanes", "plain"};
}

}  // namespace pycnn
