"""Numerical gradient check."""

from __future__ import annotations

import numpy as np

from .errors import DTypeError
from .tensor import Tensor, no_grad, to_memory


def gradcheck(function, inputs, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3) -> bool:
    """Compare the gradients of ``function(*inputs)`` with central differences along random directions of its output.

    Args:
        function: takes the Tensors `inputs`, returns one Tensor.
        inputs: Tensors on the CPU; those that require a gradient are checked and must be float64.
        eps: step of the difference.
        atol, rtol: |analytic - numerical| <= atol + rtol * |numerical| is required of every element.

    Raises:
        AssertionError: a gradient is wrong; the message names input, element and both values.
        DTypeError: a checked input is not float64.
    """
    inputs = tuple(inputs)
    for i, x in enumerate(inputs):
        if x is not None and x.requires_grad and x.dtype != np.float64:
            raise DTypeError(f"gradcheck: input {i} is {x.dtype}; differences of 1e-6 need float64")
        if x is not None:
            x.zero_grad()
    y = function(*inputs)
    direction = np.random.Generator(np.random.Philox(1)).standard_normal(y.shape)
    y.backward(Tensor(direction))

    for i, x in enumerate(inputs):
        if x is None or not x.requires_grad:
            continue
        analytic = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        origin = np.array(x.numpy())
        for index in np.ndindex(*x.shape):
            sides = []
            for step in (eps, -eps):
                moved = origin.copy()
                moved[index] += step
                x.data[...] = to_memory(moved, x.layout)
                with no_grad():
                    sides.append(float((function(*inputs).numpy() * direction).sum()))
            x.data[...] = to_memory(origin, x.layout)
            numerical = (sides[0] - sides[1]) / (2 * eps)
            if not abs(analytic[index] - numerical) <= atol + rtol * abs(numerical):
                raise AssertionError(
                    f"input {i}{list(index)}: analytic gradient {analytic[index]:.9g}, numerical {numerical:.9g}"
                )
    return True
