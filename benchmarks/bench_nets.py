"""Inference and training steps of whole nets, and what a small op costs."""

from conftest import over


@over("step", "net step", "net inference", "overhead")
def test_nets(measure, row, side):
    measure(row, side)
