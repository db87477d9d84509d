// Broadcasting: the strides of the three arrays, checked against their sizes.
#include "elementwise.h"

namespace pycnn {

Strided<3> BroadcastShape::strided() const {
  Strided<3> s;
  int64_t dense = 1, last_a = 0, last_b = 0;
  for (int d = kMaxRank - 1; d >= 0; d--) {
    if (E[d] < 0 || A[d] < 0 || B[d] < 0) throw ShapeError("broadcast: extents and strides must not be negative");
    s.extent[d] = E[d];
    s.stride[0][d] = dense;
    s.stride[1][d] = A[d];
    s.stride[2][d] = B[d];
    dense *= E[d];
    last_a += (E[d] - 1) * A[d];
    last_b += (E[d] - 1) * B[d];
  }
  if (dense && (last_a >= a_size || last_b >= b_size)) throw ShapeError("broadcast: the strides lead beyond the end of an input");
  return s;
}

}  // namespace pycnn
