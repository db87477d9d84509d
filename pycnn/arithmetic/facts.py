"""What papers, authors and the lecture say of the nets: ``facts.csv``, a fact per line with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("facts.csv")
UNITS = {"%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Fact:
    """One figure.

    Attributes:
        kind: "net" (of a registered one), "claim" (of the lecture, about an example), "history" (of ILSVRC).
        name: of the net, the claim or the entry.
        quantity: what is counted: parameters, macs, activation_bytes, linear_share, top1 and top5 (accuracy in %) …
        value: the figure with the digits of its source: "60,965,224", "61M", "80%".
        who: "paper", "authors" (their files), "published" (others), "torchvision", "lecture", or "arithmetic": it follows from
            the paper's tables.
        source: where it stands.
        note: why ours differs, or what it refers to.
    """

    kind: str
    name: str
    quantity: str
    value: str
    who: str
    source: str
    note: str

    @property
    def number(self) -> float:
        """The value as a number."""
        digits, unit = self._split()
        return float(digits) * unit

    def agrees(self, figure: float) -> bool:
        """Whether `figure`, rounded to as many digits as the source gives, is the value."""
        digits, unit = self._split()
        last = unit * 10.0 ** -len(digits.partition(".")[2])
        return abs(figure - self.number) <= last / 2 * (1 + 1e-9)

    def _split(self) -> tuple[str, float]:
        unit = UNITS.get(self.value[-1], 1.0)
        return self.value.rstrip("%kMG").replace(",", ""), unit


@cache
def facts() -> tuple[Fact, ...]:
    """All of them, in the order of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(Fact(**row) for row in csv.DictReader(file))


def of_net(name: str) -> list[Fact]:
    """What is said of a registered net."""
    return [fact for fact in facts() if (fact.kind, fact.name) == ("net", name)]
