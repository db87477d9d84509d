"""The three passes of a convolution. Results are checked at 96 places, each summed again in fp64 from the definition."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from .. import ops
from ..tensor import Tensor, no_grad
from .contest import Contest, Setting, random, worst

PASSES = ("forward", "backward_data", "backward_weight")
PLACES = 96


@dataclass(frozen=True)
class Layer:
    """A convolution in the field's letters: x (N, C, H, W), filters (K, C / groups, R, S), y (N, K, P, Q)."""

    group: str
    net: str
    layer: str
    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: int
    pad: int
    groups: int

    @property
    def P(self) -> int:
        """Rows of the output."""
        return (self.H + 2 * self.pad - self.R) // self.stride + 1

    @property
    def Q(self) -> int:
        """Columns of the output."""
        return (self.W + 2 * self.pad - self.S) // self.stride + 1

    @property
    def flops(self) -> int:
        """Multiplications and additions of each pass."""
        return 2 * self.N * self.P * self.Q * self.K * self.R * self.S * self.C // self.groups

    @property
    def name(self) -> str:
        """Net, layer and extents."""
        return f"{self.net} {self.layer} {self.C}→{self.K} @{self.H} N{self.N}"

    def problem(self) -> tuple[int, ...]:
        """The numbers of ``ConvShape`` (kernels/common/conv_shape.h), overwriting the result."""
        s, p = self.stride, self.pad
        return (self.N, self.H, self.W, self.C, self.K, self.R, self.S, self.P, self.Q, s, s, p, p, 1, 1, self.groups, 0)


@cache
def layers() -> tuple[Layer, ...]:
    """LeNet-5's convolutions, every dense one of AlexNet, VGG-16, GoogLeNet, ResNet-18 and ResNet-50 (each extent once, under
    the first net that has it), and depthwise and grouped ones; at small batch (layers.csv)."""
    with files(__package__).joinpath("layers.csv").open(encoding="utf-8") as file:
        return tuple(Layer(group, net, layer, *map(int, extents)) for group, net, layer, *extents in list(csv.reader(file))[1:])


def parse_layer(text: str) -> Layer:
    """A layer from ``N,C,H,W,K,R,S[,stride[,pad[,groups]]]``.

    Raises:
        ValueError: these are not 7 to 10 whole numbers.
    """
    values = [int(v) for v in text.split(",")]
    if not 7 <= len(values) <= 10:
        raise ValueError(f"a convolution's shape is N,C,H,W,K,R,S[,stride[,pad[,groups]]], got {text!r}")
    values += [1, 0, 1][len(values) - 7 :]
    return Layer("convolution", "convolution", f"{values[5]}x{values[6]}", *values)


def contest(setting: Setting, layer: Layer, direction: str) -> Contest:
    """One pass of a layer, without bias. PyTorch runs it in both layouts, its arrays laid out beforehand."""
    x = random(layer.N, layer.C, layer.H, layer.W, seed=1)
    weight = random(layer.K, layer.C // layer.groups, layer.R, layer.S, seed=2)
    dy = random(layer.N, layer.K, layer.P, layer.Q, seed=3)
    ours = _pycnn_pass(setting, layer, direction, x, weight, dy)
    rivals = setting.layouts(lambda layout: _torch_pass(setting, layer, direction, x, weight, dy, layout))
    return Contest(ours, rivals, lambda result: _error(layer, direction, x, weight, dy, result))


def _pycnn_pass(setting, layer, direction, x, weight, dy):
    x, weight, dy = (setting.image(a) for a in (x, weight, dy))
    if direction == "forward":

        @no_grad()
        def forward():
            return ops.conv2d(x, weight, None, layer.stride, layer.pad, 1, layer.groups)

        return forward
    backend, problem, dtype = setting.backend, layer.problem(), x.dtype
    if direction == "backward_data":
        arrays, shape = (dy.data, weight.data, None), x.data.shape
    else:
        arrays, shape = (dy.data, x.data), weight.data.shape

    def backward():
        result = backend.empty(shape, dtype)
        backend.run(f"conv2d_{direction}", problem, dtype, *arrays, result)
        return Tensor.from_memory(result, "image")

    return backward


def _torch_pass(setting, layer, direction, x, weight, dy, layout):
    torch = setting.torch
    x, weight, dy = (setting.torch_tensor(a, layout) for a in (x, weight, dy))
    s, p = [layer.stride] * 2, [layer.pad] * 2
    if direction == "forward":

        @torch.inference_mode()
        def forward():
            return torch.nn.functional.conv2d(x, weight, None, s, p, 1, layer.groups)

        return forward
    mask = [direction == "backward_data", direction == "backward_weight", False]
    convolution_backward = torch.ops.aten.convolution_backward

    @torch.inference_mode()
    def backward():
        return convolution_backward(dy, x, weight, None, s, p, [1, 1], False, [0, 0], layer.groups, mask)[mask.index(True)]

    return backward


def _error(layer, direction, x, weight, dy, result) -> float:
    """The largest error, in units of its bound, at some places of the result: its corners and random ones."""
    rng = np.random.Generator(np.random.Philox(4))
    places = [tuple(rng.integers(0, extent) for extent in result.shape) for _ in range(PLACES - 2)]
    places += [(0,) * 4, tuple(extent - 1 for extent in result.shape)]
    padded = np.pad(x, ((0, 0), (0, 0), (layer.pad,) * 2, (layer.pad,) * 2)) if direction != "backward_data" else None
    errors = []
    for place in places:
        a, b = {"forward": _forward, "backward_data": _backward_data, "backward_weight": _backward_weight}[direction](
            layer, padded, weight, dy, *place
        )
        products = (a.astype(np.float64) * b).ravel()
        errors.append(worst(result[place], products.sum(), np.sum(products**2), products.size))
    return max(errors) if np.isfinite(result).all() else np.inf


def _channels(layer, group) -> slice:
    """The input channels of a group."""
    width = layer.C // layer.groups
    return slice(group * width, (group + 1) * width)


def _forward(layer, padded, weight, dy, n, k, p, q):
    """The factors whose products are summed to y[n, k, p, q]."""
    h, w, channels = p * layer.stride, q * layer.stride, _channels(layer, k // (layer.K // layer.groups))
    return padded[n, channels, h : h + layer.R, w : w + layer.S], weight[k]


def _backward_data(layer, padded, weight, dy, n, c, h, w):
    """The factors whose products are summed to dx[n, c, h, w]."""
    width, filters = layer.C // layer.groups, layer.K // layer.groups
    k = slice(c // width * filters, (c // width + 1) * filters)
    a, b = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for r in range(layer.R):
        for s in range(layer.S):
            (p, rest_p), (q, rest_q) = divmod(h + layer.pad - r, layer.stride), divmod(w + layer.pad - s, layer.stride)
            if not rest_p and not rest_q and 0 <= p < layer.P and 0 <= q < layer.Q:
                a.append(dy[n, k, p, q])
                b.append(weight[k, c % width, r, s])
    return np.concatenate(a), np.concatenate(b)


def _backward_weight(layer, padded, weight, dy, k, c, r, s):
    """The factors whose products are summed to dweight[k, c, r, s]."""
    c += _channels(layer, k // (layer.K // layer.groups)).start
    h, w, stride = r + layer.P * layer.stride, s + layer.Q * layer.stride, layer.stride
    return padded[:, c, r:h:stride, s:w:stride][:, : layer.P, : layer.Q], dy[:, k]
