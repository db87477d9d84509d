// Declarations of the ops that move elements: strided copies, casts, fills.
#pragma once
#include "../common/plan.h"
#include "../common/strided.h"

namespace pycnn {

struct StridedCopyShape {
  int64_t E[kMaxRank];               // extents of what is copied, padded in front with 1
  int64_t X[kMaxRank], Y[kMaxRank];  // strides in x and y, in elements
  int64_t x_offset, y_offset;        // of the first element
  int64_t x_size, y_size;            // elements of the whole arrays
  int64_t accumulate;                // 1: y += x, 0: y = x
  static constexpr const char* names =
      "E0 E1 E2 E3 E4 E5 X0 X1 X2 X3 X4 X5 Y0 Y1 Y2 Y3 Y4 Y5 x_offset y_offset x_size y_size accumulate";

  // Walks y and x together; checks that both stay inside their arrays.
  Strided<2> strided() const;
};

// y[y_offset + sum of i[d] Y[d]] = x[x_offset + sum of i[d] X[d]] for all i below E: transposes, layout changes, slices and
// their gradients. No two i may lead to one element of y. Any storage type; 64-bit indices.
struct StridedCopy {
  static constexpr const char* name = "strided_copy";
  using Problem = StridedCopyShape;
  static Signature signature(const StridedCopyShape& p, DType t) {
    return {flat_in("x", t, p.x_size), flat_out("y", t, p.y_size)};
  }
  static void check(const StridedCopyShape& p) { p.strided(); }
  static Preference prefer(const StridedCopyShape& p, const Request& request);
};

struct CopyRowsShape {
  int64_t rows, C;
  int64_t accumulate;  // 1: y += x, 0: y = x
  static constexpr const char* names = "rows C accumulate";
};

// y[r,c] = x[r,c], each with its own pitch from row to row: slices of channels in and out of dense arrays, concat, split. Any
// storage type of 1, 2, 4 or 8 bytes (integers travel as what has their size); 64-bit indices.
struct CopyRows {
  static constexpr const char* name = "copy_rows";
  using Problem = CopyRowsShape;
  static Signature signature(const CopyRowsShape& p, DType t) {
    return {pitched(in("x", t, {p.rows, p.C})), pitched(out("y", t, {p.rows, p.C}))};
  }
  static void check(const CopyRowsShape& p);
  static Preference prefer(const CopyRowsShape&, const Request&) { return {"vectorized", "plain"}; }
};

struct CastShape {
  int64_t n;
  int64_t from;  // place of x's type in DType
  static constexpr const char* names = "n from";
};

// y[i] = x[i] in the storage type, rounded to nearest even. x: any type.
struct Cast {
  static constexpr const char* name = "cast";
  using Problem = CastShape;
  static Signature signature(const CastShape& p, DType t) { return {flat_in("x", DType(p.from), p.n), flat_out("y", t, p.n)}; }
  static void check(const CastShape& p);
  static Preference prefer(const CastShape&, const Request&) { return {"vectorized", "plain"}; }
};

struct FillShape {
  int64_t n;
  double value;
  static constexpr const char* names = "n .value";
};

// y[i] = value.
struct Fill {
  static constexpr const char* name = "fill";
  using Problem = FillShape;
  static Signature signature(const FillShape& p, DType t) { return {flat_out("y", t, p.n)}; }
  static void check(const FillShape&) {}
  static Preference prefer(const FillShape&, const Request&) { return {"vectorized", "plain"}; }
};

}  // namespace pycnn
