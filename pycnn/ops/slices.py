"""Slices: cat, split, chunk, narrow, stack and basic indexing.

Along the channels of images, and along leading axes, parts are views: no element moves but those that `cat` gathers and those
that `split` collects in backward, one copy kernel each (see "slices of channels" in ``pycnn/tensor.py``).
"""

from __future__ import annotations

import math
import operator
from itertools import accumulate, pairwise

from ..errors import DTypeError, NotSupported, ShapeError
from ..tensor import Function, Tensor, copy_rows, dense
from .shape import as_image, memory_axis, normalized_dim, reshape


def _views(array, axis: int, bounds) -> list:
    """The parts start … stop of an array along one of its axes."""
    return [array[(slice(None),) * axis + (slice(start, stop),)] for start, stop in bounds]


def _are_slices(shape, axis: int) -> bool:
    """Whether such parts are dense but for a pitch: they are channels, or nothing but axes of one element precedes the axis."""
    return axis == len(shape) - 1 or math.prod(shape[:axis]) == 1


def _copies(function, whole, axis: int, bounds, parts, into_whole: bool, accumulate: bool = False) -> None:
    """Copy `parts` (None: leave it out) into their places start … stop of `whole` along `axis`, or out of them."""
    outer, inner = math.prod(whole.shape[:axis]), math.prod(whole.shape[axis + 1 :])
    rows = whole.reshape(outer, whole.shape[axis] * inner)  # whatever the axis, parts are columns of this matrix
    for (start, stop), part in zip(bounds, parts, strict=True):
        if part is None:
            continue
        if axis < part.ndim - 1:
            part = dense(function.backend, part)
        part, place = part.reshape(outer, (stop - start) * inner), rows[:, start * inner : stop * inner]
        source, target = (part, place) if into_whole else (place, part)
        copy_rows(function.backend, source, target, accumulate)


class _Cat(Function):
    """Arrays one after another along a memory axis. Backward hands out slices of the gradient."""

    def __init__(self, axis: int, count: int):
        self.axis, self.takes_slices = axis, range(count)

    def forward(self, *parts):
        shape = list(parts[0].shape)
        self.bounds = list(pairwise(accumulate((part.shape[self.axis] for part in parts), initial=0)))
        shape[self.axis] = self.bounds[-1][1]
        y = self.empty(shape, parts[0].dtype)
        _copies(self, y, self.axis, self.bounds, parts, into_whole=True)
        return y

    def backward(self, dy):
        wanted = [i for i, needed in enumerate(self.needs) if needed]
        if _are_slices(dy.shape, self.axis):
            views = _views(dy, self.axis, self.bounds)
            for i in wanted:
                self.pass_grad(i, views[i])
            return
        dy = dense(self.backend, dy)
        for i in wanted:
            dx, add = self.grad_buffer(i)
            _copies(self, dy, self.axis, self.bounds[i : i + 1], [dx], into_whole=False, accumulate=add)


class _Slices(Function):
    """Parts start … stop along a memory axis. They do not overlap. Backward collects their gradients in one buffer."""

    takes_slices = (0,)

    def __init__(self, axis: int, bounds):
        self.axis, self.bounds = axis, bounds

    def forward(self, x):
        self.extent = x.shape[self.axis]
        if _are_slices(x.shape, self.axis):
            return tuple(_views(x, self.axis, self.bounds))
        shape = list(x.shape)
        parts = []
        for start, stop in self.bounds:
            shape[self.axis] = stop - start
            parts.append(self.empty(shape, x.dtype))
        _copies(self, dense(self.backend, x), self.axis, self.bounds, parts, into_whole=False)
        return tuple(parts)

    def backward(self, *gradients):
        dx, add = self.grad_buffer(0)
        arrived = sum(stop - start for (start, stop), g in zip(self.bounds, gradients, strict=True) if g is not None)
        if not add and arrived < self.extent:
            self.run("fill", (dx.size, 0.0), dx.dtype, dx)
        _copies(self, dx, self.axis, self.bounds, gradients, into_whole=True, accumulate=add)


def cat(tensors, dim: int = 0) -> Tensor:
    """The `tensors` one after another along axis `dim`, where alone their shapes may differ. Images win: the result is an image
    if one of them is.

    Raises:
        ValueError: there are no Tensors.
        ShapeError: there is no such axis, or the shapes differ elsewhere.
        DTypeError: the Tensors have different types.
    """
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError("cat: expected at least one Tensor, got none")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise DTypeError(f"cat: input {i} is a {type(t).__name__}, must be a pycnn.Tensor")
    first = tensors[0]
    if not first.ndim:
        raise ShapeError("cat: a Tensor of shape () has no axis to join along; use stack")
    dim = normalized_dim("cat", dim, first.ndim)
    for i, t in enumerate(tensors):
        if t.dtype != first.dtype:
            raise DTypeError(f"cat: input {i} is {t.dtype} and input 0 is {first.dtype}; they must be the same")
        if t.ndim != first.ndim or any(a != b for d, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if d != dim):
            raise ShapeError(f"cat: input {i} has shape {t.shape} and input 0 has {first.shape}; only axis {dim} may differ")
    if any(t.layout == "image" for t in tensors):
        tensors = tuple(as_image(t) for t in tensors)
    return _Cat(memory_axis(tensors[0], dim), len(tensors))(*tensors)


concat = cat


def stack(tensors, dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis `dim`.

    Raises:
        ValueError, ShapeError, DTypeError: as :func:`cat` does; the shapes differ.
    """
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError("stack: expected at least one Tensor, got none")
    shape = tensors[0].shape
    dim = normalized_dim("stack", dim, len(shape) + 1)
    for i, t in enumerate(tensors):
        if t.shape != shape:
            raise ShapeError(f"stack: input {i} has shape {t.shape} and input 0 has {shape}; they must be the same")
    return cat([reshape(t, (*shape[:dim], 1, *shape[dim:])) for t in tensors], dim)


def _slices(input: Tensor, dim: int, bounds) -> tuple[Tensor, ...]:
    return _Slices(memory_axis(input, dim), bounds)(input)


def split(tensor: Tensor, split_size_or_sections, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along axis `dim`: all of one size but perhaps the last, or of the sizes listed (`split_size_or_sections`: a number or
    numbers).

    Raises:
        ShapeError: there is no such axis, or the sizes do not add up to its extent.
        ValueError: a size is negative, or 0 for a whole axis that is not empty.
    """
    if not tensor.ndim:
        raise ShapeError("split: a Tensor of shape () has no axis to cut")
    dim = normalized_dim("split", dim, tensor.ndim)
    extent = tensor.shape[dim]
    if hasattr(split_size_or_sections, "__index__"):
        size = operator.index(split_size_or_sections)
        if size < 0 or (size == 0 and extent):
            raise ValueError(f"split: split_size must be positive, got {size} for axis {dim} of extent {extent}")
        sizes = [min(size, extent - start) for start in range(0, extent, size or 1)] or [0]
    else:
        sizes = [operator.index(size) for size in split_size_or_sections]
        if min(sizes, default=0) < 0:
            raise ValueError(f"split: sizes must not be negative, got {sizes}")
        if not sizes or sum(sizes) != extent:
            raise ShapeError(f"split: sizes {sizes} must add up to {extent}, the extent of axis {dim} of shape {tensor.shape}")
    return _slices(tensor, dim, list(pairwise(accumulate(sizes, initial=0))))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of size ceil(extent / chunks) along axis `dim`, the last perhaps smaller.

    Raises:
        ShapeError: there is no such axis.
        ValueError: `chunks` is not positive.
    """
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be at least 1, got {chunks}")
    extent = input.shape[normalized_dim("chunk", dim, input.ndim)] if input.ndim else 0
    return split(input, -(-extent // chunks) if extent else [0] * chunks, dim)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The part start … start + length along axis `dim`; a negative start counts from the end.

    Raises:
        ShapeError: there is no such axis, or it does not contain the part.
    """
    if not input.ndim:
        raise ShapeError("narrow: a Tensor of shape () has no axis to cut")
    dim = normalized_dim("narrow", dim, input.ndim)
    extent = input.shape[dim]
    begin = start + extent if start < 0 else start
    if length < 0 or not 0 <= begin <= extent - length:
        raise ShapeError(f"narrow: start {start} and length {length} do not fit axis {dim} of extent {extent}")
    return input if length == extent else _slices(input, dim, [(begin, begin + length)])[0]


def index(input: Tensor, key) -> Tensor:
    """``input[key]`` for integers, slices of step 1 and an Ellipsis. Leading axes and channels of images are views.

    Raises:
        IndexError: an integer lies outside its axis, or there are more of them than axes.
        NotSupported: anything else is asked for.
    """
    keys = key if isinstance(key, tuple) else (key,)
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    free = input.ndim - len(keys) + len(dots)
    if len(dots) > 1 or free < 0:
        raise IndexError(f"index: {key!r} has too many entries for shape {input.shape}")
    at = dots[0] if dots else len(keys)
    keys = (*keys[:at], *(slice(None),) * free, *keys[at + 1 :])
    shape = []
    for dim, (k, extent) in enumerate(zip(keys, input.shape, strict=True)):
        if isinstance(k, slice):
            start, stop, step = k.indices(extent)
            if step != 1:
                raise NotSupported(f"index: only slices of step 1 are supported, got {k!r} for axis {dim}")
            length = max(stop - start, 0)
            shape.append(length)
        elif hasattr(k, "__index__") and not isinstance(k, bool):
            start, length = operator.index(k), 1
            if not -extent <= start < extent:
                raise IndexError(f"index {start} is out of range for axis {dim} of extent {extent}")
        else:
            raise NotSupported(f"index: only integers, slices and ... are supported, got {k!r} for axis {dim}")
        input = narrow(input, dim, start, length)
    return reshape(input, shape)
