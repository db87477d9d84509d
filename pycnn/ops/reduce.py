"""Reductions: sum, mean, max, argmax."""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from ..errors import ShapeError
from ..tensor import Function, Tensor
from .shape import as_plain, normalized_dim, permuted_copy, reshape

_IMAGE_PLACE = (0, 3, 1, 2)  # of N, C, H, W in memory
MaxResult = namedtuple("MaxResult", ["values", "indices"])


def cut(shape, axes) -> tuple[int, int, int] | None:
    """(outer, reduced, inner): the product of the extents before, of and after `axes`; None if they are not neighbors."""
    kept = [d for d in range(len(shape)) if d not in axes and shape[d] != 1]
    moved = sorted(d for d in axes if shape[d] != 1)
    if not moved:
        return (math.prod(shape), 1, 1)
    first, last = moved[0], moved[-1]
    if any(first < d < last for d in kept):
        return None
    outer, inner = (math.prod(shape[d] for d in kept if side(d)) for side in (lambda d: d < first, lambda d: d > last))
    return (outer, math.prod(shape[d] for d in moved), inner)


def sum_axes(backend, x, axes, y, accumulate=False, divisor=1.0) -> None:
    """y = (sum of x over the memory axes `axes`) / divisor, or y += ...; y holds the other axes in x's order."""
    extents = cut(x.shape, axes)
    if extents is None:  # bring the axes to the end
        order = [d for d in range(x.ndim) if d not in axes] + list(axes)
        moved = backend.empty([x.shape[d] for d in order], x.dtype)
        permuted_copy(backend.run, x, order, moved)
        x, extents = moved, (y.size, moved.size // (y.size or 1), 1)
    backend.run("sum", (*extents, int(accumulate), 0, float(divisor)), x.dtype, x, y)


def _memory_axes(name, x: Tensor, dim) -> tuple[int, ...]:
    dims = range(x.ndim) if dim is None or dim == () else (dim if isinstance(dim, tuple | list) else (dim,))
    dims = [normalized_dim(name, d, x.ndim) for d in dims]
    if len(set(dims)) < len(dims):
        raise ShapeError(f"{name}: dim {tuple(dims)} names an axis twice")
    return tuple(sorted(_IMAGE_PLACE[d] if x.layout == "image" else d for d in dims if x.ndim))


def _in_result_order(x: Tensor, dims, keepdim) -> Tensor:
    """`x`, in plain order if its memory order without `dims` is not the logical one."""
    if x.layout == "image" and not keepdim and len(dims) < 4:
        kept = [d for d in (0, 2, 3, 1) if d not in {d % 4 for d in dims}]
        if kept != sorted(kept):
            return as_plain(x)
    return x


class _Sum(Function):
    def __init__(self, axes, keepdim, mean):
        self.axes, self.keepdim, self.mean = axes, keepdim, mean
        self.layout = None if keepdim else "plain"

    def forward(self, x):
        self.input_shape = x.shape
        self.divisor = float(math.prod(x.shape[d] for d in self.axes)) if self.mean else 1.0
        kept = [1 if d in self.axes else e for d, e in enumerate(x.shape) if self.keepdim or d not in self.axes]
        y = self.empty(kept, x.dtype)
        sum_axes(self.backend, x, self.axes, y, divisor=self.divisor)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        extents = cut(self.input_shape, self.axes)
        if extents is not None:
            return self.run("sum_backward", (*extents, int(accumulate), 0, self.divisor), dy.dtype, dy, dx)
        order = [d for d in range(dx.ndim) if d not in self.axes] + list(self.axes)
        spread = self.empty([self.input_shape[d] for d in order], dy.dtype)
        problem = (dy.size, spread.size // (dy.size or 1), 1, 0, 0, self.divisor)
        self.run("sum_backward", problem, dy.dtype, dy, spread)
        permuted_copy(self.run, spread, sorted(range(dx.ndim), key=order.__getitem__), dx, accumulate)


def _sum(name, input, dim, keepdim, mean):
    _memory_axes(name, input, dim)
    dims = range(input.ndim) if dim is None or dim == () else (dim if isinstance(dim, tuple | list) else (dim,))
    input = _in_result_order(input, tuple(dims), keepdim)
    return _Sum(_memory_axes(name, input, dim), keepdim, mean)(input)


def sum(input: Tensor, dim=None, keepdim: bool = False) -> Tensor:
    """The sum over the axes `dim` (a number, a tuple, or None for all). `keepdim` leaves them with extent 1.

    Summed in fp32 (fp64 for float64), in an order that depends on the shape alone.

    Raises:
        ShapeError: there is no such axis, or one is named twice.
    """
    return _sum("sum", input, dim, keepdim, mean=False)


def mean(input: Tensor, dim=None, keepdim: bool = False) -> Tensor:
    """The mean over the axes `dim` (a number, a tuple, or None for all); NaN where there is no element.

    `keepdim` leaves them with extent 1.

    Raises:
        ShapeError: there is no such axis, or one is named twice.
    """
    return _sum("mean", input, dim, keepdim, mean=True)


class _Max(Function):
    def __init__(self, axes, keepdim):
        self.axes, self.keepdim = axes, keepdim
        self.layout = None if keepdim else "plain"

    def forward(self, x):
        self.extents = cut(x.shape, self.axes)
        kept = [1 if d in self.axes else e for d, e in enumerate(x.shape) if self.keepdim or d not in self.axes]
        y, index = self.empty(kept, x.dtype), self.empty(kept, np.int64)
        self.run("max", self.extents, x.dtype, x, y, index)
        self.save(index)
        return y, index

    def backward(self, dy, _):
        (index,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        self.run("max_backward", (*self.extents, int(accumulate)), dy.dtype, dy, index, dx)


class _MaxOfAll(Function):
    """Several equal maxima share the gradient evenly, as in PyTorch."""

    layout = "plain"

    def forward(self, x):
        y, index = self.empty((), x.dtype), self.empty((), np.int64)
        self.run("max", (1, x.size, 1), x.dtype, x, y, index)
        self.save(x, y)
        return y

    def backward(self, dy):
        x, y = self.saved
        is_most, count, share = self.empty(x.shape, x.dtype), self.empty((), x.dtype), self.empty((), x.dtype)
        with_scalar = (1, 1, 1, 1, 1, x.size, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, x.size, 1)
        self.run("broadcast_equal", with_scalar, x.dtype, x, y, is_most)
        self.run("sum", (1, x.size, 1, 0, 0, 1.0), x.dtype, is_most, count)
        self.run("div", (1, 0), x.dtype, dy, count, share)
        dx, accumulate = self.grad_buffer(0)
        self.run("broadcast_mul", with_scalar, x.dtype, is_most, share, is_most)
        self.run("copy", (x.size, int(accumulate)), x.dtype, is_most, dx)


def max(input: Tensor, dim: int | None = None, keepdim: bool = False):
    """The largest element; along an axis `dim`, a pair (values, indices) with the first place that has it.

    `keepdim` leaves the axis with extent 1. A NaN is larger than any number. The gradient goes to the place in `indices`; without
    `dim`, equal maxima share it.

    Raises:
        ShapeError: there is no such axis, or it is empty.
    """
    if dim is None:
        return _MaxOfAll()(input)
    dim = normalized_dim("max", dim, input.ndim)
    input = _in_result_order(input, (dim,), keepdim)
    return MaxResult(*_Max(_memory_axes("max", input, dim), keepdim)(input))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the largest element along axis `dim` (None: in the flattened Tensor), int64. No gradient.

    `keepdim` leaves the axis with extent 1.

    Raises:
        ShapeError: there is no such axis, or it is empty.
    """
    if dim is not None:
        return max(input.detach(), dim, keepdim).indices
    return max(reshape(input.detach(), -1), 0).indices
