// Batch normalization: what the passes require of their arrays, and which version is the default.
#include "normalization.h"

namespace pycnn {

static void check_batch_norm(const char* op, const BatchNormShape& p) {
  if (p.rows < 0 || p.C < 0) throw ShapeError(std::string(op) + ": negative sizes are not supported");
  if (p.C > INT32_MAX) throw NotSupported(std::string(op) + ": more than 2^31 - 1 channels are not supported");
  if (!(p.eps >= 0)) throw ShapeError(std::string(op) + ": eps must not be negative, got " + std::to_string(p.eps));
}

void BatchNormStatistics::check(const BatchNormShape& p) { check_batch_norm(name, p); }
void BatchNormForward::check(const BatchNormShape& p) { check_batch_norm(name, p); }
void BatchNormBackwardSums::check(const BatchNormShape& p) { check_batch_norm(name, p); }
void BatchNormBackward::check(const BatchNormShape& p) { check_batch_norm(name, p); }

Signature BatchNormStatistics::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  const Extents pixels{p.rows, p.C}, channels{p.C};
  return {pitched(in("x", t, pixels)), out("mean", a, channels), out("variance", a, channels),
          optional(out("running_mean", a, channels)), optional(out("running_var", a, channels))};
}
Signature BatchNormForward::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  const Extents pixels{p.rows, p.C}, channels{p.C};
  return {pitched(in("x", t, pixels)),         in("mean", a, channels),           in("variance", a, channels),
          optional(in("weight", t, channels)), optional(in("bias", t, channels)), optional(pitched(in("residual", t, pixels))),
          pitched(out("y", t, pixels))};
}
Signature BatchNormBackwardSums::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  const Extents pixels{p.rows, p.C}, channels{p.C};
  return {pitched(in("dy", t, pixels)),      pitched(in("x", t, pixels)), optional(pitched(in("y", t, pixels))),
          in("mean", a, channels),           in("variance", a, channels), optional(in("weight", t, channels)),
          optional(in("bias", t, channels)), out("dweight", a, channels), out("dbias", a, channels)};
}
Signature BatchNormBackward::signature(const BatchNormShape& p, DType t) {
  const DType a = accumulator_of(t);
  const Extents pixels{p.rows, p.C}, channels{p.C};
  Argument dweight = in("dweight", a, channels), dbias = in("dbias", a, channels);
  dweight.optional = dbias.optional = !p.batch_statistics;
  return {pitched(in("dy", t, pixels)),
          pitched(in("x", t, pixels)),
          optional(pitched(in("y", t, pixels))),
          in("mean", a, channels),
          in("variance", a, channels),
          optional(in("weight", t, channels)),
          optional(in("bias", t, channels)),
          dweight,
          dbias,
          pitched(out("dx", t, pixels)),
          optional(pitched(out("dresidual", t, pixels)))};
}

void BatchNormFold::check(const FoldShape& p) {
  if (p.K < 0 || p.inner < 0) throw ShapeError(std::string(name) + ": negative sizes are not supported");
}
Signature BatchNormFold::signature(const FoldShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {in("filters", t, {p.K, p.inner}),
          optional(in("filters_bias", t, {p.K})),
          in("mean", a, {p.K}),
          in("variance", a, {p.K}),
          optional(in("weight", t, {p.K})),
          optional(in("bias", t, {p.K})),
          out("folded", t, {p.K, p.inner}),
          out("folded_bias", t, {p.K})};
}
Preference BatchNormFold::prefer(const FoldShape&, const Request&) { return {"plain"}; }

Preference BatchNormStatistics::prefer(const BatchNormShape&, const Request&) { return {"split_rows", "plain"}; }
Preference BatchNormForward::prefer(const BatchNormShape&, const Request&) { return {"vectorized", "plain"}; }
Preference BatchNormBackwardSums::prefer(const BatchNormShape&, const Request&) { return {"split_rows", "plain"}; }
Preference BatchNormBackward::prefer(const BatchNormShape&, const Request&) { return {"vectorized", "plain"}; }

}  // namespace pycnn
