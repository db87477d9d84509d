"""Adaptive pooling, whose windows follow from the output's size, and max_unpool2d."""

from __future__ import annotations

import operator

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Function, Tensor
from .conv2d import pair
from .shape import as_image


class _AdaptiveAvgPool2d(Function):
    layout = "image"

    def __init__(self, size):
        self.size = size  # P, Q

    def forward(self, x):
        N, _, _, C = self.shape = x.shape
        y = self.empty((N, *self.size, C), x.dtype)
        self.run("adaptive_avg_pool2d_forward", (*x.shape, *self.size, 0), x.dtype, x, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        self.run("adaptive_avg_pool2d_backward", (*self.shape, *self.size, int(accumulate)), dy.dtype, dy, dx)


class _AdaptiveMaxPool2d(Function):
    layout = "image"

    def __init__(self, size, return_indices):
        self.size, self.return_indices = size, return_indices

    def forward(self, x):
        N, _, _, C = self.shape = x.shape
        y = self.empty((N, *self.size, C), x.dtype)
        indices = self.empty(y.shape, np.int64) if self.needs[0] or self.return_indices else None
        self.run("adaptive_max_pool2d_forward", (*x.shape, *self.size, 0), x.dtype, x, y, indices)
        self.save(indices)
        return (y, indices) if self.return_indices else y

    def backward(self, dy, _=None):
        (indices,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        self.run("adaptive_max_pool2d_backward", (*self.shape, *self.size, int(accumulate)), dy.dtype, dy, indices, dx)


class _MaxUnpool2d(Function):
    layout = "image"

    def __init__(self, size):
        self.size = size  # H, W

    def check_indices(self, indices):
        """Refuse an index that is no place of the output."""
        bad, places = self.empty((1,), np.int64), self.size[0] * self.size[1]
        self.run("check_labels", (indices.size, places, 0, 0), indices.dtype, indices, bad)  # labels are places, too; 0 always is
        at = int(self.backend.to_host(bad)[0])
        if at >= 0:
            n, p, q, c = (int(i) for i in np.unravel_index(at, indices.shape))
            index = int(self.backend.to_host(indices).reshape(-1)[at])
            raise ShapeError(
                f"max_unpool2d: indices[{n}, {c}, {p}, {q}] is {index}, but an output of {self.size[0]} x {self.size[1]} has "
                f"the places 0 to {places - 1}"
            )

    def forward(self, x, indices):
        N, P, Q, C = x.shape
        self.check_indices(indices)
        y = self.empty((N, *self.size, C), x.dtype)
        self.problem = (N, P, Q, C, *self.size)
        self.run("max_unpool2d_forward", (*self.problem, 0), x.dtype, x, indices, y)
        self.save(indices)
        return y

    def backward(self, dy):
        (indices,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        self.run("max_unpool2d_backward", (*self.problem, int(accumulate)), dy.dtype, dy, indices, dx)


def _adaptive_size(name, input, output_size):
    """The output's height and width; None keeps the input's."""
    if input.ndim != 4 or min(input.shape[1:]) < 1:
        raise ShapeError(
            f"{name}: input must have the 4 axes (N, C, H, W), of which only N may be empty, got shape {input.shape}"
        )
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    try:
        sizes = tuple(own if size is None else operator.index(size) for size, own in zip(sizes, input.shape[2:], strict=True))
    except (TypeError, ValueError):
        raise ValueError(f"{name}: output_size must be one integer or None, or two, got {output_size!r}") from None
    if min(sizes) < 1:
        raise ValueError(f"{name}: output_size must be at least 1 along each axis, got {output_size!r}")
    return sizes


def adaptive_avg_pool2d(input: Tensor, output_size) -> Tensor:
    """Mean over P x Q windows that together cover the image; with output_size 1 the mean of each channel.

    Window p covers the rows floor(p·H / P) <= h < ceil((p + 1)·H / P), q likewise; neighbors overlap where P does not divide H.
    Sums are kept in fp32 (fp64), so that averages of 16-bit images stay finite.

    Args:
        input: (N, C, H, W).
        output_size: P and Q as one integer or a pair; None keeps the input's extent.

    Returns:
        (N, C, P, Q).

    Raises:
        ShapeError: the input is no image, or an empty one.
        ValueError: output_size is not made of positive integers and None.
    """
    return _AdaptiveAvgPool2d(_adaptive_size("adaptive_avg_pool2d", input, output_size))(as_image(input))


def adaptive_max_pool2d(input: Tensor, output_size, return_indices: bool = False):
    """Maximum over P x Q windows that together cover the image (see :func:`adaptive_avg_pool2d`).

    NaN wins; of equal values the first is the one the gradient goes to.

    Args:
        input: (N, C, H, W) with H·W < 2^31.
        output_size: P and Q as one integer or a pair; None keeps the input's extent.
        return_indices: also return where each maximum is.

    Returns:
        (N, C, P, Q); with `return_indices` a pair, the second int64 h·W + w.

    Raises:
        ShapeError: the input is no image, or an empty one.
        ValueError: output_size is not made of positive integers and None.
    """
    return _AdaptiveMaxPool2d(_adaptive_size("adaptive_max_pool2d", input, output_size), return_indices)(as_image(input))


def _unpooled_size(input, kernel, stride, padding, output_size):
    """The output's height and width: those that were pooled, or `output_size` if it can have been."""
    default = [(input.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + kernel[i] for i in range(2)]
    if output_size is None:
        sizes = default
    else:
        try:
            sizes = [operator.index(size) for size in tuple(output_size)]
        except TypeError:
            raise ValueError(f"max_unpool2d: output_size must be made of integers, got {output_size!r}") from None
        if len(sizes) == 4:
            sizes = sizes[2:]
        if len(sizes) != 2:
            raise ValueError(f"max_unpool2d: output_size must be (H, W) or (N, C, H, W), got {output_size!r}")
        for axis, size, middle, step in zip(("height", "width"), sizes, default, stride, strict=True):
            if not middle - step < size < middle + step:
                raise ValueError(
                    f"max_unpool2d: output_size {tuple(output_size)} has {axis} {size}; with kernel_size, stride and padding "
                    f"given it must be between {middle - step + 1} and {middle + step - 1}"
                )
    if min(sizes) < 1:
        raise ShapeError(f"max_unpool2d: the output would be {sizes[0]} x {sizes[1]} for an input of shape {input.shape}")
    return tuple(sizes)


def max_unpool2d(input: Tensor, indices: Tensor, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """Put each value where max_pool2d found it; all else is 0 (Zeiler and Fergus 2014, section 2.1; Noh et al. 2015).

    Where several values have one index, the last in the order of rows and columns stays; the gradient goes to all of them.

    Args:
        input: (N, C, P, Q).
        indices: int64 h·W + w of the same shape, as max_pool2d and adaptive_max_pool2d return them.
        kernel_size, stride, padding: those of the pooling, one integer or two each; stride None means kernel_size.
        output_size: (H, W) or (N, C, H, W) of what was pooled, where other sizes than the default are pooled to P x Q.

    Returns:
        (N, C, H, W), by default H = (P - 1)·stride - 2·padding + kernel_size, W likewise.

    Raises:
        ShapeError: input and indices are no images of one shape, or an index is no place of the output.
        DTypeError: indices are not int64.
        ValueError: kernel_size, stride, padding or output_size make no unpooling.
    """
    if input.ndim != 4 or min(input.shape[1:]) < 1:
        raise ShapeError(
            f"max_unpool2d: input must have the 4 axes (N, C, P, Q), of which only N may be empty, got shape {input.shape}"
        )
    if indices.shape != input.shape:
        raise ShapeError(f"max_unpool2d: indices have shape {indices.shape}, must have the input's {input.shape}")
    if indices.dtype != np.int64:
        raise DTypeError(f"max_unpool2d: indices must be int64, got {indices.dtype}")
    kernel = pair(kernel_size, "max_unpool2d: kernel_size")
    stride = kernel if stride is None else pair(stride, "max_unpool2d: stride")
    padding = pair(padding, "max_unpool2d: padding")
    for name, values, least in (("kernel_size", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if min(values) < least:
            raise ValueError(f"max_unpool2d: {name} must be at least {least}, got {values}")
    size = _unpooled_size(input, kernel, stride, padding, output_size)
    return _MaxUnpool2d(size)(as_image(input), as_image(indices))
