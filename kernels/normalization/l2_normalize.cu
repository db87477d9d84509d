// Division by the Euclidean norm: what it requires of its arrays, and which version is the default.
#include "l2_normalize.h"

namespace pycnn {

void L2NormalizeForward::check(const L2NormalizeShape& p) {
  if (p.rows < 0 || p.C < 0) throw ShapeError("l2_normalize: rows and channels must not be negative");
  if (!(p.eps >= 0)) throw ShapeError("l2_normalize: eps must not be negative, got " + std::to_string(p.eps));
}

Signature L2NormalizeForward::signature(const L2NormalizeShape& p, DType t) {
  return {pitched(in("x", t, {p.rows, p.C})), pitched(out("y", t, {p.rows, p.C})), out("norm", accumulator_of(t), {p.rows})};
}
Signature L2NormalizeBackward::signature(const L2NormalizeShape& p, DType t) {
  return {pitched(in("dy", t, {p.rows, p.C})), pitched(in("x", t, {p.rows, p.C})), in("norm", accumulator_of(t), {p.rows}),
          pitched(out("dx", t, {p.rows, p.C}))};
}

Preference L2NormalizeForward::prefer(const L2NormalizeShape&, const Request& request) {
  if (request.cuda) return {"warp", "lanes", "plain"};
  return {"lanes", "plain"};
}

}  // namespace pycnn
