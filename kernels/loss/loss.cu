// Losses: what they require of their arrays, and which version is the default.
#include "loss.h"

#include "soft_cross_entropy.h"

namespace pycnn {

static void check_loss(int64_t rows, int64_t classes, double label_smoothing) {
  if (rows < 0 || classes < 1) throw ShapeError("cross_entropy: rows must not be negative and classes at least 1");
  if (!(label_smoothing >= 0 && label_smoothing <= 1)) throw ShapeError("cross_entropy: label_smoothing must be between 0 and 1");
}

static Preference prefer_loss(const Request& request) {
  if (request.cuda) return {"warp", "lanes", "plain"};
  return {"lanes", "plain"};
}

Signature CrossEntropyForward::signature(const CrossEntropyShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {flat_in("logits", t, p.rows * p.classes), flat_in("target", DType::i64, p.rows),
          optional(flat_in("weight", a, p.classes)), flat_out("terms", a, 2 * p.rows), flat_out("log_sum", a, 2 * p.rows)};
}
void CrossEntropyForward::check(const CrossEntropyShape& p) { check_loss(p.rows, p.classes, p.label_smoothing); }
Preference CrossEntropyForward::prefer(const CrossEntropyShape&, const Request& request) { return prefer_loss(request); }

Signature CrossEntropyBackward::signature(const CrossEntropyBackwardShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {flat_in("dloss", a, p.rowwise ? p.rows : 1), flat_in("logits", t, p.rows * p.classes),
          flat_in("target", DType::i64, p.rows),       optional(flat_in("weight", a, p.classes)),
          flat_in("log_sum", a, 2 * p.rows),           optional(flat_in("totals", a, 2)),
          flat_out("dlogits", t, p.rows * p.classes)};
}
void CrossEntropyBackward::check(const CrossEntropyBackwardShape& p) { check_loss(p.rows, p.classes, p.label_smoothing); }
Preference CrossEntropyBackward::prefer(const CrossEntropyBackwardShape&, const Request& request) { return prefer_loss(request); }

Signature SoftCrossEntropyForward::signature(const SoftCrossEntropyShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {flat_in("logits", t, p.rows * p.classes),  flat_in("target", t, p.rows * p.classes),
          optional(flat_in("weight", a, p.classes)), flat_out("loss", a, p.rows),
          flat_out("log_sum", a, 2 * p.rows),        flat_out("mass", a, p.rows)};
}
void SoftCrossEntropyForward::check(const SoftCrossEntropyShape& p) { check_loss(p.rows, p.classes, p.label_smoothing); }
Preference SoftCrossEntropyForward::prefer(const SoftCrossEntropyShape&, const Request& request) { return prefer_loss(request); }

Signature SoftCrossEntropyBackward::signature(const SoftCrossEntropyBackwardShape& p, DType t) {
  const DType a = accumulator_of(t);
  return {flat_in("dloss", a, p.rowwise ? p.rows : 1),
          flat_in("logits", t, p.rows * p.classes),
          flat_in("target", t, p.rows * p.classes),
          optional(flat_in("weight", a, p.classes)),
          flat_in("log_sum", a, 2 * p.rows),
          flat_in("mass", a, p.rows),
          optional(flat_out("dlogits", t, p.rows * p.classes)),
          optional(flat_out("dtarget", t, p.rows * p.classes))};
}
void SoftCrossEntropyBackward::check(const SoftCrossEntropyBackwardShape& p) { check_loss(p.rows, p.classes, p.label_smoothing); }
Preference SoftCrossEntropyBackward::prefer(const SoftCrossEntropyBackwardShape&, const Request& request) {
  return prefer_loss(request);
}

Signature CheckLabels::signature(const LabelShape& p, DType) {
  return {flat_in("target", DType::i64, p.n), flat_out("bad", DType::i64, 1)};
}
void CheckLabels::check(const LabelShape& p) {
  if (p.n < 0) throw ShapeError("check_labels: n must not be negative");
}
Preference CheckLabels::prefer(const LabelShape&, const Request&) { return {"strips", "plain"}; }

}  // namespace pycnn
