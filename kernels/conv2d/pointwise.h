// What the pointwise versions have in common: which convolutions are a matrix product as their arrays lie.
#pragma once
#include "conv2d.h"

namespace pycnn {

inline const char* pointwise_only(const ConvShape& sh) {
  if (sh.R != 1 || sh.S != 1) return "its filters are 1x1";
  if (sh.stride_h != 1 || sh.stride_w != 1) return "its stride is 1";
  if (sh.P != sh.H || sh.Q != sh.W || sh.pad_h || sh.pad_w) return "it pads nothing";
  return sh.groups == 1 ? nullptr : "it has no groups";
}

}  // namespace pycnn
