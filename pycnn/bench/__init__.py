"""Measure pycnn against PyTorch: ``pycnn bench``.

Both run interleaved in one process on the same threads, every row's results are checked against float64 in the same run,
and the figure of merit is PyTorch's time over pycnn's. The rooms: ``rows`` is the table of what is measured; ``convolution``,
``products``, ``memory_bound``, ``net`` and ``process`` say how each row is done by both sides; ``measure`` times; ``report``
prints and saves.
"""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run the command ``pycnn bench``; returns its exit code: 0 measured, 1 a result was wrong, 2 wrong usage."""
    from .command import main as command

    return command(argv)
