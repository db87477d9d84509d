"""ShuffleNet (Zhang, Zhou, Lin, Sun 2017: ShuffleNet, an extremely efficient convolutional neural network for mobile devices,
arxiv.org/abs/1707.01083). 1×1 convolutions are grouped, and a shuffle lets information pass between the groups.

The shuffle comes after the first 1×1 convolution, before the depthwise one, as in the paper's figure 2. The authors' code
(megvii-model/ShuffleNet-Series) has it after the depthwise convolution, and there it is the inverse permutation: equally many
parameters, another function for the same numbers. Hence the names are not that code's: conv1, bn1, stage2 … stage4 (the paper's
table 1) with conv1, bn1 (1×1, grouped), conv2, bn2 (3×3, depthwise), conv3, bn3 (1×1, grouped) in each unit, fc.

From that code, where the paper is silent: fc has no bias. The first 1×1 convolution of stage 2 is not grouped (section 3.2).
Weights: He et al. 2015 (fan_out), fc N(0, 0.01²).
"""

from .. import nn, ops
from .mobilenet_v2 import initialize
from .registry import register


class ShuffleUnit(nn.Module):
    """A bottleneck whose branch is added to x, or with stride 2 concatenated to its mean (the paper's figure 2 b, c).

    x: (N, channels, H, W) -> (N, out_channels, H / stride, W / stride).
    """

    def __init__(self, channels, out_channels, stride, groups, first_groups):
        self.stride, self.groups = stride, groups
        narrow, added = out_channels // 4, out_channels - channels if stride == 2 else out_channels
        self.conv1 = nn.Conv2d(channels, narrow, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, padding=1, groups=narrow, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, added, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(added)

    def forward(self, x):
        y = ops.conv_bn(self.conv1, self.bn1, x)
        y = ops.channel_shuffle(y, self.groups)
        y = ops.conv_bn(self.conv2, self.bn2, y, relu=False)
        if self.stride == 1:
            return ops.conv_bn(self.conv3, self.bn3, y, add=x)
        y = ops.conv_bn(self.conv3, self.bn3, y)
        return ops.cat([ops.avg_pool2d(x, 3, stride=2, padding=1), y], 1)  # a mean of ReLUs is not negative


@register("shufflenet_v1_g1", groups=1)
@register("shufflenet_v1_g2", groups=2)
@register("shufflenet_v1_g3", groups=3)
@register("shufflenet_v1_g4", groups=4)
@register("shufflenet_v1_g8", groups=8)
class ShuffleNetV1(nn.Module):
    """ShuffleNet 1×.  x: (N, 3, 224, 224) -> logits (N, num_classes).

    Args:
        groups: of the 1×1 convolutions; the more, the wider the net at about 140 million multiply-adds.
    """

    top = ("fc",)
    head = ("fc",)
    widths = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # channels of stage 2 (the paper's table 1); doubled at each stage

    def __init__(self, groups: int, num_classes: int = 1000):
        if groups not in self.widths:
            raise ValueError(f"groups must be one of {', '.join(map(str, self.widths))}, got {groups}")
        self.conv1 = nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        channels = 24
        for stage, count in ((2, 4), (3, 8), (4, 4)):
            width = self.widths[groups] * 2 ** (stage - 2)
            first = ShuffleUnit(channels, width, 2, groups, 1 if stage == 2 else groups)
            others = [ShuffleUnit(width, width, 1, groups, groups) for _ in range(count - 1)]
            setattr(self, f"stage{stage}", nn.Sequential(first, *others))
            channels = width
        self.fc = nn.Linear(channels, num_classes, bias=False)
        initialize(self)

    def stages(self, x):
        """The last maps at each resolution: (N, 24, 112, 112), (N, 24, 56, 56), and with 3 groups (N, 240, 28, 28),
        (N, 480, 14, 14), (N, 960, 7, 7)."""
        x = ops.conv_bn(self.conv1, self.bn1, x)
        yield x
        x = ops.max_pool2d(x, 3, stride=2, padding=1)
        yield x
        for stage in (2, 3, 4):
            x = getattr(self, f"stage{stage}")(x)
            yield x

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1)  # N,960
        return self.fc(x)
