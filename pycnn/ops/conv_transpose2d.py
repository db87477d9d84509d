"""2-D transposed convolution: backward-data of a convolution as forward pass, so its kernels are conv2d's."""

from __future__ import annotations

from ..errors import ShapeError
from ..tensor import Function, Tensor, dense
from .conv2d import check_convolution, pair
from .gemm import write_sums
from .shape import as_image


class _ConvTranspose2d(Function):
    """The convolution that is transposed leads from y (N, K, P, Q) to x (N, C, H, W); its filters are (C, K / groups, R, S).

    So y stands for its input, x for its output, and weight lies in memory as its filters do.
    """

    layout = "image"
    takes_slices = (0,)

    def __init__(self, stride, padding, dilation, groups, size):
        self.geometry = (*stride, *padding, *dilation, groups)
        self.size = size  # P, Q

    def problem(self, x_shape, weight_shape, accumulate):
        (N, H, W, C), (_, R, S, width) = x_shape, weight_shape
        return (N, *self.size, width * self.geometry[-1], C, R, S, H, W, *self.geometry, int(accumulate))

    def forward(self, x, weight, bias):
        problem = self.problem(x.shape, weight.shape, False)
        y = self.empty(problem[:4], x.dtype)
        self.run("conv2d_backward_data", problem, x.dtype, x, weight, bias, y)
        self.shapes = x.shape, weight.shape
        self.save(x if self.needs[1] else None, weight if self.needs[0] else None)
        return y

    def backward(self, dy):
        x, weight = self.saved
        if self.needs[0]:
            dx, accumulate = self.grad_buffer(0)
            self.run("conv2d_forward", self.problem(*self.shapes, accumulate), dy.dtype, dy, weight, None, dx)
        if self.needs[1]:
            write_sums(
                self,
                1,
                lambda dweight, add: self.run(
                    "conv2d_backward_weight", self.problem(*self.shapes, add), dy.dtype, x, dy, dweight
                ),
            )
        if self.needs[2]:
            dy = dense(self.backend, dy)
            channels = dy.shape[3]
            rows = dy.size // channels
            write_sums(
                self,
                2,
                lambda dbias, add: self.run("bias_backward", (rows, channels, add), dy.dtype, dy.reshape(rows, channels), dbias),
            )


def _check(x, weight, bias, stride, padding, output_padding, dilation, groups):
    for name, axes, tensor in (("input", "(N, C, H, W)", x), ("weight", "(C, K / groups, R, S)", weight)):
        if tensor.ndim != 4:
            raise ShapeError(f"conv_transpose2d: {name} must have the 4 axes {axes}, got shape {tensor.shape}")
    check_convolution("conv_transpose2d", x, weight, bias, stride, padding, dilation, groups)
    if min(output_padding) < 0:
        raise ValueError(f"conv_transpose2d: negative output_padding is not supported, got {output_padding}")
    if any(extra >= max(s, d) for extra, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ValueError(
            f"conv_transpose2d: output padding must be smaller than either stride or dilation, got output_padding "
            f"{output_padding}, stride {stride} and dilation {dilation}"
        )
    in_channels, width = weight.shape[:2]
    if min(weight.shape) < 1 or in_channels % groups:
        raise ShapeError(
            f"conv_transpose2d: weight of shape {weight.shape} must not be empty, and groups = {groups} must divide its "
            f"{in_channels} input channels"
        )
    if x.shape[1] != in_channels:
        raise ShapeError(
            f"conv_transpose2d: input of shape {x.shape} has {x.shape[1]} channels; weight of shape {weight.shape} takes "
            f"{in_channels}"
        )
    if min(x.shape[2:]) < 1:
        raise ShapeError(f"conv_transpose2d: input of shape {x.shape} has no pixels; only an empty batch is supported")
    if bias is not None and bias.shape != (width * groups,):
        raise ShapeError(f"conv_transpose2d: bias has shape {bias.shape}, must be ({width * groups},)")


def _output_extent(axis, size, kernel, stride, padding, extra, dilation):
    extent = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1
    if not 1 <= extent < 1 << 30:
        raise ShapeError(
            f"conv_transpose2d: the output's {axis} would be (input - 1)·stride - 2·padding + dilation·(kernel - 1) + "
            f"output_padding + 1 = ({size} - 1)·{stride} - 2·{padding} + {dilation}·({kernel} - 1) + {extra} + 1 = {extent}; "
            f"it must be at least 1 and below 2^30"
        )
    return extent


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    """2-D transposed convolution: each pixel of the input adds its multiple of the filter to the output (Zeiler et al. 2010,
    "Deconvolutional networks"; Dumoulin and Visin 2016, arxiv.org/abs/1603.07285, chapter 4).

    It is the gradient of :func:`conv2d` by its input, with the same weight, stride, padding, dilation and groups.

    Args:
        input: (N, C, H, W).
        weight: (C, K / groups, R, S).
        bias: (K,) or None.
        stride: pixels of the output from one input pixel's filter to the next; one integer or two (vertical, horizontal).
        padding: likewise, pixels cut off the output on both sides.
        output_padding: likewise, pixels added to the output at the bottom and right; fewer than the stride or the dilation.
        groups: C and K are cut into this many independent transposed convolutions.
        dilation: pixels of the output from one tap of the filter to the next; one integer or two.

    Returns:
        (N, K, P, Q) with P = (H - 1)·stride - 2·padding + dilation·(R - 1) + output_padding + 1, Q likewise.

    Raises:
        ShapeError: the shapes do not fit together; the message shows the numbers.
        DTypeError: the arrays have different types.
        ValueError: stride, padding, output_padding, dilation or groups make no transposed convolution.
    """
    pairs = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    stride, padding, extra, dilation = (pair(value, f"conv_transpose2d: {name}") for name, value in pairs.items())
    _check(input, weight, bias, stride, padding, extra, dilation, groups)
    size = tuple(
        _output_extent(axis, input.shape[2 + i], weight.shape[2 + i], stride[i], padding[i], extra[i], dilation[i])
        for i, axis in enumerate(("height", "width"))
    )
    return _ConvTranspose2d(stride, padding, dilation, groups, size)(as_image(input), as_image(weight), bias)
