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

HEADINGS = ("", "pycnn", "torch", "torch/pycnn", "p20–p80", "of best", "rate", "error/bound")


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
    return f"{value:.{max(0, min(3, 2 - len(str(int(abs(value)))) + (1 if abs(value) >= 1 else 2)))}f}"


def rate(record: dict) -> str:
    """GFLOP/s or GB/s of pycnn."""
    return f"{digits(record['rate'] / 1e9)} G{record['unit']}" if record.get("rate") else ""


def cells(record: dict) -> tuple[str, ...]:
    """A record as the cells under HEADINGS."""
    name = record["name"] + (f" ({record['mode']})" if record["mode"] == "cold" else "")
    if record.get("failure"):
        return (name, record["failure"], "", "", "", "", "", "FAILED")
    quantity = record["quantity"]
    theirs = figure(record.get("torch"), quantity)
    if record.get("rival") not in (None, "torch"):
        theirs += f" {record['rival']}"
    spread = f"{record['ratio_p20']:.2f}–{record['ratio_p80']:.2f}" if "ratio" in record else ""
    error = "" if record.get("error") is None else f"{record['error']:.2f}" + ("" if record["ok"] else " FAILED")
    ratio, best = (f"{record[k]:.2f}" if k in record else "" for k in ("ratio", "ratio_best"))
    return (name, figure(record["pycnn"], quantity), theirs, ratio, spread, best, rate(record), error)


def summarize(records: list[dict]) -> list[dict]:
    """One line per group: how many rows, the geometric mean and the least of the ratios, the mean of the best samples' ratios, and
    whether both means meet the target."""
    summary = []
    for name, group in GROUPS.items():
        members = [r for r in records if r["group"] == name and not r.get("failure")]
        if not members:
            continue
        ratios = [r["ratio"] for r in members if "ratio" in r]
        line: dict = {"group": name, "title": group.title, "rows": len(members), "target": group.target, "limit": group.limit}
        if ratios:
            line |= {"mean": geometric_mean(ratios), "least": min(ratios)}
            line["mean_best"] = geometric_mean(r["ratio_best"] for r in members if "ratio" in r)
        if group.target is not None and ratios:
            line["met"] = min(line["mean"], line["mean_best"]) >= group.target
        if group.limit is not None:
            line |= {"most": max(r["pycnn"] for r in members), "quantity": members[0]["quantity"]}
            line["met"] = line["most"] <= group.limit
        summary.append(line)
    return summary


def summary_cells(line: dict) -> tuple[str, ...]:
    """A line of the summary under SUMMARY_HEADINGS."""
    target = f"≥ {line['target']}" if line["target"] is not None else ""
    if line["limit"] is not None:
        target = f"≤ {figure(line['limit'], line['quantity'])}, is {figure(line['most'], line['quantity'])}"
    mean, best, least = (f"{line[k]:.2f}" if k in line else "–" for k in ("mean", "mean_best", "least"))
    return (line["title"], str(line["rows"]), mean, best, least, target, {True: "met", False: "missed"}.get(line.get("met"), ""))


SUMMARY_HEADINGS = ("group", "rows", "torch/pycnn, geometric mean", "of best", "least", "target", "")


# ---- printing ---------------------------------------------------------------------------------------------------------


class Printer:
    """Tables on a terminal, plain lines elsewhere."""

    def __init__(self):
        self.console = None
        self.status = None
        if sys.stdout.isatty():
            from rich.console import Console

            self.console = Console()

    def line(self, text: str = "") -> None:
        """A line of text."""
        print(text, flush=True)

    def busy(self, text: str) -> None:
        """Say on a terminal what is being measured; an empty text ends that."""
        if self.console:
            if self.status:
                self.status.stop()
            self.status = self.console.status(text) if text else None
            if self.status:
                self.status.start()

    def table(self, title: str, headings, rows) -> None:
        """A table with left-aligned first column and figures to the right."""
        self.busy("")
        rows = list(rows)
        if self.console:
            from rich.table import Table

            table = Table(title=title, title_justify="left", title_style="bold")
            for i, heading in enumerate(headings):
                table.add_column(heading, justify="left" if i == 0 else "right", no_wrap=i == 0)
            for row in rows:
                table.add_row(*row, style="red" if "FAILED" in row[-1] else None)
            self.console.print(table)
            return
        widths = [max([len(r[i]) for r in rows if not r[-1].endswith("FAILED") or i != 1] + [len(h)]) for i, h in enumerate(headings)]
        self.line(f"\n{title}")
        for row in [headings, *rows]:
            line = "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            self.line("  " + line.rstrip())


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


def document(records: list[dict], setting, threads: int, kernels: list[str]) -> dict:
    """All that a result file holds."""
    name, dirty = commit()
    torch = getattr(setting.torch, "__version__", None)
    versions = {"pycnn": __version__, "python": platform.python_version(), "torch": None if torch is None else str(torch)}
    versions |= {"build": backend.cpu().module.build, "system": f"{platform.system()} {platform.machine()}"}
    model = device_name(setting.device)
    return {
        "kind": "bench",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
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


def save(result: dict, path: str | Path) -> Path:
    """Write a document; into a folder as ``<device>/<date>-<commit>.json``. Returns the file."""
    path = Path(path)
    if path.is_dir():
        path = path / result["device"]["slug"] / f"{result['date']}-{result['commit']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
