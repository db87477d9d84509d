// The element-wise functions, two lines each. One plain and one vectorized kernel (map_1_plain.cuh, map_2_vectorized.cuh)
// run them all. A functor computes in A, the accumulator of the storage type: float, or double for double. PARAMETRIC ones get
// two numbers of the problem, p and q, behind their inputs.
#pragma once
#include "../common/functions.h"

namespace pycnn {

template <class... F> struct List {};

#define FUNCTOR(Name, op_name, inputs, ...) FUNCTOR_OF(Name, op_name, inputs, false, __VA_ARGS__)
#define PARAMETRIC(Name, op_name, inputs, ...) FUNCTOR_OF(Name, op_name, inputs, true, __VA_ARGS__)
#define FUNCTOR_OF(Name, op_name, inputs_, parametric_, ...)            \
  struct Name {                                                         \
    static constexpr const char* name = op_name;                        \
    static constexpr const char* broadcast_name = "broadcast_" op_name; \
    static constexpr int inputs = inputs_;                              \
    static constexpr bool parametric = parametric_;                     \
    template <class A> __host__ __device__ __forceinline__ static A apply(__VA_ARGS__)

// clang-format off
// One input.
FUNCTOR(Copy, "copy", 1, A x) { return x; } };
FUNCTOR(Neg, "neg", 1, A x) { return -x; } };
FUNCTOR(Exp, "exp", 1, A x) { return math::exp(x); } };
FUNCTOR(Log, "log", 1, A x) { return math::log(x); } };
FUNCTOR(Sqrt, "sqrt", 1, A x) { return math::sqrt(x); } };
FUNCTOR(Relu, "relu", 1, A x) { return x < A(0) ? A(0) : x; } };  // NaN passes
FUNCTOR(Relu6, "relu6", 1, A x) { return x < A(0) ? A(0) : x > A(6) ? A(6) : x; } };
FUNCTOR(Sigmoid, "sigmoid", 1, A x) { return math::sigmoid(x); } };
FUNCTOR(Tanh, "tanh", 1, A x) { return math::tanh(x); } };
FUNCTOR(Abs, "abs", 1, A x) { return x < A(0) ? -x : x + A(0); } };  // -0 becomes 0
FUNCTOR(Square, "square", 1, A x) { return x * x; } };
FUNCTOR(Rsqrt, "rsqrt", 1, A x) { return A(1) / math::sqrt(x); } };
FUNCTOR(Reciprocal, "reciprocal", 1, A x) { return A(1) / x; } };
PARAMETRIC(LeakyRelu, "leaky_relu", 1, A x, A slope, A) { return x > A(0) ? x : x * slope; } };
PARAMETRIC(Clamp, "clamp", 1, A x, A low, A high) { A y = x < low ? low : x; return y > high ? high : y; } };  // NaN passes
PARAMETRIC(Pow, "pow", 1, A x, A exponent, A) { return math::pow(x, exponent); } };

// Two inputs. The gradient of exp is mul(dy, y), that of log is div(dy, x).
FUNCTOR(Add, "add", 2, A a, A b) { return a + b; } };
FUNCTOR(Sub, "sub", 2, A a, A b) { return a - b; } };
FUNCTOR(Mul, "mul", 2, A a, A b) { return a * b; } };
FUNCTOR(Div, "div", 2, A a, A b) { return a / b; } };
FUNCTOR(Maximum, "maximum", 2, A a, A b) { return a > b || a != a ? a : b; } };  // NaN wins
FUNCTOR(Minimum, "minimum", 2, A a, A b) { return a < b || a != a ? a : b; } };
FUNCTOR(NotLess, "not_less", 2, A a, A b) { return a < b ? A(0) : a == b ? A(0.5) : A(1); } };  // a's part of maximum's gradient
FUNCTOR(Share, "share", 2, A dy, A part) { return part == A(0) ? A(0) : dy * part; } };  // no part of infinity is 0, not NaN
FUNCTOR(Equal, "equal", 2, A a, A b) { return a == b ? A(1) : A(0); } };

// Gradients, from dy and the saved y, or x.
FUNCTOR(ReluBackward, "relu_backward", 2, A dy, A y) { return y <= A(0) ? A(0) : dy; } };  // at NaN dy passes, as in PyTorch
FUNCTOR(Relu6Backward, "relu6_backward", 2, A dy, A y) { return y <= A(0) || y >= A(6) ? A(0) : dy; } };
FUNCTOR(SigmoidBackward, "sigmoid_backward", 2, A dy, A y) { return dy * (A(1) - y) * y; } };
FUNCTOR(TanhBackward, "tanh_backward", 2, A dy, A y) { return dy * (A(1) - y * y); } };
FUNCTOR(SqrtBackward, "sqrt_backward", 2, A dy, A y) { return dy / (y + y); } };
FUNCTOR(RsqrtBackward, "rsqrt_backward", 2, A dy, A y) { return A(-0.5) * dy * (y * y * y); } };
FUNCTOR(ReciprocalBackward, "reciprocal_backward", 2, A dy, A y) { return -dy * (y * y); } };
FUNCTOR(AbsBackward, "abs_backward", 2, A dy, A x) { return x > A(0) ? dy : x < A(0) ? -dy : A(0); } };
FUNCTOR(SquareBackward, "square_backward", 2, A dy, A x) { return dy * (x + x); } };
PARAMETRIC(LeakyReluBackward, "leaky_relu_backward", 2, A dy, A x, A slope, A) { return x > A(0) ? dy : dy * slope; } };
PARAMETRIC(ClampBackward, "clamp_backward", 2, A dy, A x, A low, A high) { return x >= low && x <= high ? dy : A(0); } };
PARAMETRIC(PowBackward, "pow_backward", 2, A dy, A x, A e, A) { return e == A(0) ? A(0) : dy * (e * math::pow(x, e - A(1))); } };
// clang-format on

using MapFunctors =
    List<Copy, Neg, Exp, Log, Sqrt, Relu, Relu6, Sigmoid, Tanh, Add, Sub, Mul, Div, ReluBackward, Relu6Backward, SigmoidBackward,
         TanhBackward, SqrtBackward, Abs, Square, Rsqrt, Reciprocal, LeakyRelu, Clamp, Pow, Maximum, Minimum, NotLess, Share,
         RsqrtBackward, ReciprocalBackward, AbsBackward, SquareBackward, LeakyReluBackward, ClampBackward, PowBackward>;
using BroadcastFunctors = List<Add, Sub, Mul, Div, Equal, Maximum, Minimum, NotLess>;

}  // namespace pycnn
