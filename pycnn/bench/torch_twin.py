"""PyTorch's twin of a pycnn model: the model's own file, executed with PyTorch's layers and functions in the place of pycnn's.

So both sides of a comparison are one description of a net, and parameters have the same names on both.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import types
from functools import cache, partial

PACKAGE = "pycnn_torch_twin"


class _Finder:
    """Finds ``pycnn_torch_twin.models.alexnet`` at ``pycnn.models.alexnet``; its relative imports lead to twins."""

    @staticmethod
    def find_spec(name: str, path=None, target=None):
        if not name.startswith(f"{PACKAGE}."):
            return None
        original = importlib.util.find_spec("pycnn" + name.removeprefix(PACKAGE))
        return original and importlib.util.spec_from_file_location(name, original.origin)


@cache
def _package() -> dict:
    """Modules that answer to the relative imports of a model file: ``from .. import nn, ops``, ``from .registry import …``."""
    import torch
    import torch.utils.checkpoint

    class Module(torch.nn.Module):
        """PyTorch's Module for classes that do not call ``super().__init__()``."""

        def __new__(cls, *_, **__):
            module = super().__new__(cls)
            torch.nn.Module.__init__(module)
            return module

        def __init__(self, *_, **__):
            pass

    nn = types.ModuleType(f"{PACKAGE}.nn")
    nn.__dict__.update({name: value for name, value in vars(torch.nn).items() if not name.startswith("_")} | {"Module": Module})
    ops = types.ModuleType(f"{PACKAGE}.ops")
    for source in (torch, torch.nn.functional):
        ops.__dict__.update({name: value for name, value in vars(source).items() if not name.startswith("_")})
    _add_ops(torch, ops)
    _add_layers(torch, Module, nn, ops)
    builders: dict = {}
    registry = types.ModuleType(f"{PACKAGE}.models.registry")

    def register(name, image=(), **options):
        def enter(build):
            builders[name] = partial(build, **options)
            return build

        return enter

    registry.register = register
    packages = [types.ModuleType(name) for name in (PACKAGE, f"{PACKAGE}.models", f"{PACKAGE}.bench")]
    for package in packages:
        package.__path__ = []
    packages[0].nn, packages[0].ops = nn, ops
    for module in (*packages, nn, ops, registry):
        sys.modules[module.__name__] = module
    sys.meta_path.append(_Finder)
    return builders


def _add_ops(torch, ops) -> None:
    """What pycnn.ops has and PyTorch has not, or has otherwise."""

    def conv_bn(conv, bn, x, add=None, relu=True):
        y = bn(conv(x))
        y = y if add is None else y + add
        return torch.relu(y) if relu else y

    def bn_conv(bn, conv, x, relu=True):
        return conv(torch.relu(bn(x)) if relu else bn(x))

    def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=None, convention="torch"):
        k = k if k is not None else 2.0 if convention == "paper" else 1.0
        return torch.nn.functional.local_response_norm(x, size, alpha * size if convention == "paper" else alpha, beta, k)

    def drop_path(x, p=0.5, training=True, mode="row"):
        if not training or p == 0:
            return x
        shape = (1 if mode == "batch" else len(x), *[1] * (x.ndim - 1))
        return x * torch.bernoulli(torch.full(shape, 1 - p, dtype=x.dtype)) / max(1 - p, 1e-30)

    def crop(x, top, left, height, width):
        return x[..., top : top + height, left : left + width]

    def recompute(function, *inputs):
        contexts = lambda: (contextlib.nullcontext(), _batch_norm_once(torch))
        return torch.utils.checkpoint.checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)

    for function in (conv_bn, bn_conv, local_response_norm, drop_path, crop, recompute):
        setattr(ops, function.__name__, function)


@contextlib.contextmanager
def _batch_norm_once(torch):
    """Under it batch norm in training leaves its running statistics alone; PyTorch moves them again when it recomputes."""
    layer = torch.nn.modules.batchnorm._BatchNorm
    forward = layer.forward

    def again(self, x):
        if not self.training:
            return forward(self, x)
        running = self.running_mean.clone(), self.running_var.clone()
        return torch.nn.functional.batch_norm(x, *running, self.weight, self.bias, True, 0.0, self.eps)

    layer.forward = again
    try:
        yield
    finally:
        layer.forward = forward


def _add_layers(torch, Module, nn, ops) -> None:
    """What pycnn.nn has and PyTorch has not, or has otherwise."""

    class LocalResponseNorm(Module):
        def __init__(self, *arguments, **named):
            self.arguments, self.named = arguments, named

        def forward(self, x):
            return ops.local_response_norm(x, *self.arguments, **self.named)

    class DropPath(Module):
        def __init__(self, p=0.5, mode="row"):
            self.p, self.mode = p, mode

        def forward(self, x):
            return ops.drop_path(x, self.p, self.training, self.mode)

        def drops(self):
            return self.training and torch.rand(()).item() < self.p

    buffer = nn.Buffer
    nn.LocalResponseNorm, nn.DropPath, nn.Buffer = LocalResponseNorm, DropPath, lambda array: buffer(ops.as_tensor(array))


def _twin_module(module):
    """The file of `module`, executed with PyTorch."""
    _package()
    return importlib.import_module(PACKAGE + module.__name__.removeprefix("pycnn"))


def twin(build):
    """What PyTorch makes of a class or function that builds a model.

    Raises:
        ImportError: PyTorch is not installed.
    """
    return getattr(_twin_module(inspect.getmodule(build)), build.__name__)


def torch_model(name: str, **options):
    """A fresh ``torch.nn.Module`` of the registered model `name`.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: there is no model of that name.
    """
    from ..models import registry

    _twin_module(inspect.getmodule(registry.entry(name).build))
    return _package()[name](**options)
