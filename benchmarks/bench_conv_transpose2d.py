"""The three passes of the transposed convolutions of U-Net, FCN, DCGAN and SegNet."""

from conftest import over


@over("transposed convolution")
def test_conv_transpose2d(measure, row, side):
    measure(row, side)
