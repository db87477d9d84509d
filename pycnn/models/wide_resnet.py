"""Wide ResNet (Zagoruyko, Komodakis 2016: Wide residual networks, BMVC; arxiv.org/abs/1605.07146).

``wide_resnet28_10_cifar`` is the paper's WRN-28-10: 6n + 4 = 28 layers, 10 times the channels of a ResNet for CIFAR, units with
pre-activation as in the authors' code (github.com/szagoruyko/wide-residual-networks) and named as in ``preact_resnet.py``.
``wide_resnet50_2`` and ``wide_resnet101_2`` are torchvision's: ResNets whose bottlenecks have twice the inner channels.
Dropout (p, 0 unless given; the paper's is 0.3 for CIFAR) lies between the second activation and the second convolution, as in the
authors' code; the paper draws it between the convolutions.
"""

from .. import nn, ops
from .preact_resnet import PreActNet, Unit
from .registry import register
from .resnet import Bottleneck, ResNet, conv3x3


class WideUnit(Unit):
    """Two 3×3 convolutions, dropout between them.  x: (N, inplanes, H, W) -> (N, planes, H / stride, W / stride)."""

    def __init__(self, inplanes, planes, stride=1, first=False, p=0.0):
        self.bn1 = None if first else nn.BatchNorm2d(inplanes)
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.dropout = nn.Dropout(p)
        self.conv2 = conv3x3(planes, planes)
        self.add_shortcut(inplanes, planes, stride)

    def forward(self, x):
        y, shortcut = self.enter(x)
        if self.training and self.dropout.p > 0:
            return self.conv2(self.dropout(ops.relu(self.bn2(y)))) + shortcut
        return ops.bn_conv(self.bn2, self.conv2, y) + shortcut


@register("wide_resnet16_8_cifar", image=(3, 32, 32), n=2, k=8)
@register("wide_resnet28_10_cifar", image=(3, 32, 32), n=4, k=10)
@register("wide_resnet40_4_cifar", image=(3, 32, 32), n=6, k=4)
class WideResNetCifar(PreActNet):
    """Wide ResNet for small images.  x: (N, 3, H, W), 32×32 in the paper -> logits (N, num_classes).

    Args:
        n: how many units each of the three stages has; there are 6n + 4 layers.
        k: the widening factor: channels of the stages are 16k, 32k, 64k.
        num_classes: how many classes there are.
        p: probability of dropout.
    """

    def __init__(self, n, k, num_classes=10, p=0.0):
        super().__init__(conv3x3(3, 16), WideUnit, (16 * k, 32 * k, 64 * k), (n, n, n), num_classes, p=p)


@register("wide_resnet50_2", layers=(3, 4, 6, 3), width_per_group=128)
@register("wide_resnet101_2", layers=(3, 4, 23, 3), width_per_group=128)
class WideResNet(ResNet):
    """Wide ResNet for ImageNet.  x: (N, 3, H, W), 224×224 in the paper -> logits (N, num_classes).

    Args:
        layers: how many bottlenecks each of the four stages has.
        width_per_group: channels of the first stage's 3×3 convolutions; ResNet has 64.
        num_classes: how many classes there are.
    """

    def __init__(self, layers, width_per_group=128, num_classes=1000):
        super().__init__(Bottleneck, layers, num_classes, width_per_group=width_per_group)
