"""Rewrite the tables between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->`` in README.md from the newest result files.

    pycnn bench --json benchmarks/results        measure; writes results/<device>/<date>-<commit>.json
    python benchmarks/report.py [FILE ...]       rewrite the tables (README.md and docs/agreement.md if no file is named)
    python benchmarks/report.py --check          change nothing; exit code 1 if a table is not what the results say

NAME is ``summary``, a group of ``pycnn bench`` (``convolution``, ``memory``, …), ``versions:OP`` (``pycnn bench versions OP``),
``agreement`` and ``agreement by op`` (``pycnn bench agreement``) or ``accuracy`` (``accuracy.py``). Each device's newest full
measurement makes one table, captioned with the file it comes from. A name without results keeps an empty place.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from pycnn.bench.report import (
    AGREEMENT_HEADINGS,
    HEADINGS,
    SUMMARY_HEADINGS,
    VERSION_HEADINGS,
    agreement_cells,
    by_op,
    cells,
    digits,
    summarize,
    summary_cells,
    version_cells,
)

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"(<!-- bench:(?P<name>[^ ]+(?: [^ ]+)*?) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)


def newest(kind: str, folder: Path = RESULTS) -> list[tuple[Path, dict]]:
    """(file, result) of each device's newest result of a kind; quick ones do not count."""
    latest: dict[str, tuple[Path, dict]] = {}
    for path in sorted(folder.glob("*/*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get("kind") != kind or result.get("quick"):
            continue
        device = result["device"]["slug"]
        if device not in latest or latest[device][1]["date"] <= result["date"]:
            latest[device] = (path, result)
    return [latest[device] for device in sorted(latest)]


def markdown(headings, rows) -> str:
    """A table; figures to the right."""
    aligned = "|".join("---" if i == 0 or h == "idea" else "---:" for i, h in enumerate(headings))
    lines = [f"| {' | '.join(headings)} |", f"|{aligned}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def table(name: str, result: dict) -> str:
    """The table `name` of a result; empty if the result has no such rows."""
    if name == "summary":
        return markdown(SUMMARY_HEADINGS, map(summary_cells, summarize(result["rows"])))
    if name == "accuracy":
        return accuracy(result["rows"])
    if name.startswith("agreement"):
        rows = by_op(result["rows"]) if name == "agreement by op" else result["rows"]
        return markdown(AGREEMENT_HEADINGS, map(agreement_cells, rows))
    if name.startswith("versions:"):
        return markdown(VERSION_HEADINGS, map(version_cells, result["rows"]))
    rows = [cells(row) for row in result["rows"] if row["group"] == name]
    return markdown(HEADINGS, rows) if rows else ""


def accuracy(rows: list[dict]) -> str:
    """Test accuracy by split and seed."""
    lines = [(r["name"], f"{100 * r['test_accuracy']:.2f} %", str(r["test_images"]), f"{digits(r['seconds'])} s") for r in rows]
    return markdown(("split", "test accuracy", "test images", "training"), lines)


def caption(path: Path, result: dict) -> str:
    """Where and when a table was measured, as a link to the file."""
    device, versions = result["device"], result["versions"]
    parts = [device["name"]]
    if device["kind"] == "cpu":
        parts.append(f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}")
    if result["kind"] != "accuracy" and versions.get("torch"):
        parts.append(f"PyTorch {versions['torch']}")
    parts += [result["date"][:10], f"commit {result['commit']}"]
    return f"*{', '.join(parts)} ([figures]({path.relative_to(ROOT).as_posix()}))*\n"


def tables(name: str, folder: Path = RESULTS) -> str:
    """All tables of a name, a device each."""
    first = name.partition(" ")[0]
    kind = first if first in ("accuracy", "agreement") or name.startswith("versions:") else "bench"
    made = [(table(name, result), caption(path, result)) for path, result in newest(kind, folder)]
    return "\n".join(f"{text}\n{below}" for text, below in made if text)


def rewrite(text: str, folder: Path = RESULTS) -> str:
    """`text` with fresh tables in its places."""
    return PLACE.sub(lambda place: place.group(1) + tables(place["name"], folder) + place.group(3), text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=[ROOT / "README.md", ROOT / "docs" / "agreement.md"])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something would change")
    options = parser.parse_args(argv)
    stale = 0
    for path in options.files:
        old = path.read_text(encoding="utf-8")
        new = rewrite(old)
        stale += old != new
        if not options.check:
            path.write_text(new, encoding="utf-8")
        print(f"{path}: {'up to date' if old == new else 'out of date' if options.check else 'rewritten'}")
    return int(options.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
