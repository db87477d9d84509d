// Declarations of batch normalization (Ioffe and Szegedy 2015). Images are seen as rows x channels: rows = N*H*W.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

struct BatchNormShape {
  int64_t rows, C;
  int64_t relu;                             // forward: 1 ends with max(., 0)
  int64_t batch_statistics;                 // backward: 1 if mean and variance are the batch's own and pass a gradient on
  int64_t accumulate, accumulate_residual;  // backward: 1 adds to what is in dx, dresidual
  double eps;                               // added to the variance
  double momentum;                          // statistics: running = (1 - momentum) * running + momentum * batch
  static constexpr const char* names = "rows C relu batch_statistics accumulate accumulate_residual .eps .momentum";
};

template <class A>
__host__ __device__ __forceinline__ A inverse_deviation(A variance, double eps) {
  return A(1) / std::sqrt(variance + A(eps));
}

// mean and biased variance of each channel; the running ones, if given, move towards mean and the unbiased variance.
// x: rows,C  all others: C, stored in the accumulator type. Storage f32 f16 bf16 (f64 on the CPU), summed in fp32 (f64).
struct BatchNormStatistics {
  static constexpr const char* name = "batch_norm_statistics";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

// y = (x - mean) / sqrt(variance + eps) * weight + bias + residual, then ReLU if asked for.
// x, residual, y: rows,C  mean, variance: C in the accumulator type  weight, bias: C. weight, bias, residual may be missing.
struct BatchNormForward {
  static constexpr const char* name = "batch_norm_forward";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

// dbias = sum of g, dweight = sum of g * (x - mean) / sqrt(variance + eps) over the rows; g = dy, but 0 where y, if given, is
// not positive (ReLU).  dy, x, y: rows,C  all others: C in the accumulator type.
struct BatchNormBackwardSums {
  static constexpr const char* name = "batch_norm_backward_sums";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

// dx = weight / sqrt(variance + eps) * (g - (dbias + xhat * dweight) / rows), without the sums if the statistics are fixed;
// dresidual = g.  dy, x, y, dx, dresidual: rows,C  weight: C  mean, variance, dweight, dbias: C in the accumulator type.
struct BatchNormBackward {
  static constexpr const char* name = "batch_norm_backward";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

}  // namespace pycnn
