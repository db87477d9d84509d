"""The arithmetic of ops: output size, multiply-adds, FLOPs, im2col's columns and the window each output looks through.

:func:`parts` takes a Function that has run and says what it did, in one :class:`Part` per step (a fused op has several).

Conventions. A multiply-add is one product of a convolution or matrix product and its addition. FLOPs count both, one addition
per bias, and of everything else what the definition says per output: one for an activation, an addition, a comparison of a
maximum; two for batch norm with fixed statistics (scale, offset); one per averaged position; for local response normalization
2·size + 3 (squares, sums; factor, power, division); three for softmax. Reordering costs none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ..ops.activation import _LeakyReLU
from ..ops.adaptive_pool2d import _AdaptiveAvgPool2d, _AdaptiveMaxPool2d, _MaxUnpool2d
from ..ops.conv2d import _Conv2d
from ..ops.conv_bn import _BatchNormConv, _ConvBatchNorm
from ..ops.conv_transpose2d import _ConvTranspose2d
from ..ops.gemm import _Linear, _Matmul
from ..ops.local_response_norm import _LocalResponseNorm
from ..ops.normalization import _BatchNorm
from ..ops.pool2d import _AvgPool2d, _Pool2d
from ..ops.reduce import _Max, _MaxOfAll, _Sum
from ..ops.resample import _Resample
from ..ops.shape import _Cast, _ChannelShuffle, _Pad, _Permute, _Reshape
from ..ops.slices import _Cat, _Slices
from ..ops.softmax import _Softmax
from ..tensor import Function, Tensor


@dataclass(frozen=True)
class Window:
    """What one output sees of the input.

    Attributes:
        reach: how many positions it spans, vertically and horizontally; None: all there are.
        stride: input positions from one output to the next (below 1 where images grow); None: there is no next one.
    """

    reach: tuple[int, int] | None = (1, 1)
    stride: tuple[Fraction, Fraction] | None = (Fraction(1), Fraction(1))


@dataclass(frozen=True)
class Part:
    """One step of an op.

    Attributes:
        op: its public name in :mod:`pycnn.ops`.
        output: logical shape of its result.
        size: the output's size as a formula with its numbers, "" if it is the input's.
        macs: multiply-adds.
        flops: floating-point operations.
        columns: elements of im2col's matrix for one image, 0 where the op needs none.
        window: what an output sees of the input.
        stored: elements of the array it makes while training; 0 for a view, and for steps that a fused op does in passing.
        in_place: whether the usual count of activations takes it as done in place (element by element, batch norm).
        inputs: which inputs of the Function hold this step's parameters.
    """

    op: str
    output: tuple[int, ...]
    size: str = ""
    macs: int = 0
    flops: int = 0
    columns: int = 0
    window: Window = Window()
    stored: int = 0
    in_place: bool = False
    inputs: tuple[int, ...] = ()


def public_name(function: Function) -> str:
    """What an op is called in :mod:`pycnn.ops`: "max_pool2d" for _MaxPool2d."""
    name = type(function).__name__.strip("_").replace("ReLU", "Relu")
    return NAMES.get(type(function)) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def parts(function: Function, inputs: tuple[Tensor | None, ...], outputs: list[Tensor]) -> list[Part]:
    """What an op did, step by step; an op that this module does not know counts one FLOP per output."""
    for kind in type(function).__mro__:
        if kind in RULES:
            return RULES[kind](function, inputs, outputs[0])
    return _map(function, inputs, outputs[0])


# ---- formulas ---------------------------------------------------------------------------------------------------------


def window_formula(size: int, kernel: int, stride: int, before: int, after: int, dilation: int, result: int) -> str:
    """(W - F + 2P)/S + 1 with numbers; brackets say which way an inexact quotient is rounded.

    Args:
        size, kernel, stride, dilation: of one axis.
        before, after: padding on the two sides.
        result: the number of windows.
    """
    reach = f"{kernel}" if dilation == 1 else f"({dilation}·({kernel} - 1) + 1)"
    zeros = f"2·{before}" if before == after else f"({before} + {after})"
    room = size - dilation * (kernel - 1) - 1 + before + after
    quotient = f"({size} - {reach} + {zeros})/{stride}"
    if room % stride:
        quotient = f"⌈{quotient}⌉" if result > room // stride + 1 else f"⌊{quotient}⌋"
    return f"{quotient} + 1 = {result}"


def _both(height: str, width: str) -> str:
    """One formula if it is the same for height and width, else both."""
    return height if height == width else f"{height}; {width}"


def product_formula(shapes: list[tuple[int, ...]]) -> str:
    """The number of parameters: the products of their extents, equal ones together ("96·3·11·11 + 96", "2·64")."""
    terms = ["·".join(map(str, extents)) or "1" for extents in shapes]
    counts = {term: terms.count(term) for term in terms}
    return " + ".join(term if count == 1 else f"{count}·{term}" for term, count in counts.items())


# ---- rules ------------------------------------------------------------------------------------------------------------


def _map(function, inputs, y) -> list[Part]:
    return [Part(public_name(function), y.shape, flops=y.size, stored=y.size, in_place=True)]


def _conv(function, x_shape, weight, bias, y, stored) -> Part:
    K, per_group, R, S = weight.shape
    stride, padding, dilation = (function.geometry[i : i + 2] for i in (0, 2, 4))
    formulas = []
    for axis in range(2):
        size, kernel, step, before, spread, result = (
            x_shape[2 + axis], weight.shape[2 + axis], stride[axis], padding[axis], dilation[axis], y.shape[2 + axis],
        )  # fmt: skip
        missing = (result - 1) * step + spread * (kernel - 1) + 1 - size - before  # 'same' puts an odd zero after the image
        formulas.append(window_formula(size, kernel, step, before, max(before, missing), spread, result))
    macs = y.size * per_group * R * S
    pointwise = (R, S) == (1, 1) == tuple(stride) and tuple(padding) == (0, 0)
    reach = dilation[0] * (R - 1) + 1, dilation[1] * (S - 1) + 1
    return Part(
        "conv2d", y.shape, _both(*formulas), macs, 2 * macs + (y.size if bias is not None else 0),
        columns=0 if pointwise else x_shape[1] * R * S * math.prod(y.shape[2:]),
        window=Window(reach, (Fraction(stride[0]), Fraction(stride[1]))), stored=stored, inputs=(1, 2),
    )  # fmt: skip


def _conv2d(function, inputs, y):
    x, weight, bias = inputs
    return [_conv(function, x.shape, weight, bias, y, y.size)]


def _conv_bn(function, inputs, y):
    x, weight, bias, _, _, add = inputs
    steps = [_conv(function, x.shape, weight, bias, y, y.size)]
    steps.append(Part("batch_norm", y.shape, flops=2 * y.size, in_place=True, inputs=(3, 4)))
    if add is not None:
        steps.append(Part("add", y.shape, flops=y.size, in_place=True))
    if function.relu:
        steps.append(Part("relu", y.shape, flops=y.size, in_place=True))
    return _one_array(steps, 1, y.size)


def _bn_conv(function, inputs, y):
    x, weight, bias, _, _ = inputs
    steps = [Part("batch_norm", x.shape, flops=2 * x.size, in_place=True, inputs=(3, 4))]
    if function.relu:
        steps.append(Part("relu", x.shape, flops=x.size, in_place=True))
    return [*_one_array(steps, 0, x.size), _conv(function, x.shape, weight, bias, y, y.size)]


def _one_array(steps, first, size):
    """Steps from `first` on make one array together, which the last is said to store."""
    *rest, last = steps
    return [*rest, Part(**vars(last) | {"stored": size})] if len(steps) > first else steps


def _conv_transpose2d(function, inputs, y):
    x, weight, bias = inputs
    _, per_group, R, S = weight.shape
    stride, padding, dilation = (function.geometry[i : i + 2] for i in (0, 2, 4))
    formulas, reach = [], []
    for axis, kernel in enumerate((R, S)):
        size, s, p, d, result = x.shape[2 + axis], stride[axis], padding[axis], dilation[axis], y.shape[2 + axis]
        extra = result - ((size - 1) * s - 2 * p + d * (kernel - 1) + 1)
        spread = f"{kernel}" if d == 1 else f"({d}·({kernel} - 1) + 1)"
        formulas.append(f"({size} - 1)·{s} - 2·{p} + {spread}{f' + {extra}' if extra else ''} = {result}")
        reach.append(-(-(d * (kernel - 1) + 1) // s))
    macs = x.size * per_group * R * S
    window = Window((reach[0], reach[1]), (Fraction(1, stride[0]), Fraction(1, stride[1])))
    flops = 2 * macs + (y.size if bias is not None else 0)
    return [Part("conv_transpose2d", y.shape, _both(*formulas), macs, flops, window=window, stored=y.size, inputs=(1, 2))]


def _pool2d(function, inputs, y):
    x = inputs[0]
    stride, padding, dilation = (function.geometry[i : i + 2] for i in (0, 2, 4))
    formulas = [
        window_formula(
            x.shape[2 + i], function.kernel[i], stride[i], padding[i], padding[i], dilation[i], y.shape[2 + i]
        )
        for i in range(2)
    ]  # fmt: skip
    taps = math.prod(function.kernel)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, function.kernel, strict=True))
    average = isinstance(function, _AvgPool2d)
    return [
        Part(
            public_name(function), y.shape, _both(*formulas), flops=y.size * (taps if average else taps - 1),
            window=Window(reach, tuple(map(Fraction, stride))), stored=y.size,
        )
    ]  # fmt: skip


def _adaptive(function, inputs, y):
    x = inputs[0]
    sizes = list(zip(x.shape[2:], y.shape[2:], strict=True))
    reach = tuple(max(-(-(p + 1) * size // result) - p * size // result for p in range(result)) for size, result in sizes)
    down, across = (Fraction(size, result) for size, result in sizes)
    stride = None if y.shape[2:] == (1, 1) else (down, across)
    formulas = [f"{result} window{'s' * (result > 1)} over {size}" for size, result in sizes]
    window = Window(reach, stride)
    return [Part(public_name(function), y.shape, _both(*formulas), flops=y.size * math.prod(reach), window=window, stored=y.size)]


def _unpool(function, inputs, y):
    x = inputs[0]
    stride = tuple(Fraction(small, large) for small, large in zip(x.shape[2:], y.shape[2:], strict=True))
    return [Part("max_unpool2d", y.shape, "where max_pool2d found it", window=Window((1, 1), stride), stored=y.size)]


def _resample(function, inputs, y):
    x = inputs[0]
    nearest = function.modes[0]
    stride = tuple(Fraction(small, large) for small, large in zip(x.shape[2:], y.shape[2:], strict=True))
    formulas = [f"{result / size:g}·{size} = {result}" for size, result in zip(x.shape[2:], y.shape[2:], strict=True)]
    window = Window((1, 1) if nearest else (2, 2), stride)
    return [Part("interpolate", y.shape, _both(*formulas), flops=0 if nearest else 7 * y.size, window=window, stored=y.size)]


def _linear(function, inputs, y):
    x, weight, bias = inputs
    macs = y.size * weight.shape[1]
    flops = 2 * macs + (y.size if bias is not None else 0)
    return [Part("linear", y.shape, f"{weight.shape[1]} → {weight.shape[0]}", macs, flops, stored=y.size, inputs=(1, 2))]


def _matmul(function, inputs, y):
    macs = y.size * inputs[0].shape[1]
    return [Part("matmul", y.shape, macs=macs, flops=2 * macs, stored=y.size)]


def _batch_norm(function, inputs, y):
    return [Part("batch_norm", y.shape, flops=2 * y.size, stored=y.size, in_place=True, inputs=(1, 2))]


def _lrn(function, inputs, y):
    return [Part("local_response_norm", y.shape, flops=y.size * (2 * function.size + 3), stored=y.size)]


def _softmax(function, inputs, y):
    return [Part("log_softmax" if function.log else "softmax", y.shape, flops=3 * y.size, stored=y.size)]


def _reduction(function, inputs, y):
    """Over rows and columns it sees the whole image."""
    x = inputs[0]
    name = "mean" if getattr(function, "mean", False) else public_name(function)
    image_axes = (1, 2) if x.layout == "image" else (2, 3)
    whole = x.ndim == 4 and set(image_axes) <= {axis % 4 for axis in getattr(function, "axes", range(4))}
    size = f"{name} of {'·'.join(map(str, x.shape[2:]))}" if whole else ""
    return [Part(name, y.shape, size, flops=x.size, window=Window(None, None) if whole else Window(), stored=y.size)]


def _cat(function, inputs, y):
    axis = next((d for d in range(y.ndim) if inputs[0].shape[d] != y.shape[d]), None)
    size = "" if axis is None else " + ".join(str(t.shape[axis]) for t in inputs) + f" = {y.shape[axis]}"
    return [Part("cat", y.shape, size, stored=y.size)]


def _split(function, inputs, y):
    view = y.backend.xp.may_share_memory(inputs[0].data, y.data)
    size = " + ".join(str(stop - start) for start, stop in function.bounds)
    return [Part("split", y.shape, size, stored=0 if view else inputs[0].size)]


def _reshape(function, inputs, y):
    """Flattened images are seen as a whole."""
    x = inputs[0]
    window = Window(None, None) if x.ndim == 4 and x.shape[2:] != y.shape[-2:] else Window()
    flat = y.ndim == 2 and x.ndim > 2
    size = "·".join(map(str, x.shape[1:])) + f" = {y.shape[1]}" if flat else ""
    return [Part("flatten" if flat else "reshape", y.shape, size, window=window)]


def _pad(function, inputs, y):
    x, axes = inputs[0], range(y.ndim)
    places = (0, 3, 1, 2) if x.layout == "image" else axes
    size = []
    for d in axes:
        before = function.origin[places[d]]
        after = y.shape[d] - x.shape[d] - before
        if before or after:
            terms = "".join(f" {'-' if n < 0 else '+'} {abs(n)}" for n in (before, after) if n)
            size.append(f"{x.shape[d]}{terms} = {y.shape[d]}")
    cut = math.prod(y.shape) < x.size
    return [Part("crop" if cut else "pad", y.shape, "; ".join(dict.fromkeys(size)), stored=y.size)]


def _moved(function, inputs, y):
    view = y.backend.xp.may_share_memory(inputs[0].data, y.data)
    return [Part(public_name(function), y.shape, stored=0 if view else y.size, in_place=is_layout_change(function, inputs, y))]


def is_layout_change(function: Function, inputs: tuple, y: Tensor) -> bool:
    """Whether an op only moves elements in memory, so that its result is its input to whoever looks at shapes."""
    return isinstance(function, _Permute | _Cast) and inputs[0].shape == y.shape


Rule = Callable[[Function, tuple, Tensor], list[Part]]
RULES: dict[type, Rule] = {
    _Conv2d: _conv2d, _ConvBatchNorm: _conv_bn, _BatchNormConv: _bn_conv, _ConvTranspose2d: _conv_transpose2d,
    _Linear: _linear, _Matmul: _matmul, _Pool2d: _pool2d, _AdaptiveAvgPool2d: _adaptive, _AdaptiveMaxPool2d: _adaptive,
    _MaxUnpool2d: _unpool, _Resample: _resample, _BatchNorm: _batch_norm, _LocalResponseNorm: _lrn, _Softmax: _softmax,
    _Sum: _reduction, _Max: _reduction, _MaxOfAll: _reduction, _Cat: _cat, _Slices: _split, _Reshape: _reshape, _Pad: _pad,
    _Permute: _moved, _ChannelShuffle: _moved, _Cast: _moved,
}  # fmt: skip
NAMES: dict[type, str] = {_LeakyReLU: "leaky_relu", _MaxOfAll: "max"}
