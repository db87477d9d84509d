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
    root, models = types.ModuleType(PACKAGE), types.ModuleType(f"{PACKAGE}.models")
    root.__path__ = models.__path__ = []
    root.nn, root.ops, root.models = nn, ops, models
    builders: dict = {}
    registry = types.ModuleType(f"{PACKAGE}.models.registry")
    registry.register = lambda name: lambda build: builders.setdefault(name, build)
    for module in (root, models, nn, ops, registry):
        sys.modules[module.__name__] = module
    return builders


def torch_model(name: str, **options):
    """A fresh ``torch.nn.Module`` of the registered model `name`.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: there is no model of that name.
    """
    from ..models import registry

    builders = _package()
    if name not in builders:
        if name not in registry.list_models():
            registry.create_model(name)  # raises, and says which names are near
        source = importlib.import_module(registry._models[name].__module__)
        twin = types.ModuleType(f"{PACKAGE}.models.{source.__name__.rpartition('.')[2]}")
        twin.__package__ = f"{PACKAGE}.models"
        sys.modules[twin.__name__] = twin
        exec(compile(inspect.getsource(source), inspect.getfile(source), "exec"), twin.__dict__)
    return builders[name](**options)
