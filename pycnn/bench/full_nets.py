"""Whole classifiers of the lecture: inference and training steps, and the memory they take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import ops, optim
from ..models import create_model
from ..models.registry import entry
from ..tensor import no_grad
from .contest import Contest, Setting, random
from .torch_twin import torch_model

LR, MOMENTUM, AUXILIARY = 0.01, 0.9, 0.3
TOLERANCE = 1e-4  # of the logits' length: far above fp32's rounding, far below what a wrong layer does


@dataclass(frozen=True)
class FullNet:
    """A registered model and the images of a batch, at the resolution it was made for."""

    name: str
    batch: int

    @property
    def id(self) -> str:
        """Name and batch."""
        return f"{self.name}, batch {self.batch}"

    def images(self) -> np.ndarray:
        """Random images (N, C, H, W)."""
        return random(self.batch, *entry(self.name).image, seed=1)

    def labels(self, classes: int) -> np.ndarray:
        """Random labels (N,)."""
        return np.random.Generator(np.random.Philox(2)).integers(0, classes, self.batch)


NETS = tuple(
    FullNet(name, batch)
    for name, batch in (
        ("alexnet", 16), ("vgg16", 2), ("googlenet", 8), ("resnet18", 8), ("resnet50", 4), ("resnet20_cifar", 64),
        ("densenet121", 4), ("mobilenet_v1", 8), ("squeezenet1_0", 8), ("shufflenet_v1_g3", 8),
    )
)  # fmt: skip


def inference(setting: Setting, net: FullNet) -> Contest:
    """Logits in evaluation mode. Those of the first image are checked against PyTorch's in fp64, where PyTorch is installed."""
    x, weights = net.images(), create_model(net.name).state_dict()
    model = _pycnn_model(setting, net, weights).eval()
    images = setting.image(x)

    @no_grad()
    def ours():
        return model(images)

    def rival(layout):
        torch = setting.torch
        twin, tensor = _torch_twin(setting, net, layout, weights).eval(), setting.torch_tensor(x, layout)

        @torch.inference_mode()
        def run():
            return twin(tensor)

        return run

    return Contest(ours, setting.layouts(rival), _error_of(setting, net, weights, x))


def _error_of(setting: Setting, net: FullNet, weights: dict, x: np.ndarray):
    if setting.torch is None:
        return lambda logits: 0.0 if np.isfinite(logits).all() else float("inf")
    with setting.torch.inference_mode():
        twin = _torch_twin(Setting(torch=setting.torch), net, "NCHW", weights).eval().double()
        expected = twin(setting.torch.from_numpy(x[:1]).double()).numpy()[0]
    return lambda logits: float(np.linalg.norm(logits[0] - expected) / (TOLERANCE * np.linalg.norm(expected)))


def training_step(setting: Setting, net: FullNet) -> Contest:
    """Forward, loss, backward, SGD with momentum. Dropout draws other numbers in either library, so only that the loss is
    finite is checked here; gradients are compared in the tests of each net."""
    return Contest(
        pycnn_step(setting, net),
        setting.layouts(lambda layout: torch_step(setting, net, layout)),
        lambda loss: 0.0 if np.isfinite(loss).all() else float("inf"),
    )


def pycnn_step(setting: Setting, net: FullNet):
    """A function that trains a step and returns the loss."""
    model = _pycnn_model(setting, net).train()
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    images = setting.image(net.images())
    labels = setting.plain(net.labels(_classes(model(images))))

    def step():
        optimizer.zero_grad()
        loss = _loss(model(images), labels, ops.cross_entropy)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_step(setting: Setting, net: FullNet, layout: str):
    """The same with PyTorch, parameters and images in the given layout."""
    torch = setting.torch
    model = _torch_twin(setting, net, layout).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    images = setting.torch_tensor(net.images(), layout)
    labels = setting.torch_tensor(net.labels(_classes(model(images))))

    def step():
        optimizer.zero_grad()
        loss = _loss(model(images), labels, torch.nn.functional.cross_entropy)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _loss(outputs, labels, cross_entropy):
    """Cross entropy, auxiliary heads counting 0.3 (Szegedy et al. 2014, section 5)."""
    if not isinstance(outputs, tuple):
        return cross_entropy(outputs, labels)
    main, *others = (cross_entropy(logits, labels) for logits in outputs)
    return main + AUXILIARY * sum(others[1:], others[0])


def _classes(outputs) -> int:
    return (outputs[0] if isinstance(outputs, tuple) else outputs).shape[1]


def _pycnn_model(setting: Setting, net: FullNet, weights: dict | None = None):
    model = create_model(net.name)
    if weights is not None:
        model.load_state_dict(weights)
    return model.to(setting.device)


def _torch_twin(setting: Setting, net: FullNet, layout: str, weights: dict | None = None):
    torch = setting.torch
    model = torch_model(net.name)
    if weights is not None:
        model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    model = model.to(setting.device)
    return model.to(memory_format=torch.channels_last) if layout == "channels_last" else model
