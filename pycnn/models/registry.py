"""Names of models and what builds them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch

from .backbone import Backbone


@dataclass(frozen=True)
class Entry:
    """A registered model.

    Attributes:
        name: what :func:`create_model` calls it.
        build: the class or function that makes it.
        image: (channels, height, width) of the images it was designed for; the batch comes before them.
        options: arguments of `build` that make it this model.
    """

    name: str
    build: Callable
    image: tuple[int, int, int]
    options: dict


_entries: dict[str, Entry] = {}


def register(name: str, image: tuple[int, int, int] = (3, 224, 224), **options):
    """Decorator: make a class or function available as ``create_model(name)``, which calls it with `options`; one class may be
    registered under several names. `image` is (channels, height, width)."""

    def enter(build):
        if name in _entries:
            raise ValueError(f"there are two models named {name!r}")
        _entries[name] = Entry(name, build, image, options)
        return build

    return enter


def list_models(pattern: str = "*") -> list[str]:
    """Registered names that match a shell pattern ("resnet*"), sorted."""
    return sorted(name for name in _entries if fnmatch(name, pattern))


def entry(name: str) -> Entry:
    """What is registered under a name.

    Raises:
        ValueError: there is no model of that name (near ones are listed).
    """
    if name not in _entries:
        near = difflib.get_close_matches(name, _entries, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "list_models() names them all"
        raise ValueError(f"there is no model {name!r}; {hint}")
    return _entries[name]


def create_model(name: str, features_only: bool = False, out_indices=None, **options):
    """Build a registered model with fresh parameters; `options` are its own (``num_classes=10``).

    Args:
        name: one of :func:`list_models`.
        features_only: make a :class:`Backbone` of it, which returns maps instead of logits.
        out_indices: which maps (see there).

    Raises:
        ValueError: there is no model of that name (near ones are listed); it has not the maps of `out_indices`, or they are given
            without `features_only`.
        TypeError: the model has no such option.
    """
    found = entry(name)
    if out_indices is not None and not features_only:
        raise ValueError(f"out_indices = {out_indices!r} needs features_only=True")
    model = found.build(**(found.options | options))
    return Backbone(model, found.image, out_indices) if features_only else model
