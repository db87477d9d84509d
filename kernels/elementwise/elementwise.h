// Declarations of the element-wise ops.
#pragma once
#include "../common/plan.h"
#include "../common/strided.h"
#include "functors.h"

namespace pycnn {

struct MapShape {
  int64_t n, accumulate;  // elements; 1: y += f(...), 0: y = f(...)
  static constexpr const char* names = "n accumulate";
};

struct ParametricMapShape {
  int64_t n, accumulate;
  double p, q;  // the functor's numbers, 0 where it takes fewer
  static constexpr const char* names = "n accumulate .p .q";
};

// y[i] = f(x[i]) or f(a[i], b[i]), parametric ones f(..., p, q); all arrays of n elements in the same memory order. Storage f32 f16 bf16 (f64 on the
// CPU), computed in fp32 (f64); 64-bit indices. y may be one of the inputs.
template <class F>
struct Map {
  static constexpr const char* name = F::name;
  using Problem = std::conditional_t<F::parametric, ParametricMapShape, MapShape>;
  static Signature signature(const Problem& p, DType t) {
    if constexpr (F::inputs == 1) return {flat_in("x", t, p.n), flat_out("y", t, p.n)};
    else return {flat_in("a", t, p.n), flat_in("b", t, p.n), flat_out("y", t, p.n)};
  }
  static void check(const Problem&) {}
  static Preference prefer(const Problem&, const Request&) { return {"vectorized", "plain"}; }
};

// A functor with its numbers: what a map kernel applies to element j of its inputs; b is not used where f has one.
template <class F, class T, class A = Accumulator<T>>
struct Mapped {
  A p = 0, q = 0;
  explicit Mapped(const MapShape&) {}
  explicit Mapped(const ParametricMapShape& sh) : p(A(sh.p)), q(A(sh.q)) {}

  template <class Values>
  __device__ __forceinline__ A operator()(const Values& a, const Values& b, int64_t j) const {
    if constexpr (F::inputs == 1 && F::parametric) return F::template apply<A>(A(a[j]), p, q);
    else if constexpr (F::inputs == 1) return F::template apply<A>(A(a[j]));
    else if constexpr (F::parametric) return F::template apply<A>(A(a[j]), A(b[j]), p, q);
    else return F::template apply<A>(A(a[j]), A(b[j]));
  }
};

struct BroadcastShape {
  int64_t E[kMaxRank];               // extents of y, padded in front with 1
  int64_t A[kMaxRank], B[kMaxRank];  // strides of a and b in elements, 0 where they are repeated
  int64_t a_size, b_size;            // elements of a and b
  static constexpr const char* names = "E0 E1 E2 E3 E4 E5 A0 A1 A2 A3 A4 A5 B0 B1 B2 B3 B4 B5 a_size b_size";

  // Walks y, a and b together.
  Strided<3> strided() const;
};

// y[i] = f(a, b) with a and b repeated along the axes they lack, as NumPy broadcasts. Storage f32 f16 bf16 (f64 on the CPU),
// computed in fp32 (f64); 64-bit indices.
template <class F>
struct Broadcast {
  static constexpr const char* name = F::broadcast_name;
  using Problem = BroadcastShape;
  static Signature signature(const BroadcastShape& p, DType t) {
    return {flat_in("a", t, p.a_size), flat_in("b", t, p.b_size), flat_out("y", t, p.strided().size())};
  }
  static void check(const BroadcastShape& p) { p.strided(); }
  static Preference prefer(const BroadcastShape&, const Request&) { return {"strips", "plain"}; }
};

}  // namespace pycnn
