"""What the tests of nets share: outputs and gradients in fp64 must be those of PyTorch on the same weights."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import rng

import pycnn
from pycnn import nn
from pycnn.models import create_model
from pycnn.tensor import Tensor

TOLERANCE = 1e-9  # of a tensor's length; both sides compute in fp64


def parameters(model) -> int:
    """How many numbers a model learns."""
    return sum(p.size for p in model.parameters())


def to_fp64(model):
    """Cast a model in place."""
    for _, tensor in model.named_tensors():
        if tensor.dtype.kind == "f":
            tensor.data = tensor.data.astype(np.float64)
    return model


def without_dropout(model):
    """What is drawn at random differs between the libraries: switch it off, in place."""
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "DropPath"):
            module.p = 0.0
    return model


def scattered_state(model, seed: int = 0) -> dict[str, np.ndarray]:
    """A model's state with batch norm's parameters and statistics away from 0 and 1, so that each of them counts."""
    state, held = {}, model.state_dict()
    for i, (name, value) in enumerate(held.items()):
        noise = rng(seed + i).uniform(0.5, 1.5, value.shape)
        bn = name.rpartition(".")[0] + ".running_var" in held and value.dtype.kind == "f"
        state[name] = (noise if not name.endswith(("bias", "mean")) else 0.2 * (noise - 1)).astype(value.dtype) if bn else value
    return state


def check_against_torch(name: str, image: tuple[int, int, int], training: bool, batch: int = 2, torch_build=None, **options):
    """Outputs and all gradients of a registered model equal those of PyTorch: of `torch_build()` (torchvision's net), else of
    the same model file executed with PyTorch. `options` go to the model; `image` is (channels, height, width)."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from pycnn.bench.torch_twin import torch_model

    pycnn.manual_seed(0)
    mine = without_dropout(create_model(name, **options))
    state = scattered_state(mine)
    mine.load_state_dict(state)
    to_fp64(mine).train(training)
    theirs = without_dropout((torch_build or (lambda: torch_model(name, **options)))()).double().train(training)
    theirs.load_state_dict({n: torch.from_numpy(v.copy()) for n, v in state.items()})

    x = rng(1).standard_normal((batch, *image))
    outputs, expected = _outputs(mine(Tensor(x))), _outputs(theirs(torch.from_numpy(x)))
    assert len(outputs) == len(expected)
    cotangents = [rng(2 + i).standard_normal(y.shape) for i, y in enumerate(outputs)]
    for i, (y, e) in enumerate(zip(outputs, expected, strict=True)):
        _assert_near(y.numpy(), e.detach().numpy(), f"output {i}", 0.0)
    pycnn.ops.sum(sum(pycnn.ops.sum(y * Tensor(g)) for y, g in zip(outputs, cotangents, strict=True))).backward()
    sum((y * torch.from_numpy(g)).sum() for y, g in zip(expected, cotangents, strict=True)).backward()

    gradients = {n: p.grad.numpy() for n, p in theirs.named_parameters() if p.grad is not None}
    floor = 1e-3 * float(np.median([np.linalg.norm(g) for g in gradients.values()]))  # a bias before batch norm has none
    for n, p in mine.named_parameters():
        if n in gradients:
            _assert_near(p.grad.numpy(), gradients[n], f"gradient of {n}", floor)
        else:
            assert p.grad is None, f"{n} has a gradient, PyTorch's has none"
    if training:
        after = theirs.state_dict()
        for n, value in mine.state_dict().items():
            if "running" in n:
                _assert_near(value, after[n].numpy(), n, 0.0)


def _outputs(y) -> list:
    """A model's outputs as a list, those left out (None) dropped."""
    return [t for t in (y if isinstance(y, tuple) else (y,)) if t is not None]


def _assert_near(actual, expected, what: str, floor: float):
    assert actual.shape == tuple(expected.shape), f"{what}: {actual.shape} and {tuple(expected.shape)}"
    error = np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), floor, 1e-300)
    assert error <= TOLERANCE, f"{what} is {error:.3g} of its length off"


def torchvision_models():
    """torchvision.models, or skip: its 0.28 wheel needs two operators declared (they are not used here)."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    global _library
    try:
        if _library is None:
            _library = torch.library.Library("torchvision", "DEF")
            _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision is not installed ({error})")
    return torchvision.models


_library = None


def layer_outputs(model: nn.Module, x: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Shape of each module's output in a forward pass, by path, the last one where a module is used twice."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(path):
        return lambda module, inputs, outputs: shapes.__setitem__(path, _outputs(outputs)[0].shape)

    removers = [module.register_forward_hook(watch(path)) for path, module in model.named_modules()]
    with pycnn.no_grad():
        model(Tensor(x))
    for remove in removers:
        remove()
    return shapes
