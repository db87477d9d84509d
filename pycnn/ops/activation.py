"""Activations, element by element."""

from __future__ import annotations

from ..tensor import Tensor
from .elementwise import MapFunction, check_number


class _ReLU(MapFunction):
    kernel, gradient = "relu", "relu_backward"


class _ReLU6(MapFunction):
    kernel, gradient = "relu6", "relu6_backward"


class _Sigmoid(MapFunction):
    kernel, gradient = "sigmoid", "sigmoid_backward"


class _Tanh(MapFunction):
    kernel, gradient = "tanh", "tanh_backward"


class _LeakyReLU(MapFunction):
    kernel, gradient = "leaky_relu", "leaky_relu_backward"

    def __init__(self, negative_slope):
        self.numbers = (float(negative_slope), 0.0)
        if not negative_slope > 0:  # else y has the sign of x, and x can be freed
            self.saves = "x"


def relu(input: Tensor) -> Tensor:
    """max(input, 0) (Nair and Hinton 2010). The gradient at 0 is 0; NaN stays NaN."""
    return _ReLU()(input)


def relu6(input: Tensor) -> Tensor:
    """min(max(input, 0), 6) (Krizhevsky 2010). The gradient at 0 and 6 is 0; NaN stays NaN."""
    return _ReLU6()(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """input where it is positive, negative_slope · input elsewhere (Maas et al. 2013). The gradient at 0 is negative_slope.

    Raises:
        DTypeError: negative_slope is no number.
    """
    check_number("leaky_relu", "negative_slope", negative_slope)
    return _LeakyReLU(negative_slope)(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    return _Sigmoid()(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, at most 2 ulp off in float32."""
    return _Tanh()(input)
