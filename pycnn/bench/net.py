"""LeNet-5's whole training step: forward, loss, backward, SGD with momentum."""

from __future__ import annotations

import numpy as np

from .. import models, ops, optim
from ..tensor import Tensor
from .contest import Contest, Setting, random
from .torch_twin import torch_model

SETTINGS = {"lr": 0.01, "momentum": 0.9}


def lenet5_step(setting: Setting, batch: int) -> Contest:
    """A step on `batch` random images. The first step's gradients are checked: each parameter's may deviate from fp64's by
    2⁻²⁴·sqrt(K)·64 of its length, K the products per weight (every pixel of every image at most); the loss by 2⁻²⁴·64."""
    x = random(batch, 1, 32, 32, seed=1)
    target = np.random.Generator(np.random.Philox(2)).integers(0, 10, batch)
    weights = models.create_model("lenet5").state_dict()
    run, _ = _pycnn_step(setting.device, weights, x, target)
    rivals = setting.layouts(lambda layout: _torch_step(setting, weights, x, target, layout))
    expected = [np.asarray(value, np.float64) for value in _pycnn_step("cpu", weights, x, target, np.float64)[1]()]

    def error(*values):
        return max(
            np.linalg.norm(np.asarray(v, np.float64) - e)
            / (64 * 2.0**-24 * (np.sqrt(batch * 784) if e.ndim else 1) * np.linalg.norm(e))
            for v, e in zip(values, expected, strict=True)
        )

    return Contest(run, rivals, error)


def _pycnn_step(device, weights, x, target, dtype=np.float32):
    """(a step that returns loss and gradients, the same as host arrays)."""
    model = models.create_model("lenet5")
    model.load_state_dict(weights)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype, copy=False)
    model.to(device)
    optimizer = optim.SGD(model.parameters(), **SETTINGS)
    x, target = Tensor(x.astype(dtype, copy=False), device=device), Tensor(target, device=device)
    parameters = list(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return (loss, *(p.grad for p in parameters))

    return step, lambda: [value.numpy() for value in step()]


def _torch_step(setting, weights, x, target, layout):
    torch = setting.torch
    model = torch_model("lenet5")
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    model = model.to(setting.device)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), **SETTINGS, fused=True)
    x, target = setting.torch_tensor(x, layout), setting.torch_tensor(target)
    parameters = list(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return (loss, *(p.grad for p in parameters))

    return step
