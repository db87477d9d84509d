// Convolution: what the three passes require of their arrays, and which version is the default.
#include <algorithm>

#include "conv2d.h"

namespace pycnn {

static void check_conv(const char* op, const ConvShape& sh) {
  auto require = [&](bool holds, const std::string& what) {
    if (!holds) throw ShapeError(std::string(op) + ": " + what);
  };
  require(sh.stride_h > 0 && sh.stride_w > 0, "non-positive stride is not supported");
  require(sh.pad_h >= 0 && sh.pad_w >= 0, "negative padding is not supported");
  require(sh.dilation_h > 0 && sh.dilation_w > 0, "dilation should be greater than zero");
  require(sh.groups > 0, "non-positive groups is not supported");
  require(sh.C % sh.groups == 0 && sh.K % sh.groups == 0, "C = " + std::to_string(sh.C) + " and K = " + std::to_string(sh.K) +
                                                              " must be multiples of groups = " + std::to_string(sh.groups));
  require(sh.R > 0 && sh.S > 0, "the kernel must have at least one tap");
  require(sh.P >= 0 && sh.Q >= 0, "the output would have a negative size");
  // Positions within one padded image and one filter are 32-bit in the kernels, with room for a tile past the end.
  const int64_t most = 1 << 30;
  const int64_t reach_h = sh.P * sh.stride_h + sh.R * sh.dilation_h + sh.pad_h;
  const int64_t reach_w = sh.Q * sh.stride_w + sh.S * sh.dilation_w + sh.pad_w;
  require(sh.H + sh.pad_h < most && sh.W + sh.pad_w < most && reach_h < most && reach_w < most,
          "an axis of more than 2^30 positions, padding included, is not supported");
  require(sh.R * sh.S * sh.group_C() < most && sh.R * sh.S * sh.group_K() < most,
          "a filter of more than 2^30 weights is not supported");
}

Signature Conv2dForward::signature(const ConvShape& sh, DType t) {
  return {pitched(in("x", t, {sh.N, sh.H, sh.W, sh.C})), in("weight", t, {sh.K, sh.R, sh.S, sh.C / sh.groups}),
          optional(in("bias", t, {sh.K})), pitched(out("y", t, {sh.N, sh.P, sh.Q, sh.K}))};
}
Signature Conv2dBackwardData::signature(const ConvShape& sh, DType t) {
  return {pitched(in("dy", t, {sh.N, sh.P, sh.Q, sh.K})), in("weight", t, {sh.K, sh.R, sh.S, sh.C / sh.groups}),
          optional(in("bias", t, {sh.C})), pitched(out("dx", t, {sh.N, sh.H, sh.W, sh.C}))};
}
Signature Conv2dBackwardWeight::signature(const ConvShape& sh, DType t) {
  return {pitched(in("dy", t, {sh.N, sh.P, sh.Q, sh.K})), pitched(in("x", t, {sh.N, sh.H, sh.W, sh.C})),
          out("dweight", accumulator_of(t), {sh.K, sh.R, sh.S, sh.C / sh.groups})};
}

void Conv2dForward::check(const ConvShape& sh) { check_conv(name, sh); }
void Conv2dBackwardData::check(const ConvShape& sh) { check_conv(name, sh); }
void Conv2dBackwardWeight::check(const ConvShape& sh) { check_conv(name, sh); }

// Depthwise layers and narrow groups have versions of their own. Else the host micro-kernels on a CPU, and the version that never
// writes a column matrix, nor multiplies with zeros between the pixels of a stride; 1x1 filters need no gathering. naive also
// stores float64.
static Preference prefer_conv(const ConvShape& sh, Preference versions) {
  if (sh.groups > 1 && sh.groups == sh.C) versions.insert(versions.begin(), {"depthwise_strips", "depthwise"});
  else if (sh.groups > 1 && std::max(sh.group_C(), sh.group_K()) <= 16) versions.insert(versions.begin() + 1, "grouped");
  return versions;
}
static const Preference dense{"host", "pointwise", "implicit_gemm", "im2col", "naive"};

Preference Conv2dForward::prefer(const ConvShape& sh, const Request&) { return prefer_conv(sh, dense); }
Preference Conv2dBackwardData::prefer(const ConvShape& sh, const Request&) {
  const bool strided = sh.stride_h > 1 || sh.stride_w > 1;
  return prefer_conv(sh, strided ? Preference{"host", "parity", "im2col", "naive"} : dense);
}
Preference Conv2dBackwardWeight::prefer(const ConvShape& sh, const Request&) { return prefer_conv(sh, dense); }

}  // namespace pycnn
