"""Matrix products."""

from conftest import over


@over("gemm")
def test_gemm(measure, row, side):
    measure(row, side)
