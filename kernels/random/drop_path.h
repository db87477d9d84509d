// Declaration of stochastic depth.
#pragma once
#include "random.h"

namespace pycnn {

struct DropPathShape {
  int64_t rows, length;  // rows are dropped or kept whole; samples, or one row for the batch
  int64_t op_index, accumulate;
  double p;  // probability of dropping
  static constexpr const char* names = "rows length op_index accumulate .p";
};

// y[n,i] = x[n,i] / (1 - p) where row n is kept, 0 * x[n,i] elsewhere. Row n is kept where dropout keeps element n of a vector of
// `rows` elements. state, drawn: as in dropout. Storage f32 f16 bf16 (f64 on the CPU).
struct DropPath {
  static constexpr const char* name = "drop_path";
  using Problem = DropPathShape;
  static Signature signature(const DropPathShape& sh, DType t);
  static void check(const DropPathShape& sh);
  static Preference prefer(const DropPathShape&, const Request&) { return {"strips", "plain"}; }
};

// What row n is multiplied by.
template <class A>
__device__ __forceinline__ A path_factor(int64_t n, const DropPathShape& sh, const int64_t* state, uint64_t threshold, A scale) {
  return dropout_words(uint32_t(n / 4), uint32_t(sh.op_index), state)[int(n % 4)] >= threshold ? scale : A(0);
}

}  // namespace pycnn
