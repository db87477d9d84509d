"""Element-wise arithmetic with NumPy's broadcasting, and functions of one Tensor."""

from __future__ import annotations

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Function, Tensor
from .reduce import sum_axes
from .shape import MAX_RANK, dense_strides, strided_copy

MEMORY_ORDER = (0, 2, 3, 1)  # logical axes N, C, H, W of an image as they lie in memory


class MapFunction(Function):
    """y = f(x) by the kernel `kernel`; its gradient is `gradient`(dy, y), or of (dy, x) with `saves` = "x".

    `numbers` are the parameters of a parametric functor, p and q.
    """

    kernel = gradient = ""
    saves = "y"
    numbers: tuple[float, ...] = ()

    def forward(self, x):
        y = self.empty(x.shape, x.dtype)
        self.run(self.kernel, (x.size, 0, *self.numbers), x.dtype, x, y)
        self.save(x if self.saves == "x" else y)
        return y

    def backward(self, dy):
        (saved,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        self.run(self.gradient, (dy.size, int(accumulate), *self.numbers), dy.dtype, dy, saved, dx)


class _Exp(MapFunction):
    kernel, gradient = "exp", "mul"


class _Sqrt(MapFunction):
    kernel, gradient = "sqrt", "sqrt_backward"


class _Log(MapFunction):
    kernel, gradient, saves = "log", "div", "x"


class _Rsqrt(MapFunction):
    kernel, gradient = "rsqrt", "rsqrt_backward"


class _Reciprocal(MapFunction):
    kernel, gradient = "reciprocal", "reciprocal_backward"


class _Abs(MapFunction):
    kernel, gradient, saves = "abs", "abs_backward", "x"


class _Square(MapFunction):
    kernel, gradient, saves = "square", "square_backward", "x"


class _Pow(MapFunction):
    kernel, gradient, saves = "pow", "pow_backward", "x"

    def __init__(self, exponent):
        self.numbers = (float(exponent), 0.0)


class _Clamp(MapFunction):
    kernel, gradient, saves = "clamp", "clamp_backward", "x"

    def __init__(self, low, high):
        self.numbers = (float(low), float(high))


class _Neg(Function):
    def forward(self, x):
        y = self.empty(x.shape, x.dtype)
        self.run("neg", (x.size, 0), x.dtype, x, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        self.run("neg", (dy.size, int(accumulate)), dy.dtype, dy, dx)


class _Binary(Function):
    """y = f(a, b). Arrays meet in the memory order of y; a repeated axis has stride 0, and its gradient is summed."""

    kernel = ""

    def __init__(self, a: Tensor, b: Tensor):
        self.shape = broadcast_shapes(self.name, a.shape, b.shape)
        image = len(self.shape) == 4 and "image" in (a.layout, b.layout)
        self.layout = "image" if image else "plain"
        self.order = MEMORY_ORDER if image else tuple(range(len(self.shape)))
        self.same = a.shape == b.shape and a.layout == b.layout
        self.walks = [self.walk(t) for t in (a, b)]

    def walk(self, t: Tensor) -> tuple[int, ...]:
        """The strides of `t` along the axes of y's memory, 0 where it is repeated."""
        strides = dense_strides(t.data.shape)
        if t.layout == "image":
            n, h, w, c = strides
            strides = (n, c, h, w)
        steps = [0 if extent == 1 else stride for extent, stride in zip(t.shape, strides, strict=True)]
        steps = [0] * (len(self.shape) - len(steps)) + steps
        return tuple(steps[axis] for axis in self.order)

    def extents(self):
        """The shape of y in memory."""
        return tuple(self.shape[axis] for axis in self.order)

    def apply(self, kernel, a, a_walk, b, b_walk, y):
        """y = kernel(a, b), y of the result's shape."""
        if self.same:
            return self.run(kernel, (y.size, 0), y.dtype, a, b, y)
        pad = MAX_RANK - len(self.shape)
        extents = (1,) * pad + self.extents()
        walks = (*(0,) * pad, *a_walk, *(0,) * pad, *b_walk)
        self.run("broadcast_" + kernel, (*extents, *walks, a.size, b.size), y.dtype, a, b, y)

    def forward(self, a, b):
        y = self.empty(self.extents(), a.dtype)
        self.apply(self.kernel, a, self.walks[0], b, self.walks[1], y)
        self.save_for_backward(a, b, y)
        return y

    def save_for_backward(self, a, b, y):
        """Keep what the gradient needs."""

    def product(self, kernel, dy, i):
        """kernel(dy, input i) in the shape of y."""
        d = self.empty(dy.shape, dy.dtype)
        self.apply(kernel, dy, dense_strides(dy.shape), self.saved[i], self.walks[i], d)
        return d

    def hand_back(self, i, d, kernel="copy"):
        """Give input `i` the gradient `d`, summed over the axes it was repeated along; kernel "neg" changes its sign."""
        if self.same and kernel == "copy":
            return self.pass_grad(i, d)
        if self.same:
            dx, accumulate = self.grad_buffer(i)
            return self.run(kernel, (d.size, int(accumulate)), d.dtype, d, dx)
        strides = self.walks[i]
        repeated = [axis for axis in range(d.ndim) if not strides[axis] and d.shape[axis] != 1]
        kept = [axis for axis in range(d.ndim) if axis not in repeated]
        if repeated:
            total = self.empty([d.shape[axis] for axis in kept], d.dtype)
            sum_axes(self.backend, d, repeated, total)
            d = total
        if kernel == "neg":
            negative = self.empty(d.shape, d.dtype)
            self.run("neg", (d.size, 0), d.dtype, d, negative)
            d = negative
        dx, accumulate = self.grad_buffer(i)
        strided_copy(self.run, d, dense_strides(d.shape), dx, [strides[axis] for axis in kept], d.shape, accumulate)


class _Add(_Binary):
    kernel = "add"

    def backward(self, dy):
        for i in range(2):
            if self.needs[i]:
                self.hand_back(i, dy)


class _Sub(_Binary):
    kernel = "sub"

    def backward(self, dy):
        if self.needs[0]:
            self.hand_back(0, dy)
        if self.needs[1]:
            self.hand_back(1, dy, "neg")


class _Mul(_Binary):
    kernel = "mul"

    def save_for_backward(self, a, b, y):
        self.save(a, b)

    def backward(self, dy):
        for i in range(2):
            if not self.needs[i]:
                continue
            if self.same:
                dx, accumulate = self.grad_buffer(i)
                self.run("mul", (dy.size, int(accumulate)), dy.dtype, dy, self.saved[1 - i], dx)
            else:
                self.hand_back(i, self.product("mul", dy, 1 - i))


class _Div(_Binary):
    kernel = "div"

    def save_for_backward(self, a, b, y):
        self.save(y, b)

    def backward(self, dy):
        quotient = self.product("div", dy, 1)
        if self.needs[0]:
            self.hand_back(0, quotient)
        if self.needs[1]:  # -dy · a / b² = -(dy / b) · y
            d = self.empty(dy.shape, dy.dtype)
            self.run("mul", (dy.size, 0), dy.dtype, quotient, self.saved[0], d)
            self.hand_back(1, d, "neg")


class _Extremum(_Binary):
    """The larger (smaller) of two; equal ones share the gradient evenly, as in PyTorch."""

    def save_for_backward(self, a, b, y):
        self.save(a, b)

    def backward(self, dy):
        for i in range(2):
            if not self.needs[i]:
                continue
            share, d = self.empty(dy.shape, dy.dtype), self.empty(dy.shape, dy.dtype)
            first = i if self.kernel == "maximum" else 1 - i
            (a, b), (a_walk, b_walk) = ([pair[first], pair[1 - first]] for pair in (self.saved, self.walks))
            self.apply("not_less", a, a_walk, b, b_walk, share)
            self.run("share", (dy.size, 0), dy.dtype, dy, share, d)
            self.hand_back(i, d)


class _Maximum(_Extremum):
    kernel = "maximum"


class _Minimum(_Extremum):
    kernel = "minimum"


def broadcast_shapes(name: str, a: tuple, b: tuple) -> tuple[int, ...]:
    """The common shape of two operands by NumPy's rules.

    Raises:
        ShapeError: an axis has two extents and neither is 1, or there are more than 6 axes.
    """
    rank = max(len(a), len(b))
    pairs = list(zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True))
    if rank > MAX_RANK or any(m != n and 1 not in (m, n) for m, n in pairs):
        reason = f"at most {MAX_RANK} axes" if rank > MAX_RANK else "extents must be equal or 1, counted from the last axis"
        raise ShapeError(f"{name}: shapes {a} and {b} do not fit together ({reason})")
    return tuple(n if m == 1 else m for m, n in pairs)


def _operands(name, a, b) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one type; a Python number takes the other's type and device."""
    like = a if isinstance(a, Tensor) else b
    if not isinstance(like, Tensor):
        raise DTypeError(f"{name}: one of the operands must be a pycnn.Tensor")
    if like.dtype.kind in "iu":
        raise DTypeError(f"{name}: arithmetic is for floating-point Tensors, got {like.dtype}")
    made = [t if isinstance(t, Tensor) else Tensor(np.asarray(t, like.dtype), device=like.device) for t in (a, b)]
    if made[0].dtype != made[1].dtype:
        raise DTypeError(f"{name}: operands are {made[0].dtype} and {made[1].dtype}; cast one of them")
    return made[0], made[1]


def _binary(kind, name, a, b):
    a, b = _operands(name, a, b)
    return kind(a, b)(a, b)


def add(input, other) -> Tensor:
    """input + other, broadcast by NumPy's rules; either may be a number.

    Raises:
        ShapeError: the shapes do not fit together.
        DTypeError: the types differ or are integers.
    """
    return _binary(_Add, "add", input, other)


def sub(input, other) -> Tensor:
    """input - other; see :func:`add`."""
    return _binary(_Sub, "sub", input, other)


def mul(input, other) -> Tensor:
    """input · other, element by element; see :func:`add`."""
    return _binary(_Mul, "mul", input, other)


def div(input, other) -> Tensor:
    """input / other; see :func:`add`. Division by zero gives infinity or NaN."""
    return _binary(_Div, "div", input, other)


def neg(input: Tensor) -> Tensor:
    """-input."""
    return _Neg()(input)


def exp(input: Tensor) -> Tensor:
    """e to the power of each element, at most 1 ulp off in float32."""
    return _Exp()(input)


def log(input: Tensor) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below."""
    return _Log()(input)


def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN below 0."""
    return _Sqrt()(input)


def rsqrt(input: Tensor) -> Tensor:
    """1 / the square root; infinity at 0, NaN below."""
    return _Rsqrt()(input)


def reciprocal(input: Tensor) -> Tensor:
    """1 / input; infinity at 0."""
    return _Reciprocal()(input)


def abs(input: Tensor) -> Tensor:
    """The magnitude. The gradient at 0 is 0."""
    return _Abs()(input)


def square(input: Tensor) -> Tensor:
    """input · input."""
    return _Square()(input)


def check_number(name, argument, value):
    """Refuse what is no Python or NumPy number."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise DTypeError(f"{name}: {argument} must be a number, got a {type(value).__name__}")


def pow(input: Tensor, exponent: float) -> Tensor:
    """input to the power of a number; NaN where input is negative and the exponent no integer.

    Exponents 2, 1/2, -1/2 and -1 are :func:`square`, :func:`sqrt`, :func:`rsqrt` and :func:`reciprocal`.

    Raises:
        DTypeError: the exponent is no number.
    """
    check_number("pow", "exponent", exponent)
    exact = {2: _Square, 0.5: _Sqrt, -0.5: _Rsqrt, -1: _Reciprocal}  # as in PyTorch
    return exact[exponent]()(input) if exponent in exact else _Pow(exponent)(input)


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """min(max(input, `min`), `max`) with numbers for the bounds, None for none; NaN stays NaN.

    The gradient is 0 outside the bounds and passes on them. Where `min` > `max`, all elements become `max`.

    Raises:
        ValueError: neither bound is given.
        DTypeError: a bound is no number.
    """
    if min is None and max is None:
        raise ValueError("clamp: at least one of min and max must be given")
    for argument, bound in (("min", min), ("max", max)):
        if bound is not None:
            check_number("clamp", argument, bound)
    return _Clamp(-np.inf if min is None else min, np.inf if max is None else max)(input)


def maximum(input, other) -> Tensor:
    """The larger of both, element by element, broadcast; NaN where either is. See :func:`add`. Equal ones share the gradient."""
    return _binary(_Maximum, "maximum", input, other)


def minimum(input, other) -> Tensor:
    """The smaller of both; see :func:`maximum`."""
    return _binary(_Minimum, "minimum", input, other)
