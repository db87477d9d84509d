// Strided copies, copies of rows, casts and fills: what they require, and which version is the default.
#include "shape.h"

namespace pycnn {

Strided<2> StridedCopyShape::strided() const {
  Strided<2> s;
  int64_t last_x = x_offset, last_y = y_offset;
  for (int d = 0; d < kMaxRank; d++) {
    if (E[d] < 0 || X[d] < 0 || Y[d] < 0) throw ShapeError("strided_copy: extents and strides must not be negative");
    s.extent[d] = E[d];
    s.stride[0][d] = Y[d];
    s.stride[1][d] = X[d];
    last_x += (E[d] - 1) * X[d];
    last_y += (E[d] - 1) * Y[d];
  }
  if (x_offset < 0 || y_offset < 0 || (s.size() && (last_x >= x_size || last_y >= y_size)))
    throw ShapeError("strided_copy: the strides lead outside an array");
  return s;
}

Preference StridedCopy::prefer(const StridedCopyShape&, const Request& request) {
  if (request.cuda) return {"tiled", "blocks", "plain"};
  return {"blocks", "plain"};
}

void CopyRows::check(const CopyRowsShape& p) {
  if (p.rows < 0 || p.C < 0) throw ShapeError("copy_rows: negative sizes are not supported");
}

void Cast::check(const CastShape& p) {
  if (p.n < 0 || p.from < 0 || p.from > int64_t(DType::u8)) throw ShapeError("cast: n is negative or there is no such type");
}

}  // namespace pycnn
