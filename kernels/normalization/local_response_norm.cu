// Local response normalization: what it requires of its arrays.
#include "local_response_norm.h"

namespace pycnn {

void LocalResponseNormForward::check(const LocalResponseNormShape& p) {
  if (p.rows < 0 || p.C < 0 || p.C > INT32_MAX / 2)
    throw ShapeError("local_response_norm: rows must not be negative and channels be between 0 and 2^30");
  if (p.size < 1 || p.size > INT32_MAX / 2)
    throw ShapeError("local_response_norm: size must be between 1 and 2^30, got " + std::to_string(p.size));
}

Signature LocalResponseNormForward::signature(const LocalResponseNormShape& p, DType t) {
  return {pitched(in("x", t, {p.rows, p.C})), pitched(out("y", t, {p.rows, p.C}))};
}
Signature LocalResponseNormBackward::signature(const LocalResponseNormShape& p, DType t) {
  return {pitched(in("dy", t, {p.rows, p.C})), pitched(in("x", t, {p.rows, p.C})), pitched(out("dx", t, {p.rows, p.C}))};
}

}  // namespace pycnn
