// Adaptive pooling and max_unpool2d: what the passes require of their arrays, and which version is the default.
#include "adaptive.h"

namespace pycnn {

static void require(const char* op, bool holds, const char* what) {
  if (!holds) throw ShapeError(std::string(op) + ": " + what);
}

static void check_sizes(const char* op, int64_t N, int64_t H, int64_t W, int64_t C, int64_t P, int64_t Q) {
  require(op, N >= 0 && C > 0, "the images must have channels");
  require(op, H > 0 && W > 0 && P > 0 && Q > 0, "the images must not be empty");
  require(op, H < INT32_MAX && W < INT32_MAX && P < INT32_MAX && Q < INT32_MAX && C < INT32_MAX, "sizes must be below 2^31");
}

static void check_adaptive(const char* op, const AdaptivePoolShape& sh) { check_sizes(op, sh.N, sh.H, sh.W, sh.C, sh.P, sh.Q); }
static void check_forward(const char* op, const AdaptivePoolShape& sh) {
  check_adaptive(op, sh);
  require(op, !sh.accumulate, "a forward pass does not accumulate");
}
static void check_indices(const char* op, const AdaptivePoolShape& sh) {
  if (sh.H * sh.W > INT32_MAX) throw NotSupported(std::string(op) + ": an image of 2^31 positions or more is not supported");
}

void AdaptiveAvgPool2dForward::check(const AdaptivePoolShape& sh) { check_forward(name, sh); }
void AdaptiveAvgPool2dBackward::check(const AdaptivePoolShape& sh) { check_adaptive(name, sh); }
void AdaptiveMaxPool2dForward::check(const AdaptivePoolShape& sh) {
  check_forward(name, sh);
  check_indices(name, sh);
}
void AdaptiveMaxPool2dBackward::check(const AdaptivePoolShape& sh) {
  check_adaptive(name, sh);
  check_indices(name, sh);
}
void MaxUnpool2dForward::check(const UnpoolShape& sh) {
  check_sizes(name, sh.N, sh.H, sh.W, sh.C, sh.P, sh.Q);
  require(name, !sh.accumulate, "a forward pass does not accumulate");
}
void MaxUnpool2dBackward::check(const UnpoolShape& sh) { check_sizes(name, sh.N, sh.H, sh.W, sh.C, sh.P, sh.Q); }

template <class Shape>
static Extents large(const Shape& sh) {
  return {sh.N, sh.H, sh.W, sh.C};
}
template <class Shape>
static Extents small(const Shape& sh) {
  return {sh.N, sh.P, sh.Q, sh.C};
}

Signature AdaptiveAvgPool2dForward::signature(const AdaptivePoolShape& sh, DType t) {
  return {pitched(in("x", t, large(sh))), pitched(out("y", t, small(sh)))};
}
Signature AdaptiveAvgPool2dBackward::signature(const AdaptivePoolShape& sh, DType t) {
  return {pitched(in("dy", t, small(sh))), pitched(out("dx", t, large(sh)))};
}
Signature AdaptiveMaxPool2dForward::signature(const AdaptivePoolShape& sh, DType t) {
  return {pitched(in("x", t, large(sh))), pitched(out("y", t, small(sh))), optional(out("indices", DType::i64, small(sh)))};
}
Signature AdaptiveMaxPool2dBackward::signature(const AdaptivePoolShape& sh, DType t) {
  return {pitched(in("dy", t, small(sh))), in("indices", DType::i64, small(sh)), pitched(out("dx", t, large(sh)))};
}
Signature MaxUnpool2dForward::signature(const UnpoolShape& sh, DType t) {
  return {pitched(in("x", t, small(sh))), in("indices", DType::i64, small(sh)), pitched(out("y", t, large(sh)))};
}
Signature MaxUnpool2dBackward::signature(const UnpoolShape& sh, DType t) {
  return {pitched(in("dy", t, large(sh))), in("indices", DType::i64, small(sh)), pitched(out("dx", t, small(sh)))};
}

Preference AdaptiveAvgPool2dForward::prefer(const AdaptivePoolShape&, const Request&) { return {"vectorized", "plain"}; }
Preference AdaptiveAvgPool2dBackward::prefer(const AdaptivePoolShape&, const Request&) { return {"vectorized", "plain"}; }
Preference AdaptiveMaxPool2dForward::prefer(const AdaptivePoolShape&, const Request&) { return {"vectorized", "plain"}; }
Preference AdaptiveMaxPool2dBackward::prefer(const AdaptivePoolShape&, const Request& request) {
  if (request.cuda) return {"vectorized", "plain"};
  return {"scatter", "vectorized", "plain"};
}
Preference MaxUnpool2dForward::prefer(const UnpoolShape&, const Request& request) {
  if (request.cuda) return {"winners", "strips", "plain"};
  return {"strips", "plain"};
}
Preference MaxUnpool2dBackward::prefer(const UnpoolShape&, const Request&) { return {"vectorized", "plain"}; }

}  // namespace pycnn
