// The element-wise functions, two lines each. One plain and one vectorized kernel (map_1_plain.cuh, map_2_vectorized.cuh)
// run them all. A functor computes in A, the accumulator of the storage type: float, or double for double.
#pragma once
#include "../common/functions.h"

namespace pycnn {

template <class... F> struct List {};

#define FUNCTOR(Name, op_name, inputs_, ...)                            \
  struct Name {                                                         \
    static constexpr const char* name = op_name;                        \
    static constexpr const char* broadcast_name = "broadcast_" op_name; \
    static constexpr int inputs = inputs_;                              \
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

// Two inputs. The gradient of exp is mul(dy, y), that of log is div(dy, x).
FUNCTOR(Add, "add", 2, A a, A b) { return a + b; } };
FUNCTOR(Sub, "sub", 2, A a, A b) { return a - b; } };
FUNCTOR(Mul, "mul", 2, A a, A b) { return a * b; } };
FUNCTOR(Div, "div", 2, A a, A b) { return a / b; } };
FUNCTOR(Equal, "equal", 2, A a, A b) { return a == b ? A(1) : A(0); } };

// Gradients, from dy and the saved y.
FUNCTOR(ReluBackward, "relu_backward", 2, A dy, A y) { return y <= A(0) ? A(0) : dy; } };  // at NaN dy passes, as in PyTorch
FUNCTOR(Relu6Backward, "relu6_backward", 2, A dy, A y) { return y <= A(0) || y >= A(6) ? A(0) : dy; } };
FUNCTOR(SigmoidBackward, "sigmoid_backward", 2, A dy, A y) { return dy * (A(1) - y) * y; } };
FUNCTOR(TanhBackward, "tanh_backward", 2, A dy, A y) { return dy * (A(1) - y * y); } };
FUNCTOR(SqrtBackward, "sqrt_backward", 2, A dy, A y) { return dy / (y + y); } };
// clang-format on

using MapFunctors = List<Copy, Neg, Exp, Log, Sqrt, Relu, Relu6, Sigmoid, Tanh, Add, Sub, Mul, Div, ReluBackward, Relu6Backward,
                         SigmoidBackward, TanhBackward, SqrtBackward>;
using BroadcastFunctors = List<Add, Sub, Mul, Div, Equal>;

}  // namespace pycnn
