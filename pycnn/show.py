"""``pycnn show``: a trained net's filters, its feature maps of a picture, and where in a picture it sees a class."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from . import no_grad
from .nn import Conv2d, Linear, Module
from .predict import Classifier, resize_and_crop
from .tensor import Tensor
from .train.checkpoint import replace_durably

MOST_SHOWN = 64
TOLERANCE = 1e-3  # of the largest logit, between the logits and those that the activation maps' means give


class ShowError(ValueError):
    """There is no such picture of this model; the message says why."""


# ---- filters ----------------------------------------------------------------------------------------------------------


def show_filters(model: Module, path: str | Path, layer: str | None = None, bgr: bool = False) -> str:
    """Draw a convolution's filters as a grid: in color if they see three channels, else the first channel, red positive.

    Args:
        model: the net.
        path: the PNG to write.
        layer: path of a :class:`~pycnn.nn.Conv2d`; left out, the first one.
        bgr: its three channels are blue, green, red.

    Returns:
        what is on the picture, in words.

    Raises:
        ShowError: there is no such layer, or it is no convolution.
    """
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, Conv2d)}
    if layer is None:
        layer = next(iter(convolutions), None)
    if layer not in convolutions:
        raise ShowError(f"{_no_layer(model, layer)}; convolutions are {', '.join(convolutions) or 'none'}")
    weight = convolutions[layer].weight.numpy()
    if weight.shape[1] == 3:
        weight = weight[:, ::-1] if bgr else weight
        low, high = weight.min(axis=(1, 2, 3), keepdims=True), weight.max(axis=(1, 2, 3), keepdims=True)
        pictures, scale = ((weight - low) / np.maximum(high - low, 1e-12)).transpose(0, 2, 3, 1), {}
    else:
        most = float(np.abs(weight[:, 0]).max()) or 1.0
        pictures, scale = weight[:, 0], {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    size = "×".join(map(str, weight.shape[2:]))
    channels = "" if weight.shape[1] in (1, 3) else f", the first of {weight.shape[1]} channels"
    title = f"{layer}: {_count(pictures, 'filters')} of {size}{channels}"
    _draw_grid(path, title, pictures, scale)
    return title


def _no_layer(model: Module, layer: str | None) -> str:
    there = dict(model.named_modules())
    return f"{layer} is a {type(there[layer]).__name__}" if layer in there else f"the model has no layer {layer!r}"


# ---- feature maps -----------------------------------------------------------------------------------------------------


def show_features(classifier: Classifier, image: np.ndarray, layer: str, path: str | Path) -> str:
    """Draw the feature maps that a layer makes of a picture, beside the picture. Each map has its own scale of grays.

    Args:
        classifier: see :func:`~pycnn.predict.load_classifier`.
        image: uint8 (3, H, W).
        layer: path of a module.
        path: the PNG to write.

    Returns:
        what is on the picture, in words.

    Raises:
        ShowError: there is no such layer, it takes no part, or its output is not a row of maps.
    """
    maps = feature_maps(classifier.model, classifier.input(image), layer)
    title = f"{layer}: {_count(maps, 'maps')} of {maps.shape[1]}×{maps.shape[2]}"
    shown = resize_and_crop(image, classifier.preprocessing).transpose(1, 2, 0)
    _draw_grid(path, title, maps, {"cmap": "gray"}, beside=shown)
    return title


def feature_maps(model: Module, x: Tensor, layer: str) -> np.ndarray:
    """The output (C, h, w) of a layer, of its last use, for one image.

    Args:
        model: the net.
        x: (1, C, H, W).
        layer: path of a module.

    Raises:
        ShowError: there is no such layer, it takes no part, or its output has another shape.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise ShowError(f"{_no_layer(model, layer)}; there are {', '.join(name for name in modules if name)}")
    seen: list = []
    remove = modules[layer].register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    try:
        with no_grad():
            model(x)
    finally:
        remove()
    if not seen:
        raise ShowError(f"{layer} = {modules[layer]} is not called in this model's forward")
    output = seen[-1][0] if isinstance(seen[-1], tuple) else seen[-1]
    if output.ndim != 4 or output.shape[0] != 1:
        raise ShowError(f"the output of {layer} has shape {output.shape}, feature maps are (1, C, h, w)")
    return output.numpy()[0]


# ---- class activation maps --------------------------------------------------------------------------------------------


def show_cam(classifier: Classifier, image: np.ndarray, path: str | Path, class_index: int | None = None) -> str:
    """Draw where in a picture a class is seen: its activation map over the picture, red where it speaks for the class.

    Args:
        classifier: see :func:`~pycnn.predict.load_classifier`.
        image: uint8 (3, H, W).
        path: the PNG to write.
        class_index: the class; left out, the most likely one.

    Returns:
        what is on the picture, in words.

    Raises:
        ShowError: the model has no activation maps (see :func:`class_activation_maps`), or there is no such class.
    """
    maps, logits = class_activation_maps(classifier.model, classifier.input(image))
    if class_index is None:
        class_index = int(np.argmax(logits))
    if not 0 <= class_index < len(logits):
        raise ShowError(f"--class must be 0 … {len(logits) - 1}, got {class_index}")
    probabilities = np.exp(logits - logits.max())
    probability = probabilities[class_index] / probabilities.sum()
    title = f"{classifier.class_name(class_index)}: {100 * probability:.1f} %, map of {maps.shape[1]}×{maps.shape[2]}"
    shown = resize_and_crop(image, classifier.preprocessing).transpose(1, 2, 0)
    _draw_overlay(path, title, shown, maps[class_index])
    return title


def class_activation_maps(model: Module, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where each class is seen (Zhou et al. 2016: Learning deep features for discriminative localization).

    arxiv.org/abs/1512.04150, section 2.
    A net that ends in global average pooling and one linear layer computes logit[c] = bias[c] + mean over the places of
    Σ weight[c, k]·map[k, place]: the sum before the mean is the class's activation map. The same holds where a 1×1
    convolution makes one map per class and the mean over it is the logit (Lin et al. 2013: Network in network).

    Args:
        model: the net, in evaluation mode.
        x: (1, C, H, W).

    Returns:
        the maps (classes, h, w), whose means, plus the bias of a linear layer, are the logits; and the logits (classes,).

    Raises:
        ShowError: the net does not end so; the message says in what it differs.
    """
    head = _head(model)
    maps, bias, logits = _linear_maps(model, x, head) if isinstance(head, Linear) else _convolved_maps(model, x)
    means = maps.mean(axis=(1, 2), dtype=np.float64) + bias
    if not np.abs(means - logits).max() <= TOLERANCE * np.abs(logits).max():
        raise ShowError(
            f"{type(model).__name__} has no class activation maps: its logits are not the means of the last maps times the last "
            "layer's weights, so something else than global average pooling stands between them"
        )
    return maps, logits


def _head(model: Module) -> Module:
    paths = getattr(model, "head", ())
    modules = dict(model.named_modules())
    main = [modules[path] for path in paths if not path.startswith("aux")]
    if len(main) != 1 or not isinstance(main[0], Linear | Conv2d) or not hasattr(model, "stages"):
        raise ShowError(
            f"{type(model).__name__} does not say where its maps end and its one last layer is "
            "(a method `stages` and a class attribute `head`)"
        )
    return main[0]


def _linear_maps(model: Module, x: Tensor, head: Linear):
    with no_grad():
        logits = model(x).numpy()[0].astype(np.float64)
        *_, last = model.stages(x)
    maps, weight = last.numpy()[0], head.weight.numpy()
    if weight.shape[1] != len(maps):
        raise ShowError(
            f"{type(model).__name__} has no class activation maps: its last layer weighs {weight.shape[1]:,} numbers, not "
            f"one mean per map of the last {len(maps)} ({' × '.join(map(str, maps.shape))}): no global average pooling before it"
        )
    bias = 0.0 if head.bias is None else head.bias.numpy().astype(np.float64)
    return np.tensordot(weight, maps, 1), bias, logits


def _convolved_maps(model: Module, x: Tensor):
    """Maps of a last convolution with a filter per class; a ReLU may stand before the mean."""
    path = next(path for path in model.head if not path.startswith("aux"))
    maps = feature_maps(model, x, path)
    with no_grad():
        logits = model(x).numpy()[0].astype(np.float64)
    if len(maps) != len(logits):
        raise ShowError(f"{type(model).__name__} has no class activation maps: {path} does not make one per class")
    positive = np.maximum(maps, 0)
    near = np.abs(positive.mean(axis=(1, 2)) - logits).max() <= TOLERANCE * np.abs(logits).max()
    return (positive if near else maps), 0.0, logits


# ---- drawing ----------------------------------------------------------------------------------------------------------


def _count(pictures: np.ndarray, what: str) -> str:
    return f"{len(pictures)} {what}" if len(pictures) <= MOST_SHOWN else f"{MOST_SHOWN} of {len(pictures)} {what}"


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: str | Path) -> None:
    if not Path(path).parent.is_dir():
        raise ShowError(f"{path}: there is no folder {Path(path).parent}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    replace_durably(Path(path), picture.getvalue())


def _draw_grid(path: str | Path, title: str, pictures: np.ndarray, scale: dict, beside: np.ndarray | None = None) -> None:
    shown = pictures[:MOST_SHOWN]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = -(-len(shown) // columns)
    side = 0.9 * rows if beside is not None else 0
    figure = _figure(max(0.9 * columns + side, 4), max(0.9 * rows + 0.5, 2))
    figure.suptitle(title)
    parts = figure.subfigures(1, 2, width_ratios=(rows, columns)) if beside is not None else [figure]
    if beside is not None:
        axes = parts[0].subplots()
        axes.imshow(beside)
        axes.axis("off")
    for axes in (grid := parts[-1].subplots(rows, columns, squeeze=False).ravel()):
        axes.axis("off")
    for axes, picture in zip(grid, shown, strict=False):
        axes.imshow(picture, interpolation="nearest", **scale)
    _save(figure, path)


def _draw_overlay(path: str | Path, title: str, image: np.ndarray, cam: np.ndarray) -> None:
    """The picture, and the picture under its map: bilinear from center to center, transparent where it says least."""
    from PIL import Image

    height, width = image.shape[:2]
    heat = (cam - cam.min()) / max(float(cam.max() - cam.min()), 1e-12)
    heat = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    figure = _figure(9, 4.8)
    figure.suptitle(title)
    for axes, overlaid in zip(figure.subplots(1, 2), (False, True), strict=True):
        axes.imshow(image)
        if overlaid:
            axes.imshow(heat, cmap="jet", vmin=0, vmax=1, alpha=0.15 + 0.45 * heat)
        axes.axis("off")
    _save(figure, path)
