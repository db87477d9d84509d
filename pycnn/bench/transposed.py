"""The three passes of a transposed convolution, checked as those of the convolution it transposes."""

from __future__ import annotations

from dataclasses import dataclass

from .. import ops
from ..tensor import Tensor, no_grad
from . import convolution
from .contest import Contest, Setting, random

DUAL = {"forward": "backward_data", "backward_data": "forward", "backward_weight": "backward_weight"}


@dataclass(frozen=True)
class Layer:
    """A transposed convolution: x (N, C, H, H), weight (C, K, R, R), y (N, K, P, P)."""

    net: str
    N: int
    C: int
    K: int
    H: int
    R: int
    stride: int = 2
    pad: int = 0
    output_pad: int = 0

    @property
    def name(self) -> str:
        """Net, kernel and extents."""
        return f"{self.net} {self.R}x{self.R}/{self.stride} {self.C}→{self.K} @{self.H} N{self.N}"

    @property
    def dual(self) -> convolution.Layer:
        """The convolution from y to x."""
        P = (self.H - 1) * self.stride - 2 * self.pad + self.R + self.output_pad
        return convolution.Layer(
            "transposed convolution", self.net, "", self.N, self.K, P, P, self.C, self.R, self.R, self.stride, self.pad, 1
        )  # fmt: skip


LAYERS = [
    Layer("U-Net", 1, 512, 256, 16, 2),
    Layer("U-Net", 2, 512, 256, 32, 2),
    Layer("U-Net", 2, 128, 64, 64, 2),
    Layer("FCN-8s", 2, 21, 21, 32, 4, pad=1),
    Layer("DCGAN", 2, 256, 128, 16, 4, pad=1),
    Layer("SegNet", 2, 128, 64, 32, 3, pad=1, output_pad=1),
]


def contest(setting: Setting, layer: Layer, direction: str) -> Contest:
    """One pass of a layer, without bias. PyTorch runs it in both layouts, its arrays laid out beforehand."""
    dual = layer.dual
    x, weight = random(dual.N, dual.K, dual.P, dual.Q, seed=1), random(dual.K, dual.C, dual.R, dual.S, seed=2)
    dy = random(dual.N, dual.C, dual.H, dual.W, seed=3)
    ours = _pycnn_pass(setting, layer, direction, x, weight, dy)
    rivals = setting.layouts(lambda layout: _torch_pass(setting, layer, direction, x, weight, dy, layout))
    return Contest(ours, rivals, lambda result: convolution._error(dual, DUAL[direction], dy, weight, x, result))


def _pycnn_pass(setting, layer, direction, x, weight, dy):
    x, weight, dy = (setting.image(a) for a in (x, weight, dy))
    if direction == "forward":

        @no_grad()
        def forward():
            return ops.conv_transpose2d(x, weight, None, layer.stride, layer.pad, layer.output_pad)

        return forward
    backend, problem, dtype = setting.backend, layer.dual.problem(), x.dtype
    if direction == "backward_data":
        arrays, shape = (dy.data, weight.data, None), x.data.shape
    else:
        arrays, shape = (x.data, dy.data), weight.data.shape

    def backward():
        result = backend.empty(shape, dtype)
        backend.run(f"conv2d_{DUAL[direction]}", problem, dtype, *arrays, result)
        return Tensor.from_memory(result, "image")

    return backward


def _torch_pass(setting, layer, direction, x, weight, dy, layout):
    torch = setting.torch
    x, weight, dy = (setting.torch_tensor(a, layout) for a in (x, weight, dy))
    s, p, extra = [layer.stride] * 2, [layer.pad] * 2, [layer.output_pad] * 2
    if direction == "forward":

        @torch.inference_mode()
        def forward():
            return torch.nn.functional.conv_transpose2d(x, weight, None, s, p, extra)

        return forward
    mask = [direction == "backward_data", direction == "backward_weight", False]
    convolution_backward = torch.ops.aten.convolution_backward

    @torch.inference_mode()
    def backward():
        return convolution_backward(dy, x, weight, None, s, p, [1, 1], True, extra, 1, mask)[mask.index(True)]

    return backward
