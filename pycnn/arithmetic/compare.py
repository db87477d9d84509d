"""The lecture's two pictures, drawn from our figures and published accuracies: nets by accuracy, cost and size (after Canziani,
Culurciello and Paszke 2016, arxiv.org/abs/1605.07678), and the winners of ILSVRC by year, depth and error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..models import list_models
from . import ledger
from .facts import facts, of_net
from .table import aligned, csv_lines, markdown

# name -> (label, log scale, unit it is drawn in)
AXES: dict[str, tuple[str, bool, float]] = {
    "macs": ("multiply-adds for one image, billions", True, 1e9),
    "flops": ("floating-point operations for one image, billions", True, 1e9),
    "parameters": ("parameters, millions", True, 1e6),
    "activations": ("activations for one image, millions", True, 1e6),
    "inference_bytes": ("memory of arrays alive in inference, MB", True, 1e6),
    "training_bytes": ("memory of all outputs in training, MB", True, 1e6),
    "top1": ("top-1 accuracy on ImageNet's validation set, %", False, 1),
    "top5": ("top-5 accuracy on ImageNet's validation set, %", False, 1),
}
FAMILIES = {
    "AlexNet, ZFNet": ("alexnet", "zfnet", "nin"),
    "VGG": ("vgg",),
    "GoogLeNet": ("googlenet",),
    "ResNet": ("resnet", "preact", "stochastic"),
    "wide ResNet, ResNeXt": ("wide", "resnext"),
    "DenseNet": ("densenet",),
    "small nets": ("squeezenet", "mobilenet", "shufflenet"),
}
COLORS = ("#7f7f7f", "#d62728", "#9467bd", "#1f77b4", "#17becf", "#2ca02c", "#ff7f0e")
POINTS_PER_MILLION = 22.0  # area of a blob in points², per million parameters


@dataclass(frozen=True)
class Net:
    """One blob.

    Attributes:
        name: of the net.
        top1, top5: published accuracy in %; None where the source has none.
        macs, flops, parameters, activations, inference_bytes, training_bytes: of :class:`pycnn.arithmetic.ledger.Line`; None
            where only published figures are there.
        figures: "computed" by a forward pass, or "published".
        source: of the accuracy.
    """

    name: str
    top1: float | None
    top5: float | None
    macs: float | None
    flops: float | None
    parameters: float | None
    activations: float | None
    inference_bytes: float | None
    training_bytes: float | None
    figures: str
    source: str


@dataclass(frozen=True)
class Entry:
    """An entry of ILSVRC's classification task.

    Attributes:
        name: the net or the team.
        year: of the challenge.
        depth: layers with weights on the longest path; None: no deep net, or an ensemble of several kinds.
        top5_error: on the test set, in %.
        source, note: where it stands, and what it is of.
    """

    name: str
    year: int
    depth: int | None
    top5_error: float
    source: str
    note: str


def nets(names: Iterable[str] | None = None, compute: bool = True) -> list[Net]:
    """Nets with a published accuracy and the figures of a pass over each.

    Args:
        names: which ones; None: all that facts.csv has an accuracy of.
        compute: run registered nets; else, and for others, take the published figures.

    Raises:
        ValueError: nothing is published of a net in `names`.
    """
    known = dict.fromkeys(f.name for f in facts() if f.kind == "net" and f.quantity in ("top1", "top5"))
    wanted = list(known if names is None else names)
    registered = set(list_models())
    found = []
    for name in wanted:
        if name not in known:
            raise ValueError(f"no accuracy of {name!r} is known; there are accuracies of {', '.join(known)}")
        said = {f.quantity: f for f in sorted(of_net(name), key=lambda f: len(f.value))}  # the one with most digits counts
        accuracy = said.get("top1") or said["top5"]
        figures: dict[str, float | None] = dict.fromkeys(
            ("macs", "flops", "parameters", "activations", "inference_bytes", "training_bytes")
        )
        if compute and name in registered:
            line = ledger.line(name)
            figures = {key: getattr(line, key) for key in figures}
        else:
            figures |= {key: round(said[key].number) for key in ("macs", "parameters") if key in said}
        top1, top5 = (said[key].number if key in said else None for key in ("top1", "top5"))
        how = "computed" if compute and name in registered else "published"
        found.append(Net(name, top1, top5, figures=how, source=accuracy.source, **figures))
    return found


def history() -> tuple[list[Entry], float]:
    """The entries of ILSVRC in order, and the human top-5 error in %."""
    rows: dict[str, dict[str, str]] = {}
    for fact in facts():
        if fact.kind == "history":
            row = rows.setdefault(fact.name, {"source": fact.source, "note": fact.note})
            row[fact.quantity] = fact.value
    human = float(rows.pop("human")["top5_error"])
    entries = [
        Entry(name, int(r["year"]), int(r["depth"]) if "depth" in r else None, float(r["top5_error"]), r["source"], r["note"])
        for name, r in rows.items()
    ]
    return sorted(entries, key=lambda e: (e.year, -e.top5_error)), human


# ---- tables -----------------------------------------------------------------------------------------------------------


def render(rows: list, format: str = "text") -> str:
    """A list of :class:`Net` or :class:`Entry` as "text", "markdown", "json" or "csv".

    Raises:
        ValueError: there is no such format.
    """
    names = [f.name for f in fields(rows[0])] if rows else []
    if format == "json":
        return json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    if format == "csv":
        return csv_lines(names, [asdict(row).values() for row in rows])
    shown = [name for name in names if any(getattr(row, name) not in (None, "") for row in rows)]
    lines = [[_text(name, getattr(row, name)) for name in shown] for row in rows]
    right = [name not in ("name", "figures", "source", "note") for name in shown]
    headings = [name.replace("_", " ") for name in shown]
    if format == "markdown":
        return markdown(headings, lines, right)
    if format == "text":
        return "\n".join(aligned(headings, lines, right)) + "\n"
    raise ValueError(f"format must be one of text, markdown, json, csv, got {format!r}")


def _text(name: str, value) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, int | float) and value > 1e4 else str(value)


# ---- pictures ---------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: str | Path) -> None:
    figure.savefig(path, metadata={"Software": None})


def _family(name: str) -> int:
    return next((i for i, starts in enumerate(FAMILIES.values()) if name.startswith(starts)), 0)


def draw(nets: list[Net], path: str | Path, x: str = "macs", y: str = "top1") -> None:
    """Write a PNG: `y` against `x`, the area of each blob proportional to the net's parameters.

    Args:
        nets: those that lack one of the three figures are left out.
        path: where.
        x, y: names of :data:`AXES`.

    Raises:
        ValueError: there is no such axis, or no net has the figures.
    """
    for argument, value in (("x", x), ("y", y)):
        if value not in AXES:
            raise ValueError(f"{argument} must be one of {', '.join(AXES)}, got {value!r}")
    drawn = [n for n in nets if None not in (getattr(n, x), getattr(n, y), n.parameters)]
    if not drawn:
        raise ValueError(f"no net has both {x} and {y}")
    figure = _figure(12.5, 8)
    axes = figure.subplots()
    points = [(getattr(n, x) / AXES[x][2], getattr(n, y) / AXES[y][2]) for n in drawn]
    areas = [POINTS_PER_MILLION * (n.parameters or 0) / 1e6 for n in drawn]
    for i, family in enumerate(FAMILIES):
        here = [k for k, n in enumerate(drawn) if _family(n.name) == i]
        if here:
            xs, ys = zip(*(points[k] for k in here), strict=True)
            axes.scatter(xs, ys, [areas[k] for k in here], color=COLORS[i], alpha=0.45, linewidths=0, label=family)
            axes.scatter(xs, ys, 5, color=COLORS[i])
    for axis, name in ((axes.xaxis, x), (axes.yaxis, y)):
        label, log, _ = AXES[name]
        axis.set_label_text(label, fontsize=12)
        if log:
            axis.axes.set(**{f"{axis.axis_name}scale": "log"})
            axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(0.08)
    axes.grid(alpha=0.25)
    families = axes.legend(loc="lower right", frameon=False, fontsize=10)
    for handle in families.legend_handles:
        handle.set_sizes([80])
    axes.add_artist(families)
    sizes = [axes.scatter([], [], POINTS_PER_MILLION * m, color="#bbbbbb", label=f"{m} M") for m in (1, 10, 50, 100)]
    axes.legend(
        handles=sizes, loc="upper left", frameon=False, fontsize=10, title="parameters", ncols=4, borderpad=1.0,
        handletextpad=2.4, columnspacing=4.2, labelspacing=2.0,
    )  # fmt: skip
    published = sorted({n.name for n in drawn if n.figures == "published"})
    some = "" if len(published) < len(drawn) and published else "all " if published else ""
    note = f"; {some}{len(published)} with published operations and parameters" if published else ""
    axes.set_title(f"{len(drawn)} classification nets, area of a blob ∝ parameters{note}", fontsize=12)
    sources = sorted({n.source for n in drawn})
    figure.supxlabel("Accuracies: " + _wrapped("; ".join(sources), 150), fontsize=7.5, color="#555555")
    _label(figure, axes, points, [n.name for n in drawn], [COLORS[_family(n.name)] for n in drawn])
    _save(figure, path)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _label(figure, axes, points, names, colors) -> None:
    """Name each point where no other name or point is: at the nearest free place around it, with a line to it."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # places are in pixels from here on
    renderer, inside = figure.canvas.get_renderer(), axes.get_window_extent()
    scale = figure.dpi / 72
    pixels = axes.transData.transform(points)
    taken = [Bbox.from_bounds(px - 4, py - 4, 8, 8) for px, py in pixels]
    taken += [legend.get_window_extent() for legend in (axes.get_legend(), *axes.artists)]
    for i in sorted(range(len(names)), key=lambda i: -pixels[i][1]):
        text = axes.annotate(
            names[i], points[i], fontsize=8.5, color=_darker(colors[i]), textcoords="offset pixels", xytext=(0, 0), ha="center",
            va="center",
        )  # fmt: skip
        box = text.get_window_extent(renderer)
        width, height = box.width + 4, box.height + 2
        place, offset = _free_place(pixels[i], width, height, scale, taken, inside)
        taken.append(place)
        text.set_position(offset)
        dx, dy = offset  # the line ends at the name's edge
        shrink = 1 - min(width / 2 / max(abs(dx), 1e-9), height / 2 / max(abs(dy), 1e-9))
        end = axes.transData.inverted().transform(pixels[i] + (dx * shrink, dy * shrink))
        axes.plot(*zip(points[i], end, strict=True), color=colors[i], linewidth=0.8)


def _darker(color: str) -> str:
    """Half as bright, for text."""
    return "#" + "".join(f"{int(color[i : i + 2], 16) // 2:02x}" for i in (1, 3, 5))


def _free_place(pixel, width: float, height: float, scale: float, taken: list, inside):
    """The nearest box around a pixel that meets no other and lies inside the axes, and its offset."""
    import math

    from matplotlib.transforms import Bbox

    best = None
    for ring in range(14):
        for turn in range(16):
            angle = 2 * math.pi * turn / 16
            away = (6 + 7 * ring) * scale
            dx, dy = math.cos(angle) * (away + width / 2), math.sin(angle) * (away + height / 2)
            box = Bbox.from_bounds(pixel[0] + dx - width / 2, pixel[1] + dy - height / 2, width, height)
            best = best or (box, (dx, dy))
            within = box.x0 > inside.x0 and box.x1 < inside.x1 and box.y0 > inside.y0 and box.y1 < inside.y1
            if within and not any(box.overlaps(other) for other in taken):
                return box, (dx, dy)
    return best


def draw_history(path: str | Path) -> None:
    """Write a PNG: top-5 error of ILSVRC's entries by year beside the human figure, and the nets' depth."""
    entries, human = history()
    figure = _figure(10.5, 6.6)
    errors, depths = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = range(len(entries))
    colors = ["#9a9a9a" if e.depth is None and e.year < 2012 else "#1f77b4" for e in entries]
    bars = errors.bar(places, [e.top5_error for e in entries], color=colors, width=0.66)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # where the human figure's line passes
    errors.bar_label(bars, [f"{e.top5_error:g}" for e in entries], padding=3, fontsize=11, bbox=box)
    errors.axhline(human, color="#d62728", linestyle="--", linewidth=1.4, zorder=0)
    errors.text(len(entries) - 0.5, human + 0.4, f"human {human:g} %", color="#d62728", ha="right", va="bottom", fontsize=11)
    errors.set_ylabel("top-5 error, %", fontsize=12)
    errors.set_ylim(0, 32)
    errors.set_title("ILSVRC, classification: winners by year (2014: and second place)", fontsize=13)
    deep = [(i, e.depth) for i, e in enumerate(entries) if e.depth is not None]
    bars = depths.bar([i for i, _ in deep], [d for _, d in deep], color="#2ca02c", width=0.66)
    depths.bar_label(bars, padding=2, fontsize=11)
    for i, e in enumerate(entries):
        if e.depth is None:
            depths.text(i, 4, "no deep net" if e.year < 2012 else "mixed\nensemble", ha="center", fontsize=9.5, color="#777777")
    depths.set_ylabel("layers", fontsize=12)
    depths.set_ylim(0, 185)
    depths.set_xticks(places, [f"{e.name}\n{e.year}" for e in entries], fontsize=9.5)
    for axes in (errors, depths):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", length=0)
    sources = sorted({e.source for e in entries} | {f.source for f in facts() if (f.kind, f.name) == ("history", "human")})
    figure.supxlabel("Sources: " + "; ".join(sources), fontsize=8, color="#555555")
    _save(figure, path)
