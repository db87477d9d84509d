"""The three passes of LeNet-5's convolutions and of layers of larger nets, dense, depthwise and grouped."""

from conftest import over


@over("convolution", "1x1 convolution", "depthwise convolution", "grouped convolution")
def test_conv2d(measure, row, side):
    measure(row, side)
