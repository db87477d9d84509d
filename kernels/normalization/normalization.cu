// Batch normalization: what the passes require of their arrays, and which version is the default.
#include "normalization.h"

namespace pycnn {

static void check_batch_norm(const char* op, const BatchNormShape& p) {
  if (p.rows < 0 || p.C < 0) throw ShapeError(std::string(op) + ": negative sizes are not supported");
  if (p.C > INT32_MAX) throw NotSupported(std::string(op) + ": more than 2^31 - 1 channels are not supported");
  if (!(p.eps >= 0)) throw ShapeError(std::string(op) + ": eps must not be negative, got " + std::to_string(p.eps));
}

void BatchNormStatistics::check(const BatchNormShape& p) {
  check_batch_norm(name, p);
  if (p.rows < 1) throw ShapeError(std::string(name) + ": there are no rows to take the mean of");
}
void BatchNormForward::check(const BatchNormShape& p) { check_batch_norm(name, p); }
void BatchNormBackwardSums::check(const BatchNormShape& p) { check_batch_norm(name, p); }
void BatchNormBackward::check(const BatchNormShape& p) { check_batch_norm(name, p); }

Signature BatchNormStatistics::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {in("x", t, {p.rows, p.C}), out("mean", a, {p.C}), out("variance", a, {p.C}), optional(out("running_mean", a, {p.C})),
          optional(out("running_var", a, {p.C}))};
}
Signature BatchNormForward::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {in("x", t, {p.rows, p.C}),        in("mean", a, {p.C}),           in("variance", a, {p.C}),
          optional(in("weight", t, {p.C})), optional(in("bias", t, {p.C})), optional(in("residual", t, {p.rows, p.C})),
          out("y", t, {p.rows, p.C})};
}
Signature BatchNormBackwardSums::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {in("dy", t, {p.rows, p.C}), in("x", t, {p.rows, p.C}), optional(in("y", t, {p.rows, p.C})),
          in("mean", a, {p.C}),       in("variance", a, {p.C}),  out("dweight", a, {p.C}),
          out("dbias", a, {p.C})};
}
Signature BatchNormBackward::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  Argument dweight = in("dweight", a, {p.C}), dbias = in("dbias", a, {p.C});
  dweight.optional = dbias.optional = !p.batch_statistics;
  return {in("dy", t, {p.rows, p.C}),
          in("x", t, {p.rows, p.C}),
          optional(in("y", t, {p.rows, p.C})),
          in("mean", a, {p.C}),
          in("variance", a, {p.C}),
          optional(in("weight", t, {p.C})),
          dweight,
          dbias,
          out("dx", t, {p.rows, p.C}),
          optional(out("dresidual", t, {p.rows, p.C}))};
}

Preference BatchNormStatistics::prefer(const BatchNormShape&, const Request&) { return {"split_rows", "plain"}; }
Preference BatchNormForward::prefer(const BatchNormShape&, const Request&) { return {"vectorized", "plain"}; }
Preference BatchNormBackwardSums::prefer(const BatchNormShape&, const Request&) { return {"split_rows", "plain"}; }
Preference BatchNormBackward::prefer(const BatchNormShape&, const Request&) { return {"vectorized", "plain"}; }

}  // namespace pycnn
