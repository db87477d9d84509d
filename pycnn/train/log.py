"""What training writes while it runs: CSV files, and a progress bar or plain lines."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from pathlib import Path
from typing import Any


class CsvLog:
    """A CSV file that grows by a row at a time. Its first column must be `step`.

    Opened again after a crash, it drops damaged lines and all rows later than `last_step`, so that a resumed run
    leaves the file of an uninterrupted one. In a file that has only the first of the columns, the others become "nan".
    Rows that do not fit on a full disk wait in memory for the next call.
    """

    def __init__(self, path: str | Path, columns: tuple[str, ...], last_step: int = 0):
        self.path, self.columns = Path(path), columns
        self._waiting: list[bytes] = []
        self.failed: OSError | None = None
        kept = [",".join(columns).encode() + b"\n"]
        if self.path.exists():
            header, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
            there = header.decode(errors="replace").strip().split(",")
            more = len(columns) - len(there) if tuple(there) == columns[: len(there)] else 0
            lines = [line[:-1] + b",nan" * more + b"\n" for line in lines if line.endswith(b"\n")]
            kept += [line for line in lines if self._whole(line) and int(line.split(b",")[0]) <= last_step]
        content = b"".join(kept)
        if not self.path.exists() or self.path.read_bytes() != content:
            from .checkpoint import replace_durably

            replace_durably(self.path, content)
        self._file = open(self.path, "ab", buffering=0)
        self._size = len(content)

    def write(self, *values) -> None:
        """Append a row. Floats keep all their digits."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        self._waiting.append(text.getvalue().encode())
        content = b"".join(self._waiting)
        try:
            written = self._file.write(content)
            if written != len(content):
                self._file.write(content[written:])  # says why
        except OSError as error:
            self.failed = error
            os.ftruncate(self._file.fileno(), self._size)
            return
        self._size += len(content)
        self._waiting, self.failed = [], None

    def _whole(self, line: bytes) -> bool:
        return line.endswith(b"\n") and line.count(b",") == len(self.columns) - 1 and line.split(b",")[0].isdigit()

    def sync(self) -> None:
        """Wait until the disk has all rows, so that no checkpoint is ahead of them after a power failure."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: str | Path) -> list[dict[str, float]]:
    """The rows of a :class:`CsvLog` as numbers, by column."""
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


class Progress:
    """A progress bar on a terminal; elsewhere lines, one every `every` seconds within long epochs."""

    def __init__(self, epochs: int, steps_per_epoch: int, live: bool | None = None, every: float = 10.0):
        self.epochs, self.steps_per_epoch, self.every = epochs, steps_per_epoch, every
        self.live = sys.stdout.isatty() if live is None else live
        self._bar: Any = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        if self.live:
            from rich import progress

            columns = ("{task.description}", progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
            self._bar = progress.Progress(*columns, transient=True)
            self._task = self._bar.add_task("", total=self.epochs * self.steps_per_epoch)
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, epoch: int, step: int, loss: float) -> None:
        """After a step: `epoch` from 0, `step` from 1 over the whole training."""
        place = f"epoch {epoch + 1}/{self.epochs}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=f"{place}  loss {loss:.4f}")
        elif time.monotonic() - self._last_line > self.every:
            self.say(f"{place}, step {step - epoch * self.steps_per_epoch}/{self.steps_per_epoch}: loss {loss:.4f}")

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)
