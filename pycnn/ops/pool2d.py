"""Maximum and average pooling."""

from __future__ import annotations

import operator

import numpy as np

from ..errors import NotSupported, ShapeError
from ..tensor import Function, Tensor
from .conv2d import pair
from .shape import as_image

MAX_TAPS = 256  # positions an 8-bit argmax can name


class _Pool2d(Function):
    layout = "image"
    takes_slices = (0,)

    def __init__(self, kernel, stride, padding, dilation, size):
        self.kernel, self.size = kernel, size  # R, S and P, Q
        self.geometry = (*stride, *padding, *dilation)

    def problem(self, shape, accumulate, *more):
        return (*shape, *self.kernel, *self.size, *self.geometry, int(accumulate), *more)


class _MaxPool2d(_Pool2d):
    def __init__(self, *geometry, return_indices):
        super().__init__(*geometry)
        self.return_indices = return_indices

    def forward(self, x):
        N, _, _, C = self.shape = x.shape
        y = self.empty((N, *self.size, C), x.dtype)
        argmax = self.empty(y.shape, np.uint8) if self.needs[0] or self.return_indices else None
        self.run("max_pool2d_forward", self.problem(x.shape, False), x.dtype, x, y, argmax)
        self.save(argmax)
        if not self.return_indices:
            return y
        indices = self.empty(y.shape, np.int64)
        self.run("max_pool2d_indices", self.problem(x.shape, False), indices.dtype, argmax, indices)
        return y, indices

    def backward(self, dy, _=None):
        (argmax,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        self.run("max_pool2d_backward", self.problem(self.shape, accumulate), dy.dtype, dy, argmax, dx)


class _AvgPool2d(_Pool2d):
    def __init__(self, *geometry, count_include_pad, divisor):
        super().__init__(*geometry)
        self.division = (int(count_include_pad), divisor)

    def forward(self, x):
        N, _, _, C = self.shape = x.shape
        y = self.empty((N, *self.size, C), x.dtype)
        self.run("avg_pool2d_forward", self.problem(x.shape, False, *self.division), x.dtype, x, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        self.run("avg_pool2d_backward", self.problem(self.shape, accumulate, *self.division), dy.dtype, dy, dx)


def _extent(name, axis, size, kernel, stride, pad, dilation, ceil_mode):
    """How many windows fit along one axis."""
    reach = dilation * (kernel - 1) + 1
    if kernel < 1:
        raise ValueError(f"{name}: kernel_size must be at least 1, got {kernel}")
    if stride < 1:
        raise ValueError(f"{name}: stride should not be zero or negative, got {stride}")
    if dilation < 1:
        raise ValueError(f"{name}: dilation should be greater than zero, got {dilation}")
    if pad < 0:
        raise ValueError(f"{name}: pad must be non-negative, got padding = {pad}")
    if pad > reach // 2:
        raise ValueError(
            f"{name}: pad should be at most half of the effective kernel size, got padding = {pad} and "
            f"dilation·(kernel_size - 1) + 1 = {reach}"
        )
    room = size + 2 * pad - reach
    windows = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (windows - 1) * stride >= size + pad:
        windows -= 1  # the last window must start inside the input or its left padding
    if size < 1 or windows < 1:
        rounding = "ceil" if ceil_mode else "floor"
        raise ShapeError(
            f"{name}: input's {axis} {size} is too small for kernel_size = {kernel}; the output's {axis} would be "
            f"{rounding}(({size} + 2·{pad} - {dilation}·({kernel} - 1) - 1) / {stride}) + 1 = {windows}"
        )
    return windows


def _geometry(name, input, kernel_size, stride, padding, dilation, ceil_mode):
    """Kernel, stride, padding, dilation and the output's size as pairs."""
    if input.ndim != 4 or input.shape[1] < 1:
        raise ShapeError(f"{name}: input must have the 4 axes (N, C, H, W) with at least one channel, got shape {input.shape}")
    kernel = pair(kernel_size, f"{name}: kernel_size")
    stride = kernel if stride is None else pair(stride, f"{name}: stride")
    padding, dilation = pair(padding, f"{name}: padding"), pair(dilation, f"{name}: dilation")
    size = tuple(
        _extent(name, axis, input.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i], ceil_mode)
        for i, axis in enumerate(("height", "width"))
    )
    return kernel, stride, padding, dilation, size


def max_pool2d(input: Tensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum over windows of each channel. NaN wins; of equal values the first is the one the gradient goes to.

    Args:
        input: (N, C, H, W).
        kernel_size: one integer or two (vertical, horizontal), at most 256 positions in all.
        stride: likewise; None means kernel_size.
        padding: minus infinity on both sides, at most half of the window.
        dilation: step between a window's taps.
        ceil_mode: let the last windows reach past the input.
        return_indices: also return where each maximum is.

    Returns:
        (N, C, P, Q) with P = floor((H + 2·padding - dilation·(R - 1) - 1) / stride) + 1 (ceil in ceil_mode, without windows
        that would start in the right padding), Q likewise; with `return_indices` a pair, the second int64 h·W + w.

    Raises:
        ShapeError: the input is no image, or too small for the window.
        ValueError: stride, padding or dilation make no pooling.
        NotSupported: the window has more than 256 positions.
    """
    geometry = _geometry("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    (R, S), *_ = geometry
    if R * S > MAX_TAPS:
        raise NotSupported(f"max_pool2d: kernel_size {R} x {S} has {R * S} positions; at most {MAX_TAPS} are supported")
    return _MaxPool2d(*geometry, return_indices=return_indices)(as_image(input))


def avg_pool2d(
    input: Tensor, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
) -> Tensor:
    """Mean over windows of each channel.

    Args:
        input: (N, C, H, W).
        kernel_size: one integer or two (vertical, horizontal).
        stride: likewise; None means kernel_size.
        padding: zeros on both sides, at most half of the window.
        ceil_mode: let the last windows reach past the input; what lies beyond the padding never counts.
        count_include_pad: whether padding counts as positions that are averaged over.
        divisor_override: divide every window's sum by this instead.

    Returns:
        (N, C, P, Q), see :func:`max_pool2d`.

    Raises:
        ShapeError: the input is no image, or too small for the window.
        ValueError: stride, padding or divisor make no pooling.
    """
    geometry = _geometry("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode)
    divisor = 0 if divisor_override is None else operator.index(divisor_override)
    if divisor_override is not None and divisor == 0:
        raise ValueError("avg_pool2d: divisor must be not zero, got divisor_override = 0")
    return _AvgPool2d(*geometry, count_include_pad=count_include_pad, divisor=divisor)(as_image(input))
