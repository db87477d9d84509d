"""The ledger: every registered net's figures beside the paper's and the lecture's, and why they differ where they do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields

from .. import nn
from ..models import list_models, registry
from ..tensor import Tensor
from .facts import Fact, facts, of_net
from .summary import Summary, summary
from .table import aligned, bytes_text, csv_lines, markdown

UNEXPLAINED = "UNEXPLAINED"
EXACT = "exact"
ROUNDED = "rounded"


@dataclass(frozen=True)
class Line:
    """A net's own figures.

    Attributes:
        name: its registered name.
        image: (C, H, W).
        parameters: of the layers that evaluation mode runs.
        training_only: parameters of the others (auxiliary heads).
        linear: parameters of the fully connected layers.
        macs, flops: multiply-adds and floating-point operations for one image.
        activations: numbers in the input and in the layers' outputs, element-wise ones in place.
        inference_bytes, training_bytes: see :class:`Summary`.
    """

    name: str
    image: tuple[int, int, int]
    parameters: int
    training_only: int
    linear: int
    macs: int
    flops: int
    activations: int
    inference_bytes: int
    training_bytes: int


@dataclass(frozen=True)
class Comparison:
    """A fact beside our figure. `verdict` is "exact", "rounded" (equal to the source's digits), else the reason."""

    fact: Fact
    ours: float
    verdict: str


def line(name: str) -> Line:
    """A registered net's figures, from one forward pass.

    Raises:
        ValueError: there is no such net.
    """
    return _line(summary(name))


def _line(s: Summary) -> Line:
    layers = [row for row in s.rows if not row.container]
    run = sum(row.parameters for row in layers)
    return Line(
        s.model, registry.entry(s.model).image, run, s.parameters - run, sum(r.parameters for r in layers if r.type == "Linear"),
        s.macs, s.flops, s.activations, s.inference_bytes, s.training_bytes,
    )  # fmt: skip


QUANTITIES: dict[str, Callable[[Line], float]] = {
    "parameters": lambda net: net.parameters,
    "macs": lambda net: net.macs,
    "activation_bytes": lambda net: 4 * net.activations,
    "linear_share": lambda net: net.linear / net.parameters,
}
TIMES = "times_fewer_than_"  # + the other net's name: a ratio of parameters


class _Inception3x3(nn.Module):
    """The lecture's path of an inception module: 256 maps to 192 through 3×3 filters, with a 1×1 bottleneck of 64 or without."""

    def __init__(self, bottleneck: bool):
        width = 64 if bottleneck else 256
        self.reduce = nn.Conv2d(256, 64, 1, bias=False) if bottleneck else nn.Identity()
        self.conv = nn.Conv2d(width, 192, 3, padding=1, bias=False)

    def forward(self, x: Tensor):
        return self.conv(self.reduce(x))


def _stack(filters: int, size: int) -> Summary:
    """Convolutions of 64 maps one on another."""
    layers = (nn.Conv2d(64, 64, size, padding=size // 2, bias=False) for _ in range(filters))
    return summary(nn.Sequential(*layers), (64, 28, 28))


def _field(s: Summary) -> int:
    found = s.rows[0].receptive_field
    return found[0] if found else 0


CLAIMS: dict[str, tuple[str, Callable[[], float]]] = {
    "inception_3x3_direct": (
        "inception's 3×3 path, 3·3·192·256",
        lambda: summary(_Inception3x3(False), (256, 28, 28)).parameters,
    ),
    "inception_3x3_bottleneck": (
        "the same through 64 maps, 1·1·64·256 + 3·3·192·64",
        lambda: summary(_Inception3x3(True), (256, 28, 28)).parameters,
    ),
    "field_three_3x3": ("receptive field of three 3×3 convolutions", lambda: _field(_stack(3, 3))),
    "field_one_7x7": ("receptive field of one 7×7 convolution", lambda: _field(_stack(1, 7))),
    "parameters_three_3x3": ("parameters of three 3×3 in C², 3·(3·3·C·C)", lambda: _stack(3, 3).parameters / 64**2),
    "parameters_one_7x7": ("parameters of one 7×7 in C², 7·7·C·C", lambda: _stack(1, 7).parameters / 64**2),
}


def lines(names: list[str] | None = None) -> Iterator[Line]:
    """The figures of nets, one by one; None: of all that are registered."""
    for name in list_models() if names is None else names:
        yield line(name)


def compare_with_facts(nets: dict[str, Line]) -> list[Comparison]:
    """Facts about the nets given beside their figures; those of other nets, and accuracies, are left out."""
    found = []
    for name, net in nets.items():
        for fact in of_net(name):
            if fact.quantity.startswith(TIMES):
                other = nets.get(fact.quantity.removeprefix(TIMES))
                if other is None:
                    continue
                ours = other.parameters / net.parameters
            elif fact.quantity in QUANTITIES:
                ours = QUANTITIES[fact.quantity](net)
            else:
                continue
            found.append(Comparison(fact, ours, _verdict(fact, ours)))
    return found


def claims() -> list[Comparison]:
    """The lecture's worked examples, computed by running them."""
    return [Comparison(f, ours := CLAIMS[f.name][1](), _verdict(f, ours)) for f in facts() if f.kind == "claim"]


def _verdict(fact: Fact, ours: float) -> str:
    if ours == fact.number:
        return EXACT
    return ROUNDED if fact.agrees(ours) else fact.note or UNEXPLAINED


# ---- as text ----------------------------------------------------------------------------------------------------------

HEADINGS = ["Net", "Image", "Parameters", "Training only", "Mult-adds", "FLOPs", "Activations", "Inference", "Training"]
RIGHT = [False, False, *[True] * 7]
FACT_HEADINGS = ["Net", "Quantity", "Ours", "Said", "By", "Why they differ", "Source"]
FACT_RIGHT = [False, False, True, True, False, False, False]


def _cells(net: Line) -> list[str]:
    return [
        net.name, "×".join(map(str, net.image)), f"{net.parameters:,}", f"{net.training_only:,}" if net.training_only else "",
        f"{net.macs:,}", f"{net.flops:,}", f"{net.activations:,}",
        bytes_text(net.inference_bytes), bytes_text(net.training_bytes),
    ]  # fmt: skip


def _figure(quantity: str, ours: float) -> str:
    if quantity == "linear_share":
        return f"{100 * ours:.1f} %"
    if quantity.startswith(TIMES):
        return f"{ours:.1f}"
    return f"{ours:,.0f}"


def _fact_cells(c: Comparison) -> list[str]:
    verdict = {EXACT: "equal", ROUNDED: "equal, rounded"}.get(c.verdict, c.verdict)
    name = CLAIMS[c.fact.name][0] if c.fact.kind == "claim" else c.fact.name
    quantity = c.fact.quantity.replace("_", " ")
    return [name, quantity, _figure(c.fact.quantity, c.ours), c.fact.value, c.fact.who, verdict, c.fact.source]


MARKDOWN = """# The ledger of nets

Figures of every registered net, from one forward pass over one image of its own size, beside what papers, authors and the lecture
say. Written by `pycnn summary --all > docs/ledger.md`; one net in full: `pycnn summary NAME`.

- **Parameters**: of the layers that evaluation runs; *training only*: of auxiliary heads.
- **Mult-adds**: of convolutions and fully connected layers, without biases. **FLOPs**: two per multiply-add, and what biases,
  batch norm, activations and pooling add (`pycnn/arithmetic/ops.py` says how each op counts).
- **Activations**: numbers in the input and in the layers' outputs; what works element by element, and batch norm, in place.
- **Inference**: the most that inputs and outputs of ops take at one time in float32, each array freed after its last reader.
  **Training**: the input and every op's output kept, nothing in place. 1 MB = 10⁶ bytes; parameters come on top.

{nets}
## Beside what is said

*Equal, rounded* means equal in the digits that the source gives.

{facts}
## The lecture's worked examples

{claims}"""


def render(nets: list[Line], format: str = "markdown") -> str:
    """The ledger of some nets as "text", "markdown" (``docs/ledger.md``), "json" or "csv" (one line per net).

    Raises:
        ValueError: there is no such format.
    """
    by_name = {net.name: net for net in nets}
    compared, worked = compare_with_facts(by_name), claims()
    table, said = [_cells(net) for net in nets], [_fact_cells(c) for c in compared]
    examples = [_fact_cells(c) for c in worked]
    if format == "markdown":
        return MARKDOWN.format(
            nets=markdown(HEADINGS, table, RIGHT), facts=markdown(FACT_HEADINGS, said, FACT_RIGHT),
            claims=markdown(["Example", *FACT_HEADINGS[1:]], examples, FACT_RIGHT),
        )  # fmt: skip
    if format == "text":
        parts = aligned(HEADINGS, table, RIGHT), aligned(FACT_HEADINGS, [*said, *examples], FACT_RIGHT)
        return "\n".join([*parts[0], "", *parts[1], ""])
    if format == "json":
        compared_too = [asdict(c.fact) | {"ours": c.ours, "verdict": c.verdict} for c in [*compared, *worked]]
        return json.dumps({"nets": [asdict(net) for net in nets], "facts": compared_too}, indent=1) + "\n"
    if format == "csv":
        return csv_lines([f.name for f in fields(Line)], [asdict(net).values() for net in nets])
    raise ValueError(f"format must be one of text, markdown, json, csv, got {format!r}")
