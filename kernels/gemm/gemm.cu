// Matrix product: what it requires of its arrays, and which version is the default.
#include "gemm.h"

namespace pycnn {

Signature Gemm::signature(const GemmShape& p, DType t) {
  const Extents a = p.trans_a ? Extents{p.K, p.M} : Extents{p.M, p.K};
  const Extents b = p.trans_b ? Extents{p.N, p.K} : Extents{p.K, p.N};
  return {pitched(in("a", t, a)), pitched(in("b", t, b)), optional(in("bias", t, {p.N})),
          pitched(out("c", p.wide_c ? accumulator_of(t) : t, {p.M, p.N}))};
}

void Gemm::check(const GemmShape& p) {
  if (p.M < 0 || p.N < 0 || p.K < 0) throw ShapeError("gemm: M, N and K must not be negative");
}

// Few tiles of c and a long k would leave a GPU idle: there k is cut. A CPU has blocks enough.
Preference Gemm::prefer(const GemmShape& p, const Request& request) {
  const bool few_tiles = p.M * p.N <= 64 * 64 * 64 && p.K >= 1024;
  if (request.cuda && few_tiles) return {"split_k", "double_buffered", "naive"};
  return {"host", "double_buffered", "naive"};
}

}  // namespace pycnn
