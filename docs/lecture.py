"""Fill in docs/lecture.md: figures between ``<!-- figure:REGEX -->`` and ``<!-- /figure -->`` come from what its commands print.

    python docs/lecture.py           run the commands (about two minutes), rewrite the figures
    python docs/lecture.py --check   change nothing; exit code 1 if a figure is not what the commands print

A section begins at a heading. Its ``sh`` blocks run as they stand, in an empty folder with a link to examples/ alone. A figure
is REGEX's first group, or all that it matches, in what they print. Between ``<!-- experiments -->`` and its end stands a table of
the experiments that the sections link to, with what their pages in docs/experiments say.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "lecture.md"
HEADING = re.compile(r"^(?=##+ )", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPERIMENT = re.compile(r"\]\(\.\./(examples/experiments/(\w+)\.py)\)")
TABLE = re.compile(r"(<!-- experiments -->\n).*?(<!-- /experiments -->)", re.DOTALL)
VERDICT = re.compile(r"^- .*?: \*\*(shows|does not show|the opposite shows)", re.MULTILINE)
FIGURE = re.compile(r"(<!-- figure:(?P<pattern>.+?) -->)(?P<text>.*?)(<!-- /figure -->)")


def sections(text: str) -> list[str]:
    """`text`, cut before each heading of the second level or deeper."""
    return HEADING.split(text)


def blocks(text: str) -> list[str]:
    """The commands of each ``sh`` block."""
    return BLOCK.findall(text)


@cache
def output(commands: str) -> str:
    """What shell commands print, errors included; ``pycnn`` and ``python`` are those of this process.

    Raises:
        RuntimeError: a command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        programs, place = Path(folder, "bin"), Path(folder, "here")
        programs.mkdir()
        place.mkdir()
        (place / "examples").symlink_to(ROOT / "examples")
        for name, arguments in (("python", ""), ("pycnn", "-m pycnn ")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
            (programs / name).chmod(0o755)
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        variables = os.environ | {"PATH": path, "TMPDIR": folder, "NO_COLOR": "1", "COLUMNS": "120"}
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        ran = subprocess.run(
            shell, cwd=place, env=variables, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    if ran.returncode:
        raise RuntimeError(f"exit code {ran.returncode} of\n{commands}{ran.stdout}")
    return ran.stdout


def figure(pattern: str, printed: str) -> str:
    """What `pattern` finds in the output of a section.

    Raises:
        ValueError: it finds nothing.
    """
    found = re.search(pattern, printed, re.MULTILINE)
    if found is None:
        raise ValueError(f"no command of its section prints figure:{pattern}")
    return found[found.re.groups and 1].strip()


def rewrite(text: str, output: Callable[[str], str] = output) -> str:
    """`text` with fresh figures; `output` runs the commands of a block."""
    made = []
    for section in sections(text):
        if FIGURE.search(section):
            printed = "".join(map(output, blocks(section)))
            section = FIGURE.sub(lambda m, printed=printed: m[1] + figure(m["pattern"], printed) + m[4], section)
        made.append(section)
    return TABLE.sub(lambda m: m[1] + experiments(text) + m[2], "".join(made))


def experiments(text: str) -> str:
    """A table of the experiments that `text` links to, in its order."""
    rows = {}
    for section in sections(text):
        heading = section.partition("\n")[0].lstrip("# ")
        for script, name in EXPERIMENT.findall(TABLE.sub("", section)):
            title = (ROOT / script).read_text(encoding="utf-8").partition("\n")[0].strip('"').rstrip(".")
            topic = f"[{heading}](#{anchor(heading)})"
            rows.setdefault(name, f"| {topic} | {title} | [{name}.py](../{script}) | {verdicts(name)} |\n")
    return "| the lecture on | experiment | script | statements of its page |\n|---|---|---|---|\n" + "".join(rows.values())


def verdicts(name: str) -> str:
    """How many statements of an experiment's page show, with a link to it."""
    page = ROOT / "docs" / "experiments" / f"{name}.md"
    if not page.exists():
        return "not measured yet"
    count = Counter(VERDICT.findall(page.read_text(encoding="utf-8")))
    opposite = f", the opposite of {count['the opposite shows']}" if count["the opposite shows"] else ""
    return f"[{count['shows']} of {count.total()} show{opposite}](experiments/{name}.md)"


def anchor(heading: str) -> str:
    """What GitHub calls a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something would change")
    options = parser.parse_args(argv)
    old = PAGE.read_text(encoding="utf-8")
    new = rewrite(old)
    if not options.check:
        PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE}: {'up to date' if old == new else 'out of date' if options.check else 'rewritten'}")
    return int(options.check and old != new)


if __name__ == "__main__":
    sys.exit(main())
