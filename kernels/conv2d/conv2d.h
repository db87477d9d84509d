// Declarations of the three passes of a convolution (fprop, dgrad, wgrad).
#pragma once
#include "../common/conv_shape.h"
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

// y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride-pad+r*dilation, q*stride-pad+s*dilation, c] * weight[k,r,s,c].
// x: N,H,W,C  weight: K,R,S,C/groups  bias: K or none  y: N,P,Q,K.
struct Conv2dForward {
  static constexpr const char* name = "conv2d_forward";
  using Problem = ConvShape;
  static Signature signature(const ConvShape& sh, DType t);
  static void check(const ConvShape& sh);
  static Preference prefer(const ConvShape& sh, const Request& request);
};

// dx from dy and weight, plus bias[c] where one is given: a transposed convolution is this pass, and its bias.
// dy: N,P,Q,K  weight: K,R,S,C/groups  bias: C or none  dx: N,H,W,C.
struct Conv2dBackwardData {
  static constexpr const char* name = "conv2d_backward_data";
  using Problem = ConvShape;
  static Signature signature(const ConvShape& sh, DType t);
  static void check(const ConvShape& sh);
  static Preference prefer(const ConvShape& sh, const Request& request);
};

// dweight from dy and x.  dy: N,P,Q,K  x: N,H,W,C  dweight: K,R,S,C/groups, stored in the accumulator type.
struct Conv2dBackwardWeight {
  static constexpr const char* name = "conv2d_backward_weight";
  using Problem = ConvShape;
  static Signature signature(const ConvShape& sh, DType t);
  static void check(const ConvShape& sh);
  static Preference prefer(const ConvShape& sh, const Request& request);
};

}  // namespace pycnn
