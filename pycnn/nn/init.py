"""Initialisers. Each overwrites a Tensor in place with numbers drawn on the host from the seeded generator.

`fan_in` is the number of inputs of one output (in_channels / groups * kH * kW), `fan_out` the number of outputs of one input.
As in PyTorch they are read off the weight's axes, whatever layer it belongs to: of a transposed convolution's weight
(in, out / groups, kH, kW) `fan_in` is out / groups * kH * kW.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar

import numpy as np

from .. import random
from ..errors import ShapeError
from ..tensor import Parameter, Tensor, to_memory

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0)}


PIECE = 1 << 16  # numbers drawn at once

_skipping: ContextVar[bool] = ContextVar("pycnn_skip_init", default=False)


class skip:
    """Context manager under which nothing is drawn: weights keep whatever lies in their memory. For a model whose values are
    loaded next, or never looked at: drawing a large net's weights takes much longer than running it.
    """

    def __enter__(self):
        self._outer = _skipping.set(True)

    def __exit__(self, *_):
        _skipping.reset(self._outer)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in) or (out, in, kH, kW).

    Raises:
        ShapeError: the tensor has fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"fan_in and fan_out need a weight with at least 2 axes, got shape {tensor.shape}")
    out_features, in_features, *kernel = tensor.shape
    return in_features * math.prod(kernel), out_features * math.prod(kernel)


def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    memory = to_memory(values.reshape(tensor.shape).astype(tensor.dtype, copy=False), tensor.layout)
    tensor.backend.write(tensor.data, memory)
    if isinstance(tensor, Parameter):
        tensor.changes += 1
    return tensor


def _draw(tensor: Tensor, draw: Callable[[int], np.ndarray]) -> Tensor:
    """Fill a Tensor with what `draw` returns for so many numbers, piece by piece: they come as float64, and for a large layer all
    of them at once would be several times the memory of its weights."""
    if _skipping.get():
        return tensor
    values = np.empty(tensor.size, tensor.dtype)
    for i in range(0, values.size, PIECE):
        piece = values[i : i + PIECE]
        piece[...] = draw(len(piece))
    return _fill(tensor, values)


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Every element = value."""
    return _fill(tensor, np.full(tensor.shape, value))


def zeros_(tensor: Tensor) -> Tensor:
    """Every element = 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element = 1."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """U(a, b)."""
    return _draw(tensor, lambda count: random.generator().uniform(a, b, count))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """N(mean, std²), `mean` and `std` being numbers."""
    return _draw(tensor, lambda count: random.generator().normal(mean, std, count))


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return fans(tensor)[mode == "fan_out"]


def _gain(nonlinearity: str, a: float) -> float:
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + a * a))
    if nonlinearity not in GAINS:
        raise ValueError(f"nonlinearity must be one of {', '.join([*GAINS, 'leaky_relu'])}, got {nonlinearity!r}")
    return GAINS[nonlinearity]


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """He et al. 2015 (arxiv.org/abs/1502.01852, section 2.2): U(-b, b) with b = gain * sqrt(3 / fan), the fan being that of
    `mode` ("fan_in", "fan_out") and the gain that of `nonlinearity` ("relu", "leaky_relu" with negative slope `a`, …).
    """
    bound = _gain(nonlinearity, a) * math.sqrt(3 / max(_fan(tensor, mode), 1))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """He et al. 2015 (arxiv.org/abs/1502.01852, section 2.2): N(0, gain² / fan); see :func:`kaiming_uniform_`."""
    return normal_(tensor, 0.0, _gain(nonlinearity, a) / math.sqrt(max(_fan(tensor, mode), 1)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Glorot and Bengio 2010 (equation 16): U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6 / max(sum(fans(tensor)), 1))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Glorot and Bengio 2010: N(0, `gain`² · 2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(sum(fans(tensor)), 1)))


def lecun_uniform_(tensor: Tensor) -> Tensor:
    """LeCun et al. 1998, Efficient BackProp (section 4.6): U(-b, b) with b = sqrt(3 / fan_in), standard deviation fan_in^-1/2."""
    bound = math.sqrt(3 / max(fans(tensor)[0], 1))
    return uniform_(tensor, -bound, bound)


def lecun_normal_(tensor: Tensor) -> Tensor:
    """LeCun et al. 1998, Efficient BackProp (section 4.6): N(0, 1 / fan_in)."""
    return normal_(tensor, 0.0, 1 / math.sqrt(max(fans(tensor)[0], 1)))
