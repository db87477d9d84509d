"""Softmax and its logarithm."""

from __future__ import annotations

from ..tensor import Function, Tensor
from .shape import as_plain, normalized_dim, transpose


class _Softmax(Function):
    """Over the last axis in memory."""

    def __init__(self, log: bool):
        self.log = log

    def problem(self, x, accumulate=False):
        """The kernel's numbers for an array of x's shape."""
        classes = x.shape[-1] if x.ndim else 1
        return (x.size // max(classes, 1), classes, int(self.log), int(accumulate))

    def forward(self, x):
        y = self.empty(x.shape, x.dtype)
        self.run("softmax_forward", self.problem(x), x.dtype, x, y)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        self.run("softmax_backward", self.problem(y, accumulate), dy.dtype, dy, y, dx)


def _softmax(name, input, dim, log):
    dim = normalized_dim(name, dim, input.ndim)
    if input.layout == "image" and dim == 1:  # the last axis in memory
        return _Softmax(log)(input)
    return transpose(_Softmax(log)(transpose(as_plain(input), dim, -1)), dim, -1)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(input) / sum of exp(input) along axis `dim`. The maximum is taken off first, so that nothing overflows.

    Raises:
        ShapeError: there is no such axis.
    """
    return _softmax("softmax", input, dim, log=False)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """The logarithm of the softmax along axis `dim`: input - log of the sum of exp(input).

    Raises:
        ShapeError: there is no such axis.
    """
    return _softmax("log_softmax", input, dim, log=True)
