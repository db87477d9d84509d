"""One picture of a run: its curves, the filters of the first layer, and the images it got wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..data import LabeledImages
from ..nn import Conv2d, Module
from .checkpoint import replace_durably

MOST_FILTERS, MOST_IMAGES = 32, 24


def draw(path: str | Path, title: str, epochs: list[dict], model: Module, test: LabeledImages, predictions: np.ndarray) -> None:
    """Write a PNG.

    Args:
        path: where.
        title: its heading.
        epochs: rows of ``metrics.csv``.
        model: its first :class:`~pycnn.nn.Conv2d` gives the filters.
        test: the images the predictions are of.
        predictions: (n,) predicted classes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    wrong = np.flatnonzero(predictions != test.labels)
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    curves, filters, images = figure.subfigures(1, 3, width_ratios=(4, 3, 5), squeeze=False)[0]
    _draw_curves(curves, epochs)
    first = next((m for m in model.modules() if isinstance(m, Conv2d)), None)
    if first is not None:
        _draw_filters(filters, first.weight.numpy())
    _draw_wrong(images, wrong, test, predictions)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, metadata={"Software": None})
    replace_durably(Path(path), picture.getvalue())


def _draw_curves(figure, epochs: list[dict]) -> None:
    x = [row["epoch"] + 1 for row in epochs]
    loss, error = figure.subplots(2, 1, sharex=True)
    for part, color in (("train", "tab:gray"), ("test", "tab:blue")):
        loss.plot(x, [row[f"{part}_loss"] for row in epochs], color=color, label=part)
        error.plot(x, [100 * (1 - row[f"{part}_accuracy"]) for row in epochs], color=color)
    loss.set(ylabel="loss", yscale="log", title="learning")
    loss.legend(frameon=False)
    error.set_yscale("symlog", linthresh=1)  # 0 has a place on it
    ticks = (0, 1, 2, 5, 10, 20, 50, 100)
    error.set(ylabel="error in %", xlabel="epoch", ylim=(0, None), yticks=ticks, yticklabels=map(str, ticks))


def _draw_filters(figure, weight: np.ndarray) -> None:
    shown = weight[:MOST_FILTERS]
    columns = min(len(shown), 3 if len(shown) <= 12 else 6)
    rows = -(-len(shown) // columns)
    figure.suptitle("filters of the first layer" + (f" ({len(shown)} of {len(weight)})" if len(shown) < len(weight) else ""))
    if shown.shape[1] == 3:  # color, each filter stretched to 0 … 1
        low, high = shown.min(axis=(1, 2, 3), keepdims=True), shown.max(axis=(1, 2, 3), keepdims=True)
        pictures, scale = ((shown - low) / np.maximum(high - low, 1e-12)).transpose(0, 2, 3, 1), {}
    else:
        most = float(np.abs(shown[:, 0]).max()) or 1.0
        pictures, scale = shown[:, 0], {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    for axes, picture in _grid(figure, rows, columns, pictures):
        axes.imshow(picture, **scale)


def _draw_wrong(figure, wrong: np.ndarray, test: LabeledImages, predictions: np.ndarray) -> None:
    percent = 100 * (1 - len(wrong) / len(test))
    more = f", {min(len(wrong), MOST_IMAGES)} shown" if len(wrong) > MOST_IMAGES else ""
    figure.suptitle(f"{len(wrong)} of {len(test)} test images wrong ({percent:.2f} % right{more})")
    shown = wrong[:MOST_IMAGES]
    columns = min(4 + len(shown) // 6, 8)
    for axes, i in _grid(figure, max(-(-len(shown) // columns), 1), columns, shown):
        image = test.image(i)
        axes.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray_r")
        axes.set_title(f"{test.classes[test.labels[i]]}, said {test.classes[predictions[i]]}", fontsize=8)


def _grid(figure, rows: int, columns: int, items):
    """(axes, item) for each item; all axes lose their frames."""
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    return zip(grid, items, strict=False)
