"""ShuffleNetV2 (Ma, Zhang, Zheng, Sun 2018: ShuffleNet V2, practical guidelines for efficient CNN architecture design,
arxiv.org/abs/1807.11164). Names and shapes are torchvision's.

Half of the channels pass a unit unchanged, the other half goes through three ungrouped convolutions, and a shuffle mixes them.
Channels are those of the paper's table 5; no deviation is known. Weights: PyTorch's defaults, as in torchvision.
"""

from .. import nn, ops
from .registry import register


def _depthwise(channels, stride):
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


class InvertedResidual(nn.Module):
    """Two branches, concatenated and shuffled (the paper's figure 3 c, d).

    x: (N, channels, H, W) -> (N, out_channels, H / stride, W / stride); with stride 1 the first branch is half of x itself.
    """

    def __init__(self, channels, out_channels, stride):
        self.stride, half = stride, out_channels // 2
        self.branch1 = nn.Sequential()
        if stride == 2:
            pointwise = nn.Conv2d(channels, half, 1, bias=False)
            self.branch1 = nn.Sequential(
                _depthwise(channels, 2), nn.BatchNorm2d(channels), pointwise, nn.BatchNorm2d(half), nn.ReLU()
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(channels if stride == 2 else half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            _depthwise(half, stride),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )

    def forward(self, x):
        if self.stride == 1:
            kept, x = ops.chunk(x, 2, 1)
        else:
            depthwise, bn1, pointwise, bn2, _ = self.branch1
            kept = ops.conv_bn(pointwise, bn2, ops.conv_bn(depthwise, bn1, x, relu=False))
        first, bn1, _, depthwise, bn2, last, bn3, _ = self.branch2
        y = ops.conv_bn(first, bn1, x)
        y = ops.conv_bn(depthwise, bn2, y, relu=False)
        y = ops.conv_bn(last, bn3, y)
        return ops.channel_shuffle(ops.cat([kept, y], 1), 2)


@register("shufflenet_v2_x0_5", channels=(24, 48, 96, 192, 1024))
@register("shufflenet_v2_x1_0", channels=(24, 116, 232, 464, 1024))
@register("shufflenet_v2_x1_5", channels=(24, 176, 352, 704, 1024))
@register("shufflenet_v2_x2_0", channels=(24, 244, 488, 976, 2048))
class ShuffleNetV2(nn.Module):
    """ShuffleNetV2.  x: (N, 3, 224, 224) -> logits (N, num_classes).

    Args:
        channels: of conv1, stages 2, 3, 4 and conv5.
    """

    top = ("fc",)
    head = ("fc",)

    def __init__(self, channels: tuple[int, ...], num_classes: int = 1000):
        first, *widths, last = channels
        self.conv1 = nn.Sequential(nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        before = first
        for stage, width, count in zip((2, 3, 4), widths, (4, 8, 4), strict=True):
            units = [InvertedResidual(before, width, 2), *(InvertedResidual(width, width, 1) for _ in range(count - 1))]
            setattr(self, f"stage{stage}", nn.Sequential(*units))
            before = width
        self.conv5 = nn.Sequential(nn.Conv2d(before, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU())
        self.fc = nn.Linear(last, num_classes)

    def stages(self, x):
        """The last maps at each resolution, at 1× (N, 24, 112, 112), (N, 24, 56, 56), (N, 116, 28, 28), (N, 232, 14, 14),
        (N, 1024, 7, 7)."""
        x = ops.conv_bn(self.conv1[0], self.conv1[1], x)
        yield x
        x = ops.max_pool2d(x, 3, stride=2, padding=1)
        yield x
        x = self.stage2(x)
        yield x
        x = self.stage3(x)
        yield x
        yield ops.conv_bn(self.conv5[0], self.conv5[1], self.stage4(x))

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1)  # N,1024
        return self.fc(x)
