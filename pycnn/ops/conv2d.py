"""2-D convolution."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from ..errors import DTypeError, ShapeError
from ..tensor import Function, Tensor, dense
from .gemm import write_sums
from .shape import as_image


def pair(value, name: str) -> tuple[int, int]:
    """One integer or two, as two.

    Raises:
        ValueError: it is neither.
    """
    try:
        numbers = (value, value) if hasattr(value, "__index__") else tuple(value)
        first, second = (operator.index(number) for number in numbers)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be one integer or two, got {value!r}") from None
    return first, second


class _Conv2d(Function):
    layout = "image"
    takes_slices: Sequence[int] = (0,)

    def __init__(self, stride, padding, dilation, groups, size):
        self.geometry = (*stride, *padding, *dilation, groups)
        self.size = size  # P, Q

    def problem(self, x_shape, weight_shape, accumulate):
        return (*x_shape, *weight_shape[:3], *self.size, *self.geometry, int(accumulate))

    def forward(self, x, weight, bias):
        y = self.empty((x.shape[0], *self.size, weight.shape[0]), x.dtype)
        self.run("conv2d_forward", self.problem(x.shape, weight.shape, False), x.dtype, x, weight, bias, y)
        self.shapes = x.shape, weight.shape
        self.save(x if self.needs[1] else None, weight if self.needs[0] else None)
        return y

    def backward(self, dy):
        x, weight = self.saved
        if self.needs[0]:
            dx, accumulate = self.grad_buffer(0)
            self.run("conv2d_backward_data", self.problem(*self.shapes, accumulate), dy.dtype, dy, weight, None, dx)
        self.sum_gradients(dy, x)

    def sum_gradients(self, dy, x):
        """The gradients of weight and bias."""
        if self.needs[1]:
            write_sums(
                self,
                1,
                lambda dweight, add: self.run(
                    "conv2d_backward_weight", self.problem(*self.shapes, add), dy.dtype, dy, x, dweight
                ),
            )
        if self.needs[2]:
            dy = dense(self.backend, dy)
            channels = dy.shape[3]
            rows = dy.size // channels if channels else 0
            write_sums(
                self,
                2,
                lambda dbias, add: self.run("bias_backward", (rows, channels, add), dy.dtype, dy.reshape(rows, channels), dbias),
            )


def check_convolution(op, x, weight, bias, stride, padding, dilation, groups):
    """Refuse what is no convolution, transposed or not, whatever the channels are."""
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise DTypeError(f"{op}: {name} is {tensor.dtype} and input is {x.dtype}; they must be the same")
    if groups < 1:
        raise ValueError(f"{op}: non-positive groups is not supported, got {groups}")
    if min(stride) < 1:
        raise ValueError(f"{op}: non-positive stride is not supported, got {stride}")
    if min(dilation) < 1:
        raise ValueError(f"{op}: dilation should be greater than zero, got {dilation}")
    if min(padding) < 0:
        raise ValueError(f"{op}: negative padding is not supported, got {padding}")
    if max(*stride, *padding, *dilation) >= 1 << 30:
        raise ValueError(f"{op}: stride {stride}, padding {padding} and dilation {dilation} must be below 2^30")


def _check(x, weight, bias, stride, padding, dilation, groups):
    check_convolution("conv2d", x, weight, bias, stride, padding, dilation, groups)
    out_channels, in_channels = weight.shape[:2]
    if out_channels % groups or out_channels < groups:
        raise ShapeError(f"conv2d: weight has {out_channels} output channels, which groups = {groups} must divide")
    if x.shape[1] != in_channels * groups:
        raise ShapeError(
            f"conv2d: input of shape {x.shape} has {x.shape[1]} channels; weight of shape {weight.shape} with groups = {groups} "
            f"takes {in_channels * groups}"
        )
    if bias is not None and bias.shape != (out_channels,):
        raise ShapeError(f"conv2d: bias has shape {bias.shape}, must be ({out_channels},)")


def _output_extent(axis, size, before, after, kernel, stride, dilation):
    padded, reach = size + before + after, dilation * (kernel - 1) + 1
    if kernel < 1 or padded < reach:
        raise ShapeError(
            f"conv2d: {axis} padded to {size} + {before + after} = {padded} is smaller than the kernel, "
            f"dilation·(kernel - 1) + 1 = {dilation}·({kernel} - 1) + 1 = {reach}; "
            f"the output's {axis} would be floor(({padded} - {reach}) / {stride}) + 1"
        )
    return (padded - reach) // stride + 1


def geometry(input, weight, bias, stride, padding, dilation, groups):
    """What :class:`_Conv2d` is made of: stride, zeros before the image, dilation, groups and the output's size. Refuses what is
    no convolution.
    """
    for name, axes, tensor in (("input", "(N, C, H, W)", input), ("weight", "(K, C / groups, R, S)", weight)):
        if tensor.ndim != 4:
            raise ShapeError(f"conv2d: {name} must have the 4 axes {axes}, got shape {tensor.shape}")
    stride, dilation = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"conv2d: invalid padding string {padding!r}; it must be 'same', 'valid' or numbers")
        if padding == "same" and stride != (1, 1):
            raise ValueError(f"conv2d: padding='same' is not supported for strided convolutions, stride is {stride}")
        whole = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, weight.shape[2:4], strict=True)]
        before = tuple(total // 2 for total in whole)
        after = tuple(total - total // 2 for total in whole)
    else:
        before = after = pair(padding, "conv2d: padding")
    _check(input, weight, bias, stride, before, dilation, groups)
    size = tuple(
        _output_extent(axis, input.shape[2 + i], before[i], after[i], weight.shape[2 + i], stride[i], dilation[i])
        for i, axis in enumerate(("height", "width"))
    )
    return stride, before, dilation, groups, size


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """2-D convolution (cross-correlation).

    Args:
        input: (N, C, H, W).
        weight: (K, C / groups, R, S).
        bias: (K,) or None.
        stride, dilation: one integer or two (vertical, horizontal).
        padding: likewise, zeros on both sides; or 'valid' (none) or 'same' (P = H, Q = W; stride 1 only; an odd zero goes
            after the image).
        groups: C and K are cut into this many independent convolutions.

    Returns:
        (N, K, P, Q) with P = floor((H + 2·padding - dilation·(R - 1) - 1) / stride) + 1, Q likewise.

    Raises:
        ShapeError: the shapes do not fit together; the message shows the numbers.
        DTypeError: the arrays have different types.
        ValueError: stride, dilation, groups or padding make no convolution.
    """
    made_of = geometry(input, weight, bias, stride, padding, dilation, groups)
    return _Conv2d(*made_of)(as_image(input), as_image(weight), bias)
