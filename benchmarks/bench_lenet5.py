"""LeNet-5's whole training step, and what a small op costs."""

from conftest import over


@over("step", "overhead")
def test_lenet5(measure, row, side):
    measure(row, side)
