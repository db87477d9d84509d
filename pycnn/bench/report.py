"""What a benchmark prints and saves."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from .. import __version__, backend
from .measure import geometric_mean
from .rows import GROUPS

HEADINGS = ("", "pycnn", "torch", "torch/pycnn", "p20–p80", "of best samples", "rate", "error/bound")
SUMMARY_HEADINGS = ("", "rows", "torch/pycnn, geometric mean", "of best samples", "least", "target", "")
VERSION_HEADINGS = ("", "idea", "time", "torch/pycnn", "rate", "error/bound")
TYPES = ("float32", "float16", "bfloat16")
AGREEMENT_HEADINGS = ("", *(f"{library} {storage}" for storage in TYPES for library in ("pycnn", "torch")))


# ---- figures ----------------------------------------------------------------------------------------------------------


def figure(value: float | None, quantity: str = "s") -> str:
    """A time or an amount of memory to three digits, with its unit."""
    if value is None:
        return "–"
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if quantity == "s" else (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    unit, scale = next(((u, s) for u, s in units if abs(value) >= s), units[-1])
    return f"{digits(value / scale)} {unit}"


def digits(value: float) -> str:
    """Three digits: 0.123, 1.23, 12.3, 123, 1234."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def rate(record: dict) -> str:
    """GFLOP/s or GB/s of pycnn."""
    return f"{digits(record['rate'] / 1e9)} G{record['unit']}" if record.get("rate") else ""


def cells(record: dict) -> tuple[str, ...]:
    """A record as the cells under HEADINGS."""
    name = record["name"] + (f" ({record['mode']})" if record["mode"] == "cold" else "")
    if record.get("failure"):
        return (name, "FAILED", "", "", "", "", "", "")
    quantity = record["quantity"]
    theirs = figure(record.get("torch"), quantity)
    if record.get("rival") not in (None, "torch"):
        theirs += f" {record['rival']}"
    several = record.get("rounds", 1) > 1 and "ratio" in record
    spread = f"{record['ratio_p20']:.2f}–{record['ratio_p80']:.2f}" if several else ""
    best = f"{record['ratio_best']:.2f}" if several else ""
    ratio = f"{record['ratio']:.2f}" if "ratio" in record else ""
    return (name, figure(record["pycnn"], quantity), theirs, ratio, spread, best, rate(record), error(record))


def summarize(records: list[dict]) -> list[dict]:
    """One line per group: how many rows, the geometric mean and the least of the ratios, the mean of the best samples' ratios,
    and whether both means meet the target and the least its own."""
    summary = []
    for name, group in GROUPS.items():
        members = [r for r in records if r["group"] == name and not r.get("failure")]
        if not members:
            continue
        ratios = [r["ratio"] for r in members if "ratio" in r]
        line: dict = {"group": name, "title": group.title, "rows": len(members)}
        line |= {"target": group.target, "floor": group.least, "limit": group.limit}
        if ratios:
            line |= {"mean": geometric_mean(ratios), "least": min(ratios)}
            line["mean_best"] = geometric_mean(r["ratio_best"] for r in members if "ratio" in r)
        if group.target is not None and ratios:
            line["met"] = min(line["mean"], line["mean_best"]) >= group.target and min(ratios) >= (group.least or 0)
        if group.limit is not None:
            line |= {"most": max(r["pycnn"] for r in members), "quantity": members[0]["quantity"]}
            line["met"] = line["most"] <= group.limit
        summary.append(line)
    return summary


def summary_cells(line: dict) -> tuple[str, ...]:
    """A line of the summary under SUMMARY_HEADINGS."""
    target = f"≥ {line['target']}" if line["target"] is not None else ""
    if line["floor"] is not None:
        target += f", least ≥ {line['floor']}"
    if line["limit"] is not None:
        target = f"≤ {figure(line['limit'], line['quantity'])}, is {figure(line['most'], line['quantity'])}"
    mean, best, least = (f"{line[k]:.2f}" if k in line else "–" for k in ("mean", "mean_best", "least"))
    verdict = "" if "met" not in line else "met" if line["met"] else "missed"
    return (line["title"], str(line["rows"]), mean, best, least, target, verdict)


def version_cells(record: dict) -> tuple[str, ...]:
    """A record of ``pycnn bench versions`` under VERSION_HEADINGS."""
    if "failure" in record:
        return (record["version"], record["idea"], "not supported", "", "", "")
    ratio = f"{record['ratio']:.2f}" if "ratio" in record else ""
    return (record["version"], record["idea"], figure(record["pycnn"]), ratio, rate(record), error(record))


def agreement_cells(record: dict) -> tuple[str, ...]:
    """A record of ``pycnn bench agreement`` under AGREEMENT_HEADINGS: errors in units of the bound."""
    errors = (record[library].get(storage, "") for storage in TYPES for library in ("pycnn", "torch"))
    return (f"{record['op']}:{record['version']}", *("–" if e is None else e if e == "" else f"{e:.2f}" for e in errors))


def by_op(records: list[dict]) -> list[dict]:
    """Records of ``pycnn bench agreement``, the worst of each op's versions."""
    worst: dict[str, dict] = {}
    for record in records:
        line = worst.setdefault(record["op"], {"op": record["op"], "versions": 0, "pycnn": {}, "torch": {}})
        line["versions"] += 1
        for library in ("pycnn", "torch"):
            for storage, error in record[library].items():
                known = [e for e in (error, line[library].get(storage)) if e is not None]
                line[library][storage] = max(known, default=None)
    return [line | {"version": f"{line['versions']} versions"} for line in worst.values()]


def error(record: dict) -> str:
    """The largest error in units of its bound."""
    return "" if record.get("error") is None else f"{record['error']:.2f}" + ("" if record["ok"] else " WRONG")


# ---- printing ---------------------------------------------------------------------------------------------------------


class Printer:
    """Plain lines; on a terminal in color, with a word on what is being measured."""

    def __init__(self):
        self.console = None
        self.status = None
        if sys.stdout.isatty():
            from rich.console import Console

            self.console = Console()

    def line(self, text: str = "", style: str | None = None) -> None:
        """A line of text."""
        if self.console:
            self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def busy(self, text: str) -> None:
        """Say on a terminal what is being measured; an empty text ends that."""
        if self.console:
            if self.status:
                self.status.stop()
            self.status = self.console.status(text) if text else None
            if self.status:
                self.status.start()

    def records(self, title: str, records: list[dict]) -> None:
        """The rows of a group, and why rows failed."""
        self.table(title, HEADINGS, [cells(record) for record in records])
        self.failures(records)

    def summary(self, lines: list[dict]) -> None:
        """The means of the groups beside their targets."""
        self.table("Summary", SUMMARY_HEADINGS, [summary_cells(line) for line in lines])

    def versions(self, op: str, records: list[dict]) -> None:
        """The versions of one op, and why some cannot do the problem."""
        self.table(op, VERSION_HEADINGS, [version_cells(record) for record in records])
        self.failures([record | {"name": record["version"]} for record in records])

    def agreement(self, records: list[dict]) -> None:
        """The worst errors of every version."""
        self.table("Worst error against float64, in units of its bound", AGREEMENT_HEADINGS, list(map(agreement_cells, records)))

    def failures(self, records: list[dict]) -> None:
        """What went wrong, a line each."""
        for record in records:
            if record.get("failure"):
                self.line(f"  {record['name']}: {record['failure']}")

    def table(self, title: str, headings, rows: list[tuple[str, ...]]) -> None:
        """Names to the left, figures to the right."""
        self.busy("")
        left = {i for i, heading in enumerate(headings) if i == 0 or heading == "idea"}
        lines = [headings, *rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
        self.line(f"\n{title}", style="bold")
        for line in lines:
            padded = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
            failed = line[1] == "FAILED" or "WRONG" in line[-1]
            self.line("  " + "  ".join(padded).rstrip(), style="dim" if line is headings else "red" if failed else None)


# ---- where it ran -----------------------------------------------------------------------------------------------------


def device_name(device: str) -> str:
    """The processor's or GPU's model."""
    if device != "cpu":
        cupy = backend.get(device).xp
        ordinal = int(device.partition(":")[2] or 0)
        return cupy.cuda.runtime.getDeviceProperties(ordinal)["name"].decode()
    try:
        return re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()).group(1).strip()
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def slug(text: str) -> str:
    """A name as a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def load() -> float | None:
    """How many processes wanted a core in the last minute, where the system says so."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def commit() -> tuple[str, bool]:
    """(the checkout's short commit, whether files differ from it); ("unknown", False) outside a checkout."""
    folder = Path(__file__).resolve().parents[2]

    def git(*arguments):
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if not done.returncode else ""

    try:
        if not (folder / ".git").exists() or not git("rev-parse", "HEAD"):
            return "unknown", False
        return git("rev-parse", "--short", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except OSError:  # no git
        return "unknown", False


def document(records: list[dict], setting, threads: int, kernels: list[str], kind: str = "bench") -> dict:
    """All that a result file holds. `kind` is "bench", "versions:OP" or "accuracy"."""
    name, dirty = commit()
    torch = getattr(setting.torch, "__version__", None)
    versions = {"pycnn": __version__, "python": platform.python_version(), "torch": None if torch is None else str(torch)}
    versions |= {"build": backend.cpu().module.build, "system": f"{platform.system()} {platform.machine()}"}
    model = device_name(setting.device)
    return {
        "kind": kind,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device": {"name": model, "slug": slug(model), "kind": setting.device},
        "threads": threads,
        "load": load(),
        "commit": name,
        "uncommitted_changes": dirty,
        "versions": versions,
        "quick": setting.quick,
        "kernels": kernels,
        "groups": summarize(records),
        "rows": records,
    }


def save(result: dict, target: str | Path) -> Path:
    """Write a document; into a folder as ``<device>/<date>-<commit>.json``, with its kind where that is not "bench"."""
    path = Path(target)
    if path.is_dir():
        kind = "" if result["kind"] == "bench" else "-" + slug(result["kind"])
        path = path / result["device"]["slug"] / f"{result['date'][:10]}-{result['commit']}{kind}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
