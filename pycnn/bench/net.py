"""Whole training steps: forward, loss, backward, SGD with momentum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import models, ops, optim
from ..tensor import Tensor
from . import small_nets
from .contest import Contest, Setting, numbers, random
from .torch_twin import twin

LR, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True)
class Net:
    """A net to train: how to build it, the images it takes (channels, height, width), a batch, the pixels of its largest map, and
    how far a gradient may be off, in units of 2⁻²⁴·sqrt(products per weight)."""

    build: Callable
    image: tuple[int, int, int]
    batch: int
    pixels: int
    slack: float


NETS = {
    "LeNet-5": Net(models.LeNet5, (1, 32, 32), 64, 28 * 28, 64),
    "VGG, small": Net(small_nets.Vgg, (3, 64, 64), 8, 64 * 64, 1024),
    "ResNet, small": Net(small_nets.ResNet, (3, 112, 112), 8, 56 * 56, 4096),
    "MobileNet, small": Net(small_nets.MobileNet, (3, 112, 112), 8, 56 * 56, 4096),
}


def training_step(setting: Setting, net: Net) -> Contest:
    """A step on random images. The first step's gradients are checked: each parameter's may deviate from fp64's by
    2⁻²⁴·sqrt(K)·slack of its length, K the products per weight (every pixel of every image at most); the loss by 2⁻²⁴·slack.
    A ReLU or maximum that switches moves a deep net's gradients by much more than a rounding, on both sides."""
    x, target = batch(net)
    weights = initial_weights(net)
    rivals = setting.layouts(lambda layout: torch_step(setting, net, weights, x, target, layout))
    expected = numbers(pycnn_step("cpu", net, weights, x, target, np.float64)())

    def error(*values):
        return max(
            np.linalg.norm(np.asarray(v, np.float64) - e)
            / (net.slack * 2.0**-24 * (np.sqrt(len(x) * net.pixels) if e.ndim else 1) * np.linalg.norm(e))
            for v, e in zip(values, expected, strict=True)
        )

    return Contest(pycnn_step(setting.device, net, weights, x, target), rivals, error)


def batch(net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    return random(net.batch, *net.image, seed=1), np.random.Generator(np.random.Philox(2)).integers(0, 10, net.batch)


def initial_weights(net: Net) -> dict[str, np.ndarray]:
    """Fresh parameters by name."""
    return net.build().state_dict()


def pycnn_step(device: str, net: Net, weights: dict, x: np.ndarray, target: np.ndarray, dtype=np.float32):
    """A function that trains a step and returns loss and gradients."""
    model = net.build()
    model.load_state_dict(weights)
    for _, tensor in model.named_tensors():
        if tensor.dtype.kind == "f":
            tensor.data = tensor.data.astype(dtype, copy=False)
    model.to(device)
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    images, labels = Tensor(x.astype(dtype, copy=False), device=device), Tensor(target, device=device)
    parameters = list(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return (loss, *(p.grad for p in parameters))

    return step


def torch_step(setting: Setting, net: Net, weights: dict, x: np.ndarray, target: np.ndarray, layout: str):
    """The same with PyTorch, parameters and images in the given layout."""
    torch = setting.torch
    model = twin(net.build)()
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    model = model.to(setting.device)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    images, labels = setting.torch_tensor(x, layout), setting.torch_tensor(target)
    parameters = list(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return (loss, *(p.grad for p in parameters))

    return step
