// Random ops: what they require of their arrays, and which version is the default.
#include "random.h"

#include "drop_path.h"

namespace pycnn {

void Dropout::check(const DropoutShape& sh) {
  if (sh.N < 0 || sh.C < 0 || sh.L < 0) throw ShapeError("dropout: negative sizes are not supported");
  if (!(sh.p >= 0 && sh.p <= 1))
    throw ShapeError("dropout: p must be a probability between 0 and 1, got " + std::to_string(sh.p));
  if (sh.N * sh.C * ((sh.L + 3) / 4) > int64_t(1) << 32) throw NotSupported("dropout: more than 2^34 elements are not supported");
  if (sh.op_index < 0 || sh.op_index >= int64_t(1) << 32) throw NotSupported("dropout: more than 2^32 random ops in a step");
}

Signature Dropout::signature(const DropoutShape& sh, DType t) {
  return {flat_in("x", t, sh.size()), in("state", DType::i64, {kStateSlots}), flat_out("y", t, sh.size()),
          optional(out("drawn", DType::i64, {kStateSlots}))};
}

Preference Dropout::prefer(const DropoutShape&, const Request&) { return {"four_words", "plain"}; }

void DropPath::check(const DropPathShape& sh) {
  if (sh.rows < 0 || sh.length < 0) throw ShapeError("drop_path: negative sizes are not supported");
  Dropout::check({1, 1, sh.rows, 0, sh.op_index, 0, sh.p});
}

Signature DropPath::signature(const DropPathShape& sh, DType t) {
  return {flat_in("x", t, sh.rows * sh.length), in("state", DType::i64, {kStateSlots}), flat_out("y", t, sh.rows * sh.length),
          optional(out("drawn", DType::i64, {kStateSlots}))};
}

}  // namespace pycnn
