"""A model as backbone: the maps of its stages instead of logits, for detectors and segmentation nets to stand on."""

from __future__ import annotations

import operator

import numpy as np

from .. import nn
from ..tensor import Tensor, count_leaf_edges, enable_grad

WIDER = 64  # pixels, a multiple of every stride


class Backbone(nn.Module):
    """Some of a model's maps.  x: (N, C, H, W) -> list of (N, channels[i], about H / strides[i], about W / strides[i]).

    What no returned map depends on is gone from the model: the children named in its ``top`` and the layers after the last map.
    Paths in the state_dict are the model's own, so that its weights load with ``strict=False``.

    Args:
        model: has ``stages(x)``, a generator of maps. It is changed.
        image: (C, H, W) that it can take.
        out_indices: which of the maps that `stages` yields, counted from 0, negative ones from the end; None for all. They come
            in the net's order.

    Attributes:
        channels: of each returned map.
        strides: of each returned map, how many pixels of the image apart its pixels are.

    Raises:
        ValueError: the model has no stages, or `out_indices` names a map that it has not, one twice, or none.
    """

    def __init__(self, model: nn.Module, image: tuple[int, int, int], out_indices=None):
        if not hasattr(model, "stages"):
            raise ValueError(f"features_only: {type(model).__name__} has no stages, the generator of its maps")
        channels, side, _ = image
        with enable_grad():
            maps = list(model.eval().stages(Tensor(np.zeros((1, channels, side, side + WIDER), np.float32))))
        model.train()

        self.model, self.indices = model, _checked(out_indices, len(maps))
        maps = [maps[i] for i in self.indices]
        self.channels = tuple(y.shape[1] for y in maps)
        self.strides = tuple(WIDER // (y.shape[3] - y.shape[2]) for y in maps)
        for name in getattr(model, "top", ()):
            vars(model).pop(name, None)
        _drop_unused(model, {leaf for y in maps for leaf in count_leaf_edges(y.node)})

    def forward(self, x):
        maps = []
        for i, y in enumerate(self.model.stages(x)):
            if i in self.indices:
                maps.append(y)
            if i == self.indices[-1]:
                break
        return maps

    def named_children(self):
        """(name, module) of the model's children."""
        return self.model.named_children()

    def named_modules(self, prefix: str = ""):
        """(path, module) of this module, the model and everything below it, with the model's paths."""
        yield prefix, self
        yield from self.model.named_modules(prefix)


def _checked(out_indices, count: int) -> list[int]:
    """Places of the wanted maps among `count`, ascending."""
    try:
        wanted = list(range(count)) if out_indices is None else [operator.index(i) for i in out_indices]
    except TypeError:
        raise ValueError(f"out_indices must be integers in a tuple or list, got {out_indices!r}") from None
    for i in wanted:
        if not -count <= i < count:
            raise ValueError(f"out_indices = {out_indices!r}: of {count} maps, {i} is not between {-count} and {count - 1}")
    places = sorted({i % count for i in wanted})
    if not places or len(places) < len(wanted):
        raise ValueError(f"out_indices = {out_indices!r} must name at least one map, and none twice")
    return places


def _drop_unused(module: nn.Module, used: set) -> None:
    """Put Identity in the place of layers none of whose parameters is used."""
    for name, child in list(module.named_children()):
        parameters = set(child.parameters())
        if parameters and not parameters & used:
            setattr(module, name, nn.Identity())
        else:
            _drop_unused(child, used)
