// Declarations of the reductions. An array is seen as (outer, reduced, inner): neighbouring axes are one axis in memory.
#pragma once
#include "../common/plan.h"

namespace pycnn {

struct SumShape {
  int64_t outer, reduced, inner;
  int64_t accumulate;  // 1: y += ..., 0: y = ...
  int64_t wide;        // 1: y is stored in the accumulator type
  double divisor;      // 1 for a sum, the number of elements for a mean
  static constexpr const char* names = "outer reduced inner accumulate wide .divisor";
};

// y[o,i] = (sum over r of x[o,r,i]) / divisor. Storage f32 f16 bf16 (f64 on the CPU), summed in fp32 (f64), in an order
// that depends on the shape alone; 64-bit indices.
struct Sum {
  static constexpr const char* name = "sum";
  using Problem = SumShape;
  static Signature signature(const SumShape& p, DType t);
  static void check(const SumShape& p);
  static Preference prefer(const SumShape& p, const Request& request);
};

// The gradient of a sum: dx[o,r,i] = dy[o,i] / divisor. `wide` is ignored: dy and dx have the storage type.
struct SumBackward {
  static constexpr const char* name = "sum_backward";
  using Problem = SumShape;
  static Signature signature(const SumShape& p, DType t);
  static void check(const SumShape& p);
  static Preference prefer(const SumShape& p, const Request& request);
};

struct BiasShape {
  int64_t rows, channels, accumulate;
  static constexpr const char* names = "rows channels accumulate";
  SumShape sum() const { return {1, rows, channels, accumulate, 1, 1.0}; }
};

// dbias[c] = sum over rows of dy[row,c]; dbias is stored in the accumulator type. A sum over all but the last axis.
struct BiasBackward {
  static constexpr const char* name = "bias_backward";
  using Problem = BiasShape;
  static Signature signature(const BiasShape& p, DType t);
  static void check(const BiasShape& p);
  static Preference prefer(const BiasShape& p, const Request& request);
};

struct MaxShape {
  int64_t outer, reduced, inner;
  static constexpr const char* names = "outer reduced inner";
};

// y[o,i] = max over r of x[o,r,i], index[o,i] = the first r that has it. A NaN is larger than any number, as in PyTorch.
struct Max {
  static constexpr const char* name = "max";
  using Problem = MaxShape;
  static Signature signature(const MaxShape& p, DType t);
  static void check(const MaxShape& p);
  static Preference prefer(const MaxShape& p, const Request& request);
};

struct MaxBackwardShape {
  int64_t outer, reduced, inner, accumulate;
  static constexpr const char* names = "outer reduced inner accumulate";
};

// dx[o,r,i] = dy[o,i] where r = index[o,i], 0 elsewhere.
struct MaxBackward {
  static constexpr const char* name = "max_backward";
  using Problem = MaxBackwardShape;
  static Signature signature(const MaxBackwardShape& p, DType t);
  static void check(const MaxBackwardShape& p);
  static Preference prefer(const MaxBackwardShape& p, const Request& request);
};

}  // namespace pycnn
