"""Random ops: dropout and stochastic depth."""

from __future__ import annotations

import math

from .. import random as streams
from ..errors import ShapeError
from ..tensor import Function, Tensor


class _Random(Function):
    """y = x times random factors by the kernel `kernel`."""

    kernel = ""

    def __init__(self, p, extents):
        self.p, self.extents = float(p), extents

    def problem(self, accumulate):
        """The kernel's numbers."""
        return (*self.extents, self.op_index, int(accumulate), self.p)

    def forward(self, x):
        self.op_index = streams.next_op()
        state = streams.device_state(self.backend.device)
        y, drawn = self.empty(x.shape, x.dtype), self.empty(state.shape, state.dtype)
        self.run(self.kernel, self.problem(False), x.dtype, x, state, y, drawn)
        self.save(drawn)
        return y

    def backward(self, dy):
        (drawn,) = self.saved  # the same words again instead of a stored mask
        dx, accumulate = self.grad_buffer(0)
        self.run(self.kernel, self.problem(accumulate), dy.dtype, dy, drawn, dx, None)


class _Dropout(_Random):
    kernel = "dropout"


class _DropPath(_Random):
    kernel = "drop_path"


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p) (Srivastava et al. 2014, JMLR 15).

    The mask depends on the seed, the step, the number of the op in the step and the element's place in logical order, so it is
    the same on every device and in every layout; `backward` computes it again.

    Args:
        input: any shape.
        training: False returns the input unchanged.

    Raises:
        ValueError: p is no probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    extents = (*input.shape[:2], input.shape[2] * input.shape[3]) if input.ndim == 4 else (1, 1, input.size)
    return _Dropout(p, (*extents, int(input.layout == "image")))(input)


def drop_path(input: Tensor, p: float = 0.5, training: bool = True, mode: str = "row") -> Tensor:
    """Stochastic depth: zero whole samples with probability p and scale the others by 1 / (1 - p) (Huang et al. 2016).

    A residual branch that is dropped leaves the shortcut alone. The choice depends on what :func:`dropout`'s mask depends on, and
    `backward` makes it again.

    Args:
        input: samples along the first axis.
        training: False returns the input unchanged.
        mode: "row" decides for each sample, "batch" once for all.

    Raises:
        ValueError: p is no probability, or there is no such mode.
        ShapeError: input has no axis of samples.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"drop_path: p must be a probability between 0 and 1, got {p}")
    if mode not in ("row", "batch"):
        raise ValueError(f"drop_path: mode must be 'row' or 'batch', got {mode!r}")
    if input.ndim == 0:
        raise ShapeError("drop_path: input needs an axis of samples, got a scalar")
    if not training or p == 0:
        return input
    extents = (1, input.size) if mode == "batch" else (input.shape[0], math.prod(input.shape[1:]))
    return _DropPath(p, extents)(input)
