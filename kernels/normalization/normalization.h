// Declarations of batch normalization (Ioffe and Szegedy 2015). Images are seen as rows x channels: rows = N*H*W.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

struct BatchNormShape {
  int64_t rows, C;
  int64_t relu;                             // 1: forward ends with max(., 0)
  int64_t batch_statistics;                 // 1: mean and variance are the batch's own, and pass a gradient on
  int64_t accumulate, accumulate_residual;  // backward: 1 adds to what is in dx, dresidual
  double eps;                               // added to the variance
  double momentum;                          // statistics: running = (1 - momentum) * running + momentum * batch
  static constexpr const char* names = "rows C relu batch_statistics accumulate accumulate_residual .eps .momentum";
};

template <class A>
__host__ __device__ __forceinline__ A inverse_deviation(A variance, double eps) {
  return A(1) / std::sqrt(variance + A(eps));
}

// Rows of an array: T* rows[row] is where the channels of a pixel start. A slice of channels has a pitch greater than C.
template <class T> struct Rows {
  T* data;
  int64_t pitch;
  explicit Rows(const Array& a) : data(a.as<T>()), pitch(a.pitch) {}
  __host__ __device__ __forceinline__ explicit operator bool() const { return data; }
  __host__ __device__ __forceinline__ T* operator[](int64_t row) const { return data + row * pitch; }
};

// The batch's mean is stored less the channel's first value, x[0], which is exact: however far a channel lies from zero,
// x - x[0] - mean keeps all its digits. Since x[0] is one of the values, (mean - x[0])^2 <= rows * variance.
template <class T>
__device__ __forceinline__ const T* origin_of(const Rows<const T>& x, const BatchNormShape& p) {
  return p.batch_statistics && p.rows ? x.data : nullptr;
}

// From x[0] (0 without batch statistics) and the mean less x[0]: the mean itself, and what rounding took from it. Their sum is
// exact (Knuth's two-sum), and x - mean - rest, unlike x - x[0] - mean, rounds no number much larger than itself.
template <class A>
__host__ __device__ __forceinline__ void split_mean(A& origin_then_mean, A& mean_then_rest) {
  const A mean = origin_then_mean + mean_then_rest, added = mean - origin_then_mean;
  mean_then_rest = (origin_then_mean - (mean - added)) + (mean_then_rest - added);
  origin_then_mean = mean;
}

// Before residual and ReLU. Backward repeats it where it needs to know what ReLU let through.
template <class A>
__host__ __device__ __forceinline__ A normalized(A x, A mean, A rest, A scale, A bias) {
  return (x - mean - rest) * scale + bias;
}

// mean (less x[0], see above) and biased variance of each channel; the running ones, if given, move towards the mean itself and
// the unbiased variance. Without rows: 0 and 1, and the running ones stay.
// x: rows,C, pitched  all others: C, stored in the accumulator type. Storage f32 f16 bf16 (f64 on the CPU), summed in fp32 (f64).
struct BatchNormStatistics {
  static constexpr const char* name = "batch_norm_statistics";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

// y = (x - mean) / sqrt(variance + eps) * weight + bias + residual, then ReLU if asked for.
// x, residual, y: rows,C, pitched  mean, variance: C in the accumulator type  weight, bias: C. weight, bias, residual may be
// missing. y may be residual, and x if the statistics are not the batch's.
struct BatchNormForward {
  static constexpr const char* name = "batch_norm_forward";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

// dbias = sum of g, dweight = sum of g * (x - mean) / sqrt(variance + eps) over the rows; g = dy, but with relu 0 where y is not
// positive. y is computed again from x where it is not given; it has to be if there was a residual.
// dy, x, y: rows,C, pitched  weight, bias: C  all others: C in the accumulator type.
struct BatchNormBackwardSums {
  static constexpr const char* name = "batch_norm_backward_sums";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

// dx = weight / sqrt(variance + eps) * (g - (dbias + xhat * dweight) / rows), without the sums if the statistics are fixed;
// dresidual = g, see above.  dy, x, y, dx, dresidual: rows,C, pitched  weight, bias: C  mean, variance, dweight, dbias: C in the
// accumulator type.
struct BatchNormBackward {
  static constexpr const char* name = "batch_norm_backward";
  using Problem = BatchNormShape;
  static Signature signature(const BatchNormShape& p, DType t);
  static void check(const BatchNormShape& p);
  static Preference prefer(const BatchNormShape& p, const Request& request);
};

struct FoldShape {
  int64_t K, inner;  // filters, and numbers in each
  double eps;        // added to the variance
  static constexpr const char* names = "K inner .eps";
};

// Filters and a bias with which a convolution computes what it and the batch norm after it would: see batch_norm_fold_1_plain.cuh.
// filters, folded: K,inner  mean, variance: K in the accumulator type  all others: K. filters_bias, weight, bias may be missing.
struct BatchNormFold {
  static constexpr const char* name = "batch_norm_fold";
  using Problem = FoldShape;
  static Signature signature(const FoldShape& p, DType t);
  static void check(const FoldShape& p);
  static Preference prefer(const FoldShape& p, const Request& request);
};

}  // namespace pycnn
