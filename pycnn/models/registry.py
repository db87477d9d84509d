"""Names of models and what builds them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from fnmatch import fnmatch

_models: dict[str, Callable] = {}


def register(name: str):
    """Decorator: make a class or function available as ``create_model(name)``."""

    def enter(build):
        if name in _models:
            raise ValueError(f"there are two models named {name!r}")
        _models[name] = build
        return build

    return enter


def list_models(pattern: str = "*") -> list[str]:
    """Registered names that match a shell pattern ("resnet*"), sorted."""
    return sorted(name for name in _models if fnmatch(name, pattern))


def create_model(name: str, **options):
    """Build a registered model with fresh parameters; `options` are its own (``num_classes=10``).

    Raises:
        ValueError: there is no model of that name (near ones are listed).
        TypeError: the model has no such option.
    """
    if name not in _models:
        near = difflib.get_close_matches(name, _models, n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(list_models())}"
        raise ValueError(f"there is no model {name!r}; {known}")
    return _models[name](**options)
