"""Shape: reshape, flatten, transpose, permute, pad, crop, channel_shuffle, layout and type changes."""

from __future__ import annotations

import math
import operator

import numpy as np

from ..backend import bfloat16
from ..errors import DTypeError, NotSupported, ShapeError
from ..tensor import Function, Tensor

MAX_RANK = 6  # axes a strided kernel walks


def dense_strides(shape) -> tuple[int, ...]:
    """The strides, in elements, of a C-ordered array."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def normalized_dim(name: str, dim: int, rank: int) -> int:
    """`dim` counted from the front.

    Raises:
        ShapeError: there is no such axis.
    """
    rank = max(rank, 1)  # as in PyTorch, a scalar has an axis 0
    if not -rank <= operator.index(dim) < rank:
        raise ShapeError(f"{name}: dim {dim} is not between {-rank} and {rank - 1}")
    return dim % rank


def memory_axis(input: Tensor, dim: int) -> int:
    """Where axis `dim` of the logical shape lies in the memory array."""
    return (0, 3, 1, 2)[dim] if input.layout == "image" else dim


def strided_copy(run, x, x_strides, y, y_strides, extents, accumulate=False, x_offset=0, y_offset=0) -> None:
    """y[y_offset + i · y_strides] = x[x_offset + i · x_strides] (or +=) for all i below `extents`; strides and offsets count
    elements of dense arrays.
    """
    pad = MAX_RANK - len(extents)
    if pad < 0:
        raise ShapeError(f"{len(extents)} axes; at most {MAX_RANK} are supported")
    if x.dtype.kind in "iu":  # moved as floats of the same size
        if x.itemsize not in (2, 4, 8):
            raise DTypeError(f"{x.dtype} arrays cannot be transposed; cast them first")
        x, y = (array.view(f"f{array.itemsize}") for array in (x, y))
    walk = ((1,) * pad + tuple(extents), (0,) * pad + tuple(x_strides), (0,) * pad + tuple(y_strides))
    sizes = (x_offset, y_offset, x.size, y.size)
    run("strided_copy", (*walk[0], *walk[1], *walk[2], *sizes, int(accumulate)), x.dtype, x, y)


def permuted_copy(run, x, axes, y, accumulate=False) -> None:
    """y = x with axis axes[d] in the place of axis d (or y += ...); y is dense in its new order."""
    strides = dense_strides(x.shape)
    extents = [x.shape[a] for a in axes]
    strided_copy(run, x, [strides[a] for a in axes], y, dense_strides(extents), extents, accumulate)


class _Reshape(Function):
    layout = "plain"

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        self.input_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, dy):
        self.pass_grad(0, dy.reshape(self.input_shape))


class _Permute(Function):
    """Axes of the memory array in a new order; `layout` says what the result is."""

    def __init__(self, axes, layout="plain"):
        self.axes, self.layout = tuple(axes), layout

    def forward(self, x):
        extents = [x.shape[a] for a in self.axes]
        moved = [a for a in self.axes if x.shape[a] != 1]
        if moved == sorted(moved):  # only axes of one element change places
            return x.reshape(extents)
        y = self.empty(extents, x.dtype)
        permuted_copy(self.run, x, self.axes, y)
        return y

    def backward(self, dy):
        inverse = sorted(range(dy.ndim), key=self.axes.__getitem__)
        moved = [a for a in self.axes if dy.shape[inverse[a]] != 1]
        if moved == sorted(moved):
            return self.pass_grad(0, dy.reshape([dy.shape[a] for a in inverse]))
        dx, accumulate = self.grad_buffer(0)
        permuted_copy(self.run, dy, inverse, dx, accumulate)


def as_plain(x: Tensor) -> Tensor:
    """`x` in C order of its logical shape: an image's (N, H, W, C) memory becomes (N, C, H, W). Free if C = 1 or H = W = 1."""
    return _Permute((0, 3, 1, 2))(x) if x.layout == "image" else x


def as_image(x: Tensor) -> Tensor:
    """`x` of shape (N, C, H, W) in image layout, (N, H, W, C) in memory. Free if C = 1 or H = W = 1.

    Raises:
        ShapeError: x has not 4 axes.
    """
    if x.layout == "image":
        return x
    if x.ndim != 4:
        raise ShapeError(f"expected an image of shape (N, C, H, W), got shape {x.shape}")
    return _Permute((0, 2, 3, 1), "image")(x)


def reshape(input: Tensor, shape) -> Tensor:
    """The same elements, in C order of the logical shape, as an array of `shape`; one extent may be -1.

    Raises:
        ShapeError: the numbers of elements differ, or more than one extent is -1.
        DTypeError: an image of uint8, which would have to be reordered.
    """
    shape = tuple(operator.index(extent) for extent in (shape if isinstance(shape, tuple | list) else (shape,)))
    known = math.prod(extent for extent in shape if extent != -1)
    if shape.count(-1) == 1 and known and input.size % known == 0:
        shape = tuple(input.size // known if extent == -1 else extent for extent in shape)
    if any(extent < 0 for extent in shape) or math.prod(shape) != input.size:
        raise ShapeError(f"reshape: shape {shape} does not fit the {input.size} elements of shape {input.shape}")
    return input if shape == input.shape else _Reshape(shape)(as_plain(input))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes start_dim … end_dim into one, in C, H, W order for images.

    Raises:
        ShapeError: there are no such axes, or start_dim comes after end_dim.
        DTypeError: an image of uint8, which would have to be reordered.
    """
    start, end = (normalized_dim("flatten", dim, input.ndim) for dim in (start_dim, end_dim))
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    shape = input.shape
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def permute(input: Tensor, dims) -> Tensor:
    """Axes in the order `dims`: output axis d is input axis dims[d]. The result is a copy.

    Raises:
        ShapeError: `dims` does not name every axis once.
        DTypeError: uint8, which is not reordered.
    """
    dims = tuple(normalized_dim("permute", dim, input.ndim) for dim in dims)
    if sorted(dims) != list(range(input.ndim)):
        raise ShapeError(f"permute: dims {dims} must name each of the {input.ndim} axes of shape {input.shape} once")
    if dims == tuple(range(input.ndim)):
        return input
    return _Permute([memory_axis(input, d) for d in dims])(input)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange the axes `dim0` and `dim1`. The result is a copy.

    Raises:
        ShapeError: there are no such axes.
        DTypeError: uint8, which is not reordered.
    """
    a, b = (normalized_dim("transpose", dim, input.ndim) for dim in (dim0, dim1))
    dims = list(range(input.ndim))
    if dims:
        dims[a], dims[b] = b, a
    return permute(input, dims)


class _Pad(Function):
    """An array of `shape` in which x[0, 0, …] lies at `origin` (memory axes), `value` where x does not reach. x may reach out."""

    def __init__(self, origin, shape, value):
        self.origin, self.shape, self.value = origin, shape, value

    def copy_common(self, x, y, backward=False, accumulate=False):
        """Copy the elements that x and y have in common, from x to y or, in backward, from y to x."""
        starts = [(max(-at, 0), max(at, 0)) for at in self.origin]
        extents = [min(a - i, b - j) for a, b, (i, j) in zip(x.shape, y.shape, starts, strict=True)]
        if min(extents, default=1) <= 0:
            return
        strides = dense_strides(x.shape), dense_strides(y.shape)
        at = [sum(stride * start[side] for stride, start in zip(strides[side], starts, strict=True)) for side in range(2)]
        (x, x_strides, x_offset), (y, y_strides, y_offset) = sides = list(zip((x, y), strides, at, strict=True))
        if backward:
            (x, x_strides, x_offset), (y, y_strides, y_offset) = reversed(sides)
        strided_copy(self.run, x, x_strides, y, y_strides, extents, accumulate, x_offset, y_offset)

    def forward(self, x):
        self.input_shape = x.shape
        if x.dtype.kind in "iu":
            y = self.backend.to_device(np.full(self.shape, self.value, x.dtype))
        else:
            y = self.empty(self.shape, x.dtype)
            if any(at > 0 or at + a < b for at, a, b in zip(self.origin, x.shape, self.shape, strict=True)):
                self.run("fill", (y.size, float(self.value)), y.dtype, y)
        self.copy_common(x, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        if not accumulate and any(at < 0 or at + a > b for at, a, b in zip(self.origin, dx.shape, dy.shape, strict=True)):
            self.run("fill", (dx.size, 0.0), dx.dtype, dx)
        self.copy_common(dx, dy, backward=True, accumulate=accumulate)


def pad(input: Tensor, pad, mode: str = "constant", value=None) -> Tensor:
    """Put `value` (0) around a Tensor; negative numbers crop.

    Args:
        input: any shape, at most 6 axes.
        pad: how many before and after along the last axis, then along the one before it, and so on.
        mode: "constant".

    Raises:
        ValueError: `pad` is no list of pairs of integers.
        ShapeError: there are more pairs than axes, or nothing would be left of an axis.
        NotSupported: another mode.
        DTypeError: uint8, which is not copied in parts.
    """
    try:
        numbers = [operator.index(number) for number in pad]
    except TypeError:
        raise ValueError(f"pad: pad must be pairs of integers (before, after), got {pad!r}") from None
    if mode != "constant":
        raise NotSupported(f"pad: mode {mode!r} is not supported, only 'constant'")
    if len(numbers) % 2:
        raise ValueError(f"pad: pad must be pairs of numbers (before, after), got {len(numbers)} numbers {numbers}")
    if len(numbers) > 2 * input.ndim:
        raise ShapeError(f"pad: {len(numbers) // 2} pairs of numbers are too many for shape {input.shape}")
    pairs = [(0, 0)] * (input.ndim - len(numbers) // 2) + [*zip(numbers[::2], numbers[1::2], strict=True)][::-1]
    shape = [extent + before + after for extent, (before, after) in zip(input.shape, pairs, strict=True)]
    if min(shape, default=0) < 0:
        raise ShapeError(f"pad: {numbers} leaves shape {tuple(shape)} of shape {input.shape}; no extent may be negative")
    if not any(numbers):
        return input
    logical = (0, 2, 3, 1) if input.layout == "image" else range(input.ndim)  # axis at each place in memory
    return _Pad([pairs[d][0] for d in logical], [shape[d] for d in logical], 0 if value is None else value)(input)


def crop(input: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """The rectangle height × width of images whose upper left corner is at (top, left); zeros where it leaves them.

    Raises:
        ShapeError: the input has fewer than 2 axes, or the rectangle is negative.
        DTypeError, ValueError, NotSupported: as :func:`pad` does.
    """
    if input.ndim < 2 or height < 0 or width < 0:
        raise ShapeError(f"crop: a rectangle of {height} x {width} cannot be taken from shape {input.shape}")
    H, W = input.shape[-2:]
    return pad(input, (-left, left + width - W, -top, top + height - H))


def center_crop(input: Tensor, output_size) -> Tensor:
    """The middle of images as torchvision takes it; zeros around an image that is smaller.

    Args:
        input: (..., H, W).
        output_size: one number or two (height, width).

    Raises:
        ShapeError: as :func:`crop` does.
    """
    size = (output_size, output_size) if hasattr(output_size, "__index__") else tuple(output_size)
    height, width = (operator.index(number) for number in size)
    # Missing rows go half before, rounded down; surplus ones are cut half before, rounded to even.
    top, left = (
        -((wanted - have) // 2) if wanted > have else round((have - wanted) / 2)
        for have, wanted in zip(input.shape[-2:], (height, width), strict=True)
    )
    return crop(input, top, left, height, width)


class _ChannelShuffle(Function):
    layout = "image"

    def __init__(self, groups):
        self.groups = groups

    def forward(self, x):
        y = self.empty(x.shape, x.dtype)
        self.exchange(x, self.groups, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        self.exchange(dy, dy.shape[3] // self.groups, dx, accumulate)

    def exchange(self, x, groups, y, accumulate=False):
        """Channel g · C/groups + i of x becomes channel i · groups + g of y, or is added to it."""
        *pixels, channels = x.shape
        permuted_copy(self.run, x.reshape(math.prod(pixels), groups, channels // groups), (0, 2, 1), y, accumulate)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels read as a matrix groups × C/groups and transposed (ShuffleNet, Zhang et al. 2017, arxiv.org/abs/1707.01083).

    Args:
        input: (N, C, H, W).
        groups: divides C.

    Raises:
        ShapeError: the input is no image, or its channels are no multiple of `groups`.
        ValueError: `groups` is not positive.
        DTypeError: uint8, which is not reordered.
    """
    if groups < 1:
        raise ValueError(f"channel_shuffle: groups must be at least 1, got {groups}")
    if input.ndim != 4 or input.shape[1] % groups:
        raise ShapeError(f"channel_shuffle: input must be (N, C, H, W) with C a multiple of groups = {groups}, got {input.shape}")
    return _ChannelShuffle(groups)(as_image(input))


_CODES = ("float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8")  # kernels/common/types.h


def cast_array(backend, x, dtype):
    """A backend array converted to a floating-point type, rounded to nearest even (itself if it has it already)."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    y = backend.empty(x.shape, dtype)
    backend.run("cast", (x.size, _CODES.index(x.dtype.name)), dtype, x, y)
    return y


class _Cast(Function):
    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, x):
        self.input_dtype = x.dtype
        return cast_array(self.backend, x, self.dtype)

    def backward(self, dy):
        self.pass_grad(0, cast_array(self.backend, dy, self.input_dtype))


def cast(input: Tensor, dtype) -> Tensor:
    """A Tensor in the floating-point type `dtype` ("float32", "float64", "float16", "bfloat16"), rounded to nearest even.

    Raises:
        DTypeError: the type is not a floating-point type pycnn stores.
    """
    try:
        target = bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"cast: there is no type {dtype!r}") from error
    if target.name not in ("float32", "float64", "float16", "bfloat16"):
        raise DTypeError(f"cast: {target} is not one of float32, float64, float16, bfloat16")
    return input if input.dtype == target else _Cast(target)(input)
