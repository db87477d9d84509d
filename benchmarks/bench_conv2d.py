"""The three passes of LeNet-5's convolutions and of ten layers of larger nets."""

from conftest import over


@over("convolution", "1x1 convolution", "grouped convolution")
def test_conv2d(measure, row, side):
    measure(row, side)
