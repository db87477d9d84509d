// Pooling: what the passes require of their arrays, and which version is the default.
#include "pool2d.h"

namespace pycnn {

static void require(const char* op, bool holds, const std::string& what) {
  if (!holds) throw ShapeError(std::string(op) + ": " + what);
}

static void check_axis(const char* op, const char* axis, int64_t in, int64_t taps, int64_t out, int64_t stride, int64_t pad,
                       int64_t dilation) {
  const std::string of = std::string(" along ") + axis;
  require(op, in > 0, "the input is empty" + of);
  require(op, taps > 0, "the kernel must have at least one tap" + of + ", got " + std::to_string(taps));
  require(op, stride > 0, "stride should not be zero or negative" + of + ", got " + std::to_string(stride));
  require(op, dilation > 0, "dilation should be greater than zero" + of + ", got " + std::to_string(dilation));
  require(op, pad >= 0, "pad must be non-negative" + of + ", got " + std::to_string(pad));
  require(op, taps < INT32_MAX / dilation, "a window of more than 2^31 - 1 positions is not supported");
  const int64_t reach = (taps - 1) * dilation + 1;  // effective kernel size
  require(op, pad <= reach / 2,
          "pad should be at most half of the effective kernel size" + of + ": pad " + std::to_string(pad) +
              ", effective kernel size " + std::to_string(reach));
  require(op, out > 0 && out < INT32_MAX / stride && in + 2 * pad + reach < INT32_MAX,
          "a size" + of + " of " + std::to_string(in) + " in, " + std::to_string(out) + " out is not supported");
  require(op, (out - 1) * stride < in + pad, "the last window" + of + " must start inside the input or its left padding");
}

static void check_pool(const char* op, const PoolShape& sh) {
  require(op, sh.N >= 0 && sh.C > 0, "the input must have channels");
  check_axis(op, "height", sh.H, sh.R, sh.P, sh.stride_h, sh.pad_h, sh.dilation_h);
  check_axis(op, "width", sh.W, sh.S, sh.Q, sh.stride_w, sh.pad_w, sh.dilation_w);
}

static void check_max(const char* op, const PoolShape& sh) {
  check_pool(op, sh);
  if (sh.R * sh.S > 256)
    throw NotSupported(std::string(op) + ": a window of " + std::to_string(sh.R) + " x " + std::to_string(sh.S) +
                       " exceeds 256 positions, which is what an 8-bit argmax can name");
}

static void check_avg(const char* op, const AvgPoolShape& sh) {
  check_pool(op, sh);
  require(op, sh.dilation_h == 1 && sh.dilation_w == 1, "average pooling has no dilation");
}

void MaxPool2dForward::check(const PoolShape& sh) {
  check_max(name, sh);
  require(name, !sh.accumulate, "a forward pass does not accumulate");
}
void MaxPool2dBackward::check(const PoolShape& sh) { check_max(name, sh); }
void MaxPool2dIndices::check(const PoolShape& sh) { check_max(name, sh); }
void AvgPool2dForward::check(const AvgPoolShape& sh) {
  check_avg(name, sh);
  require(name, !sh.accumulate, "a forward pass does not accumulate");
}
void AvgPool2dBackward::check(const AvgPoolShape& sh) { check_avg(name, sh); }

Signature MaxPool2dForward::signature(const PoolShape& sh, DType t) {
  return {pitched(in("x", t, {sh.N, sh.H, sh.W, sh.C})), pitched(out("y", t, {sh.N, sh.P, sh.Q, sh.C})),
          optional(out("argmax", DType::u8, {sh.N, sh.P, sh.Q, sh.C}))};
}
Signature MaxPool2dBackward::signature(const PoolShape& sh, DType t) {
  return {pitched(in("dy", t, {sh.N, sh.P, sh.Q, sh.C})), in("argmax", DType::u8, {sh.N, sh.P, sh.Q, sh.C}),
          pitched(out("dx", t, {sh.N, sh.H, sh.W, sh.C}))};
}
Signature MaxPool2dIndices::signature(const PoolShape& sh, DType) {
  return {in("argmax", DType::u8, {sh.N, sh.P, sh.Q, sh.C}), out("indices", DType::i64, {sh.N, sh.P, sh.Q, sh.C})};
}
Signature AvgPool2dForward::signature(const AvgPoolShape& sh, DType t) {
  return {pitched(in("x", t, {sh.N, sh.H, sh.W, sh.C})), pitched(out("y", t, {sh.N, sh.P, sh.Q, sh.C}))};
}
Signature AvgPool2dBackward::signature(const AvgPoolShape& sh, DType t) {
  return {pitched(in("dy", t, {sh.N, sh.P, sh.Q, sh.C})), pitched(out("dx", t, {sh.N, sh.H, sh.W, sh.C}))};
}

Preference MaxPool2dForward::prefer(const PoolShape&, const Request&) { return {"vectorized", "plain"}; }
Preference MaxPool2dBackward::prefer(const PoolShape&, const Request&) { return {"tiles", "vectorized", "plain"}; }
Preference MaxPool2dIndices::prefer(const PoolShape&, const Request&) { return {"plain"}; }
Preference AvgPool2dForward::prefer(const AvgPoolShape&, const Request&) { return {"vectorized", "plain"}; }
Preference AvgPool2dBackward::prefer(const AvgPoolShape&, const Request&) { return {"tiles", "vectorized", "plain"}; }

}  // namespace pycnn
