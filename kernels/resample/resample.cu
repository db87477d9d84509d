// Resampling: what the passes require of their arrays.
#include "resample.h"

namespace pycnn {

static void check_resample(const char* op, const ResampleShape& sh) {
  auto require = [&](bool holds, const std::string& what) {
    if (!holds) throw ShapeError(std::string(op) + ": " + what);
  };
  require(sh.N >= 0 && sh.C >= 0, "negative sizes are not supported");
  require(sh.H > 0 && sh.W > 0 && sh.P > 0 && sh.Q > 0, "input and output must not be empty, got " + std::to_string(sh.H) +
                                                            " x " + std::to_string(sh.W) + " and " + std::to_string(sh.P) +
                                                            " x " + std::to_string(sh.Q));
  const int64_t most = 1 << 30;
  require(sh.H < most && sh.W < most && sh.P < most && sh.Q < most && sh.C < most,
          "an axis of more than 2^30 positions is not supported");
  require(sh.scale_h >= 0 && sh.scale_w >= 0 && sh.scale_h * double(sh.P) < most && sh.scale_w * double(sh.Q) < most,
          "the scales must be positive, and lead to positions below 2^30");
}

void ResampleForward::check(const ResampleShape& sh) {
  check_resample(name, sh);
  if (sh.accumulate) throw ShapeError("resample_forward: a forward pass does not accumulate");
}
void ResampleBackward::check(const ResampleShape& sh) { check_resample(name, sh); }

Signature ResampleForward::signature(const ResampleShape& sh, DType t) {
  return {pitched(in("x", t, {sh.N, sh.H, sh.W, sh.C})), pitched(out("y", t, {sh.N, sh.P, sh.Q, sh.C}))};
}
Signature ResampleBackward::signature(const ResampleShape& sh, DType t) {
  return {pitched(in("dy", t, {sh.N, sh.P, sh.Q, sh.C})), pitched(out("dx", t, {sh.N, sh.H, sh.W, sh.C}))};
}

}  // namespace pycnn
