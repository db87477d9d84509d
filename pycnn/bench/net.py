"""LeNet-5's whole training step: forward, loss, backward, SGD with momentum."""

from __future__ import annotations

import numpy as np

from .. import models, ops, optim
from ..tensor import Tensor
from .contest import Contest, Setting, numbers, random
from .torch_twin import torch_model

LR, MOMENTUM = 0.01, 0.9


def lenet5_step(setting: Setting, batch: int) -> Contest:
    """A step on `batch` random images. The first step's gradients are checked: each parameter's may deviate from fp64's by
    2⁻²⁴·sqrt(K)·64 of its length, K the products per weight (every pixel of every image at most); the loss by 2⁻²⁴·64."""
    x = random(batch, 1, 32, 32, seed=1)
    target = np.random.Generator(np.random.Philox(2)).integers(0, 10, batch)
    weights = initial_weights()
    rivals = setting.layouts(lambda layout: torch_step(setting, weights, x, target, layout))
    expected = numbers(pycnn_step("cpu", weights, x, target, np.float64)())

    def error(*values):
        return max(
            np.linalg.norm(np.asarray(v, np.float64) - e)
            / (64 * 2.0**-24 * (np.sqrt(batch * 784) if e.ndim else 1) * np.linalg.norm(e))
            for v, e in zip(values, expected, strict=True)
        )

    return Contest(pycnn_step(setting.device, weights, x, target), rivals, error)


def initial_weights() -> dict[str, np.ndarray]:
    """Fresh parameters of LeNet-5 by name."""
    return models.create_model("lenet5").state_dict()


def pycnn_step(device: str, weights: dict, x: np.ndarray, target: np.ndarray, dtype=np.float32):
    """A function that trains a step and returns loss and gradients."""
    model = models.create_model("lenet5")
    model.load_state_dict(weights)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype, copy=False)
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


def torch_step(setting: Setting, weights: dict, x: np.ndarray, target: np.ndarray, layout: str):
    """The same with PyTorch, parameters and images in the given layout."""
    torch = setting.torch
    model = torch_model("lenet5")
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
