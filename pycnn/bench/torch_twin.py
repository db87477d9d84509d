"""PyTorch's twin of a pycnn model: the model's own file, executed with PyTorch's layers and functions in the place of pycnn's.

So both sides of a comparison are one description of a net, and parameters have the same names on both.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from functools import cache

PACKAGE = "pycnn_torch_twin"


@cache
def _package() -> dict:
    """Modules that answer to the relative imports of a model file: ``from .. import nn, ops``, ``from .registry import …``."""
    import torch

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

    def conv_bn(conv, bn, x, add=None, relu=True):
        y = bn(conv(x))
        y = y if add is None else y + add
        return torch.relu(y) if relu else y

    def bn_conv(bn, conv, x, relu=True):
        return conv(torch.relu(bn(x)) if relu else bn(x))

    ops.conv_bn, ops.bn_conv = conv_bn, bn_conv
    root, models = types.ModuleType(PACKAGE), types.ModuleType(f"{PACKAGE}.models")
    root.__path__ = models.__path__ = []
    root.nn, root.ops, root.models = nn, ops, models
    builders: dict = {}
    registry = types.ModuleType(f"{PACKAGE}.models.registry")
    registry.register = lambda name: lambda build: builders.setdefault(name, build)
    for module in (root, models, nn, ops, registry):
        sys.modules[module.__name__] = module
    return builders


@cache
def _twin_module(module):
    """The file of `module`, executed with PyTorch."""
    _package()
    made = types.ModuleType(f"{PACKAGE}.models.{module.__name__.rpartition('.')[2]}")
    made.__package__ = f"{PACKAGE}.models"
    sys.modules[made.__name__] = made
    exec(compile(inspect.getsource(module), inspect.getfile(module), "exec"), made.__dict__)
    return made


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

    if name not in registry.list_models():
        registry.create_model(name)  # raises, and says which names are near
    _twin_module(importlib.import_module(registry._models[name].__module__))
    return _package()[name](**options)
