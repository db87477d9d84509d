"""pytest-benchmark over the rows of ``pycnn bench``: ``pytest benchmarks/bench_conv2d.py --benchmark-group-by=param:row``."""

from __future__ import annotations

import time

import pytest

from pycnn.bench.command import prepare
from pycnn.bench.rows import GROUPS, Row, rows

SIDES = ("pycnn", "torch")


def over(*groups: str):
    """Decorator: run a benchmark for each row of some groups, once for pycnn and once for PyTorch."""
    unknown = set(groups) - set(GROUPS)
    assert not unknown, f"no groups {unknown}"
    chosen = [row for row in rows() if row.group in groups]
    return lambda test: pytest.mark.parametrize("side", SIDES)(
        pytest.mark.parametrize("row", chosen, ids=lambda row: row.name)(test)
    )


@pytest.fixture(scope="session")
def setting():
    """The CPU with all its cores, and PyTorch where it is installed."""
    return prepare()[0]


@pytest.fixture
def measure(setting, benchmark):
    """measure(row, side): check the side's result against fp64, then time it; of PyTorch's ways the fastest."""

    def run(row: Row, side: str):
        if side == "torch" and setting.torch is None:
            pytest.skip("PyTorch is not installed")
        contest = row.prepare(setting)
        errors = contest.errors()
        if side == "pycnn":
            assert errors["pycnn"] <= 1, f"{row.id}: the error is {errors['pycnn']:.3g} times its bound"
            return benchmark(contest.pycnn)
        return benchmark(min(contest.rivals.values(), key=once))

    return run


def once(run) -> float:
    """Seconds of the second of two runs."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
