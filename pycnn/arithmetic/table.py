"""Summaries as text, Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields

from .summary import Row, Summary

FORMATS = ("text", "markdown", "json", "csv")
LAYOUTS = ("nchw", "nhwc")


def shape_text(shape: Sequence[int], layout: str = "nchw") -> str:
    """[1, 96, 55, 55], or as the lecture writes it, any batch and channels last: [?, 55, 55, 96]."""
    if layout == "nhwc" and shape:
        extents = (shape[2], shape[3], shape[1]) if len(shape) == 4 else shape[1:]
        return f"[{', '.join(['?', *map(str, extents)])}]"
    return f"[{', '.join(map(str, shape))}]"


def bytes_text(number: int) -> str:
    """1,500,000 -> "1.50 MB"; decimal units."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number} B"


def _pair_text(pair) -> str:
    if pair is None:
        return ""
    height, width = (f"{number:g}" if number < 1e6 else f"{number}" for number in pair)
    return height if height == width else f"{height}×{width}"


def _count(row: Row, number: int) -> str:
    return f"{number:,}" if number else "--"


def _parameters(row: Row, layout: str) -> str:
    if row.repeated:
        return "(recursive)"
    return f"{row.parameters_formula} = {row.parameters:,}" if row.parameters_formula else _count(row, row.parameters)


# name on the command line -> (heading, whether numbers stand on the right, text of a row)
COLUMNS: dict[str, tuple[str, bool, Callable[[Row, str], str]]] = {
    "input": ("Input Shape", False, lambda row, layout: shape_text(row.input_shape, layout)),
    "output": ("Output Shape", False, lambda row, layout: shape_text(row.output_shape, layout)),
    "size": ("Size Formula", False, lambda row, layout: row.size_formula),
    "params": ("Param #", True, _parameters),
    "macs": ("Mult-Adds", True, lambda row, layout: _count(row, row.macs)),
    "flops": ("FLOPs", True, lambda row, layout: _count(row, row.flops)),
    "memory": ("Output", True, lambda row, layout: bytes_text(row.output_bytes) if row.output_bytes else "--"),
    "im2col": ("im2col", True, lambda row, layout: bytes_text(row.im2col_bytes) if row.im2col_bytes else "--"),
    "field": ("Field", True, lambda row, layout: _pair_text(row.receptive_field)),
    "stride": ("Stride", True, lambda row, layout: _pair_text(row.stride)),
}


def render(
    summary: Summary, format: str = "text", layout: str = "nchw", depth: int | None = None, columns: Sequence[str] | None = None
) -> str:
    """A summary as text.

    Args:
        summary: what to show.
        format: "text", "markdown", "json" or "csv". JSON holds everything; CSV has a line per row.
        layout: how shapes are written, "nchw" or "nhwc" (the lecture's [?, 55, 55, 96]); not of JSON and CSV.
        depth: rows deeper in the tree are left out, and the module that holds them shows their sums; None: all rows.
        columns: which ones, names of :data:`COLUMNS`; None: all. Not of JSON and CSV, which have all.

    Raises:
        ValueError: there is no such format, layout or column, or `depth` is negative.
    """
    for argument, value, known in (("format", format, FORMATS), ("layout", layout, LAYOUTS)):
        if value not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")
    for column in columns or ():
        if column not in COLUMNS:
            raise ValueError(f"columns: there is no column {column!r}; there are {', '.join(COLUMNS)}")
    if depth is not None and depth < 0:
        raise ValueError(f"depth must be 0 or more, got {depth}")
    rows = [row for row in summary.rows if depth is None or row.depth <= depth]
    if format == "json":
        return json.dumps(summary.asdict() | {"rows": [asdict(row) for row in rows]}, indent=1)
    if format == "csv":
        return _csv(rows)
    chosen = [COLUMNS[name] for name in columns or COLUMNS]
    cut = {id(row) for row in rows if row.container and (depth is None or row.depth < depth)}
    names = _tree(rows) if format == "text" else [_label(row) for row in rows]
    lines = []
    for row, name in zip(rows, names, strict=True):
        hides = id(row) in cut  # its sums stand in the rows below it
        cells = ["" if hides and right else text(row, layout) for _, right, text in chosen]
        if hides:
            cells = ["--" if right and heading not in ("Field", "Stride") else cell
                     for (heading, right, _), cell in zip(chosen, cells, strict=True)]  # fmt: skip
        lines.append([name, *cells])
    headings = ["Layer (type:depth-idx)", *(heading for heading, _, _ in chosen)]
    right = [False, *(on_the_right for _, on_the_right, _ in chosen)]
    if format == "markdown":
        return markdown(headings, lines, right) + "\n" + "\n".join(f"- {line}" for line in footer(summary, layout)) + "\n"
    table = aligned(headings, lines, right)
    rule = "=" * max(len(line) for line in table)
    return "\n".join([rule, table[0], rule, *table[1:], rule, *footer(summary, layout), rule])


def _label(row: Row) -> str:
    return f"{row.type}{f' ({row.name})' if row.name else ''}: {row.depth}-{row.index}"


def _tree(rows: Sequence[Row]) -> list[str]:
    """Labels with the branches that lead to them."""
    labels = []
    for i, row in enumerate(rows):
        marks = ""
        for level in range(1, row.depth + 1):
            later = next((r.depth for r in rows[i + 1 :] if r.depth <= level), 0)
            goes_on = later == level
            marks += ("├─" if goes_on else "└─") if level == row.depth else ("│ " if goes_on else "  ")
        labels.append(marks + _label(row))
    return labels


def footer(summary: Summary, layout: str = "nchw") -> list[str]:
    """The totals, a line each."""
    size = summary.input_bytes, summary.inference_bytes, summary.training_bytes, summary.parameter_bytes
    left_out = f" ({', '.join(summary.not_run)} not run in evaluation mode)" if summary.not_run else ""
    return [
        f"Total params: {summary.parameters:,}{left_out}",
        f"Trainable params: {summary.trainable:,}",
        f"Non-trainable params: {summary.parameters - summary.trainable:,}",
        f"Total mult-adds: {summary.macs:,}",
        f"Total FLOPs: {summary.flops:,}",
        f"Input: {shape_text(summary.input_shape, layout)}, {_mega(size[0])}",
        f"Params: {_mega(size[3])}",
        f"Activations: {summary.activations:,} (input and layers' outputs; element by element and batch norm in place)",
        f"Memory for inference: {_mega(size[1])} (most alive at one op, each array freed after its last reader)",
        f"Memory for training: {_mega(size[2])} (input and every op's output kept, nothing in place)",
        f"im2col's largest workspace: {_mega(summary.im2col_bytes)} (one image)",
    ]


def _mega(number: int) -> str:
    decimals = 2 if number >= 1e6 else 4
    return f"{number / 1e6:,.{decimals}f} MB ({number / 2**20:,.{decimals}f} MiB)"


def aligned(headings: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines of a text table, two spaces between columns, heading first."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    return [
        "  ".join(f"{cell:>{w}}" if r else f"{cell:{w}}" for cell, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in (headings, *lines)
    ]


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A Markdown table."""
    rows = [headings, ["---:" if r else "---" for r in right], *lines]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def csv_lines(headings: Sequence[str], lines: Iterable[Iterable]) -> str:
    """Values as CSV; a tuple is written 3x224x224, None as nothing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(headings)
    for line in lines:
        writer.writerow(["x".join(map(str, v)) if isinstance(v, tuple) else "" if v is None else v for v in line])
    return file.getvalue()


def _csv(rows: Sequence[Row]) -> str:
    names = [f.name for f in fields(Row)]
    return csv_lines(names, ([getattr(row, name) for name in names] for row in rows)).rstrip("\n")
