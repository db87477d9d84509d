"""Ops that wait for memory."""

from conftest import over


@over("memory")
def test_memory_bound(measure, row, side):
    measure(row, side)
