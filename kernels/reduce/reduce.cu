// Reductions: what they require of their arrays, and which version is the default.
#include "reduce.h"

namespace pycnn {

static void check_extents(const char* op, int64_t outer, int64_t reduced, int64_t inner) {
  if (outer < 0 || reduced < 0 || inner < 0) throw ShapeError(std::string(op) + ": the extents must not be negative");
}

Signature Sum::signature(const SumShape& p, DType t) {
  return {flat_in("x", t, p.outer * p.reduced * p.inner), flat_out("y", p.wide ? accumulator_of(t) : t, p.outer * p.inner)};
}
void Sum::check(const SumShape& p) { check_extents(name, p.outer, p.reduced, p.inner); }
Preference Sum::prefer(const SumShape& p, const Request& request) {
  const bool many_short = p.outer * p.inner >= 1 << 15 && p.reduced <= 64;
  if (request.cuda && many_short) return {"plain"};
  if (request.cuda) return {"block", "strips", "plain"};
  return {"strips", "plain"};
}

Signature SumBackward::signature(const SumShape& p, DType t) {
  return {flat_in("dy", t, p.outer * p.inner), flat_out("dx", t, p.outer * p.reduced * p.inner)};
}
void SumBackward::check(const SumShape& p) { check_extents(name, p.outer, p.reduced, p.inner); }
Preference SumBackward::prefer(const SumShape&, const Request&) { return {"strips", "plain"}; }

Signature BiasBackward::signature(const BiasShape& p, DType t) {
  return {flat_in("dy", t, p.rows * p.channels), flat_out("dbias", accumulator_of(t), p.channels)};
}
void BiasBackward::check(const BiasShape& p) { check_extents(name, 1, p.rows, p.channels); }
Preference BiasBackward::prefer(const BiasShape& p, const Request& request) { return Sum::prefer(p.sum(), request); }

Signature Max::signature(const MaxShape& p, DType t) {
  return {flat_in("x", t, p.outer * p.reduced * p.inner), flat_out("y", t, p.outer * p.inner),
          flat_out("index", DType::i64, p.outer * p.inner)};
}
void Max::check(const MaxShape& p) {
  check_extents(name, p.outer, p.reduced, p.inner);
  if (p.reduced == 0 && p.outer * p.inner != 0) throw ShapeError("max: there is no element to take the maximum of");
}
Preference Max::prefer(const MaxShape&, const Request&) { return {"split", "plain"}; }

Signature MaxBackward::signature(const MaxBackwardShape& p, DType t) {
  return {flat_in("dy", t, p.outer * p.inner), flat_in("index", DType::i64, p.outer * p.inner),
          flat_out("dx", t, p.outer * p.reduced * p.inner)};
}
void MaxBackward::check(const MaxBackwardShape& p) { check_extents(name, p.outer, p.reduced, p.inner); }
Preference MaxBackward::prefer(const MaxBackwardShape&, const Request&) { return {"split", "plain"}; }

}  // namespace pycnn
