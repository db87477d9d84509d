// Declarations of the resampling of images: nearest and bilinear, up and down.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

// Which positions of an input axis an output position is made of: `first` and its neighbor after it (itself at the edge), with
// `weight` for the neighbor and 1 - weight for first.
template <class A> struct Taps {
  int first, second;
  A weight;
};

// One axis: `in` positions become `out`. The arithmetic is PyTorch's (UpSample.h), in A; `nearest` always counts in float.
template <class A> struct ResampleAxis {
  int in, out;
  A scale;  // input positions per output position
  bool nearest, align_corners;

  __host__ __device__ __forceinline__ Taps<A> operator[](int i) const {
    if (in == out) return {i, i, A(0)};
    if (nearest && out == 2 * in) return {i / 2, i / 2, A(0)};  // whatever the scale
    if (nearest) {
      const int first = int(floorf(float(i) * float(scale)));
      return {first < in ? first : in - 1, first < in ? first : in - 1, A(0)};
    }
    A position = align_corners ? scale * A(i) : scale * (A(i) + A(0.5)) - A(0.5);
    position = position > A(0) ? position : A(0);
    const int first = int(position) < in ? int(position) : in - 1;
    const A weight = position - A(first) < A(1) ? position - A(first) : A(1);
    return {first, first < in - 1 ? first + 1 : first, weight};
  }

  // The part of input position j in output position i: what the gradient of i is multiplied with on its way to j.
  __host__ __device__ __forceinline__ A weight(int i, int j) const {
    const Taps<A> taps = (*this)[i];
    return (taps.first == j ? A(1) - taps.weight : A(0)) + (taps.second == j ? taps.weight : A(0));
  }

  // The first output position whose taps begin at j or later. Taps never move back, so it is found by halving.
  __host__ __device__ __forceinline__ int from(int j) const {
    int low = 0, high = out;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if ((*this)[middle].first < j) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Output positions begin <= i < end may have a part of j.
  __host__ __device__ __forceinline__ int begin(int j) const { return from(nearest || in == out ? j : j - 1); }
  __host__ __device__ __forceinline__ int end(int j) const { return from(j + 1); }
};

struct ResampleShape {
  int64_t N, H, W, C, P, Q;  // x is N,H,W,C, y is N,P,Q,C
  int64_t nearest;           // 1: nearest, 0: bilinear
  int64_t align_corners;     // bilinear: 1: corners lie on corners, 0: edges on edges
  int64_t accumulate;        // 1: a backward pass adds to what is there
  double scale_h, scale_w;   // input positions per output position
  static constexpr const char* names = "N H W C P Q nearest align_corners accumulate .scale_h .scale_w";

  template <class A> ResampleAxis<A> rows() const { return {int(H), int(P), A(scale_h), nearest != 0, align_corners != 0}; }
  template <class A> ResampleAxis<A> columns() const { return {int(W), int(Q), A(scale_w), nearest != 0, align_corners != 0}; }
};

// y = x seen at another size.  x: N,H,W,C  y: N,P,Q,C. Sums in fp32 (fp64); positions within an image are 32-bit.
struct ResampleForward {
  static constexpr const char* name = "resample_forward";
  using Problem = ResampleShape;
  static Signature signature(const ResampleShape& sh, DType t);
  static void check(const ResampleShape& sh);
  static Preference prefer(const ResampleShape&, const Request&) { return {"vectorized", "plain"}; }
};

// dx[j] = the sum of dy over the outputs that j is part of, each with its weight, in their order.
struct ResampleBackward {
  static constexpr const char* name = "resample_backward";
  using Problem = ResampleShape;
  static Signature signature(const ResampleShape& sh, DType t);
  static void check(const ResampleShape& sh);
  static Preference prefer(const ResampleShape&, const Request&) { return {"vectorized", "plain"}; }
};

}  // namespace pycnn
