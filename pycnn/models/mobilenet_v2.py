"""MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen 2018: MobileNetV2, inverted residuals and linear bottlenecks,
arxiv.org/abs/1801.04381). Names and shapes are torchvision's.

A block widens few channels, filters each of them, and narrows them again without an activation; the shortcut joins the narrow
ends. Deviations, all torchvision's: dropout of p = 0.2 before the classifier, which is a Linear layer where the paper has a 1×1
convolution (the same numbers). Channels of other widths are rounded to multiples of 8, as in the authors' code.
Weights: He et al. 2015 (fan_out), the classifier N(0, 0.01²).
"""

from .. import nn, ops
from .registry import register


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at least 0.9 · channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _unit(channels, out_channels, kernel_size, stride=1, groups=1):
    """The layers of :func:`_relu6_unit`."""
    padding = kernel_size // 2
    conv = nn.Conv2d(channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6())


def _relu6_unit(unit, x):
    """Convolution, batch norm, ReLU6."""
    conv, bn, relu6 = unit
    return relu6(ops.conv_bn(conv, bn, x, relu=False))


def initialize(model):
    """Fill convolutions as He et al. 2015 do (fan_out), linear layers with N(0, 0.01²), biases with 0."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
        elif isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0, 0.01)
            if m.bias is not None:
                nn.init.zeros_(m.bias)


class InvertedResidual(nn.Module):
    """Wide in the middle.  x: (N, channels, H, W) -> (N, out_channels, H / stride, W / stride)."""

    def __init__(self, channels, out_channels, stride, expansion):
        self.shortcut = stride == 1 and channels == out_channels
        wide = channels * expansion
        widen = [_unit(channels, wide, 1)] if expansion > 1 else []
        narrow = [nn.Conv2d(wide, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.conv = nn.Sequential(*widen, _unit(wide, wide, 3, stride, groups=wide), *narrow)

    def forward(self, x):
        *units, conv, bn = self.conv
        y = x
        for unit in units:
            y = _relu6_unit(unit, y)
        return ops.conv_bn(conv, bn, y, add=x if self.shortcut else None, relu=False)


@register("mobilenet_v2")
class MobileNetV2(nn.Module):
    """MobileNetV2.  x: (N, 3, 224, 224) -> logits (N, num_classes).

    Args:
        width_mult: the share of the channels that the net has.
        p: dropout's probability.
    """

    top = ("classifier",)
    head = ("classifier.1",)
    # expansion, channels, blocks, stride of the first (the paper's table 2)
    settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000, p: float = 0.2):
        channels, last = _rounded(32 * width_mult), _rounded(1280 * max(1.0, width_mult))
        features, self.strides = [_unit(3, channels, 3, 2)], []
        for expansion, full, count, first_stride in self.settings:
            for stride in (first_stride, *[1] * (count - 1)):
                features.append(InvertedResidual(channels, _rounded(full * width_mult), stride, expansion))
                self.strides.append(stride)
                channels = _rounded(full * width_mult)
        self.features = nn.Sequential(*features, _unit(channels, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(p), nn.Linear(last, num_classes))
        initialize(self)

    def stages(self, x):
        """The last maps at each resolution: (N, 16, 112, 112), (N, 24, 56, 56), (N, 32, 28, 28), (N, 96, 14, 14),
        (N, 1280, 7, 7) at width 1."""
        first, *blocks, last = self.features
        x = _relu6_unit(first, x)  # N,32,112,112
        for block, stride in zip(blocks, self.strides, strict=True):
            if stride == 2:
                yield x
            x = block(x)
        yield _relu6_unit(last, x)

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1)  # N,1280
        return self.classifier(x)
