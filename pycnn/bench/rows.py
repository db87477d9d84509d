"""The table of what is measured. ``pycnn bench``, the pytest-benchmark files and the README's tables all read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch

import numpy as np

from . import convolution, full_nets, memory_bound, net, process, products, transposed
from .contest import Contest, Setting, random


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        group: which mean it enters.
        name: unique within the group.
        op: the kernel op it spends its time in, "" for a mixture.
        work: setting -> FLOP, bytes, or 0 where no rate is given.
        unit: "FLOP/s", "B/s" or "" of the rate.
        prepare: setting -> the contest; None for what processes of their own measure.
        probe: library ("pycnn", "torch") -> its value from a new process.
        quantity: "s" (time) or "B" (memory); less is better.
    """

    group: str
    name: str
    op: str = ""
    work: Callable[[Setting], float] = lambda _: 0.0
    unit: str = ""
    prepare: Callable[[Setting], Contest] | None = None
    probe: Callable[[str], float] | None = None
    quantity: str = "s"

    @property
    def id(self) -> str:
        """What ``--filter`` is matched with."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True)
class Group:
    """Rows that are summed up together.

    Attributes:
        title: heading of its table.
        target: the geometric mean of torch / pycnn to reach, None for none.
        least: what torch / pycnn of every row must reach, None for nothing.
        limit: the most a row of pycnn may need, in the row's quantity, None for none.
    """

    title: str
    target: float | None = None
    least: float | None = None
    limit: float | None = None


GROUPS = {
    "step": Group("One training step", target=1.0),
    "convolution": Group("Dense convolutions", target=0.9, least=0.5),
    "1x1 convolution": Group("1x1 convolutions", target=1.0),
    "depthwise convolution": Group("Depthwise convolutions", target=1.5),
    "grouped convolution": Group("Grouped convolutions", target=1.5),
    "transposed convolution": Group("Transposed convolutions"),
    "gemm": Group("Matrix products"),
    "memory": Group("Memory-bound ops", target=0.9),
    "overhead": Group("Overhead of a small op"),
    "import": Group("Import", limit=0.3),
    "peak memory": Group("Peak memory of 10 training steps"),
    "net inference": Group("Inference of whole nets", target=0.8, least=0.5),
    "net step": Group("Training steps of whole nets", target=0.8, least=0.5),
    "net memory": Group("Peak memory of training whole nets", target=0.83),  # 1 / 1.2
}


def _step(name: str) -> Row:
    return Row("step", f"{name}, batch {net.NETS[name].batch}", prepare=lambda s: net.training_step(s, net.NETS[name]))


def _growth(library: str, name: str) -> float:
    memory = process.training_memory(library, name)
    return float(memory["peak"] - memory["before"])


def _memory(name: str) -> Iterator[Row]:
    growth, peak = (lambda lib: _growth(lib, name)), (lambda lib: process.training_memory(lib, name)["peak"])
    for value, probe in (("for the net", growth), ("whole process", peak)):
        yield Row("peak memory", f"{name}, batch {net.NETS[name].batch}, {value}", probe=probe, quantity="B")


def _full(net: full_nets.FullNet) -> Iterator[Row]:
    yield Row("net inference", net.id, prepare=lambda setting: full_nets.inference(setting, net))
    yield Row("net step", net.id, prepare=lambda setting: full_nets.training_step(setting, net))
    yield Row("net memory", net.id, probe=lambda library: _growth(library, net.name), quantity="B")


def convolution_row(layer: convolution.Layer, direction: str) -> Row:
    """One pass of a convolution."""
    return Row(
        layer.group, f"{layer.name} {direction}", f"conv2d_{direction}", lambda _: layer.flops, "FLOP/s",
        lambda setting: convolution.contest(setting, layer, direction),
    )  # fmt: skip


def transposed_row(layer: transposed.Layer, direction: str) -> Row:
    """One pass of a transposed convolution."""
    return Row(
        "transposed convolution", f"{layer.name} {direction}", f"conv2d_{transposed.DUAL[direction]}",
        lambda _: layer.dual.flops, "FLOP/s", lambda setting: transposed.contest(setting, layer, direction),
    )  # fmt: skip


def product_row(name: str, size: tuple[int, int, int]) -> Row:
    """A matrix product of M, N, K."""
    m, n, k = size
    return Row(
        "gemm", f"{name} {m}×{n}×{k}", "gemm", lambda _: 2 * m * n * k, "FLOP/s", lambda setting: products.contest(setting, size)
    )


def _memory_row(name: str, row: memory_bound.MemoryRow) -> Row:
    return Row("memory", name, row.op, row.bytes, "B/s", row.prepare)


def _small_relu(setting: Setting) -> Contest:
    expected = memory_bound._elementwise(lambda x: np.maximum(x, 0))
    return memory_bound.functional(lambda _: [random(8)], memory_bound._relu, image=False)(setting, expected)


SMALL = convolution.Layer("overhead", "convolution", "of 8 by 8 pixels", 1, 1, 8, 8, 1, 3, 3, 1, 0, 1)


def rows() -> Iterator[Row]:
    """Every row, in the order of the report."""
    yield from map(_step, net.NETS)
    for layer in convolution.layers():
        for direction in convolution.PASSES:
            yield convolution_row(layer, direction)
    for transposed_layer in transposed.LAYERS:
        for direction in convolution.PASSES:
            yield transposed_row(transposed_layer, direction)
    for name, size in products.SIZES.items():
        yield product_row(name, size)
    for name, row in memory_bound.ROWS.items():
        yield _memory_row(name, row)
    yield Row("overhead", "relu of 8 numbers", "relu", prepare=_small_relu)
    yield replace(convolution_row(SMALL, "forward"), name="convolution 3×3 of 1×1×8×8", unit="", work=lambda _: 0.0)
    yield Row("import", "import", probe=process.import_seconds)
    for name in net.NETS:
        yield from _memory(name)
    for full in full_nets.NETS:
        yield from _full(full)


def select(pattern: str | None = None, group: str | None = None, op: str | None = None) -> list[Row]:
    """Rows of a group or op whose id ("group/name") holds `pattern`, a shell pattern or a part of it."""
    chosen = [r for r in rows() if (group is None or r.group == group) and (op is None or r.op == op)]
    if pattern:
        wild = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        chosen = [r for r in chosen if fnmatch(r.id.lower(), wild.lower())]
    return chosen
