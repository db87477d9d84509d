"""Pre-activation ResNet (He, Zhang, Ren, Sun 2016: Identity mappings in deep residual networks, arxiv.org/abs/1603.05027).

Batch norm and ReLU come before each convolution, so that shortcuts are identities from one stage to the next. As the paper's
appendix says, the first activation lies behind the first convolution, before the first unit's paths part, and one more behind the
last unit. Bottlenecks are those of the authors' code (github.com/KaimingHe/resnet-1k-layers): where the shape changes, the
activation comes before the paths part, the shortcut is a 1×1 convolution without batch norm, and the first 1×1 strides.
Names are torchvision's ResNets' where there is a counterpart; ``bn`` is the last activation's. Convolutions start from
N(0, 2 / fan_out) and the classifier's bias from 0, as in the authors' code. Choices:
- ``preact_resnet110_cifar``: basic units with the parameter-free shortcuts (option A) of ResNet-110, taken from the unit's input.
- ``preact_resnet200``: the same bottlenecks. The weights published with github.com/facebook/fb.resnet.torch belong to a variant
  that strides in the 3×3 and has batch norm in its shortcuts, which start from the unit's input.
"""

from .. import nn, ops
from .registry import register
from .resnet import conv1x1, conv3x3, he_init
from .resnet_cifar import option_a


class Unit(nn.Module):
    """What pre-activation units share: their first batch norm, which the net's first unit (`first`) lacks."""

    expansion = 1

    def add_shortcut(self, inplanes, planes, stride):
        """Make the 1×1 convolution of a unit that changes the shape."""
        self.downsample = conv1x1(inplanes, planes, stride) if stride != 1 or inplanes != planes else None

    def enter(self, x):
        """The first convolution's output and what is added in the end; x: (N, inplanes, H, W)."""
        if self.downsample is None and self.bn1 is not None:
            return ops.bn_conv(self.bn1, self.conv1, x), x
        x = x if self.bn1 is None else ops.relu(self.bn1(x))
        return self.conv1(x), x if self.downsample is None else self.downsample(x)


class BasicUnit(Unit):
    """Two 3×3 convolutions and option A.  x: (N, inplanes, H, W) -> (N, planes, H / stride, W / stride)."""

    downsample = None

    def __init__(self, inplanes, planes, stride=1, first=False):
        self.bn1 = None if first else nn.BatchNorm2d(inplanes)
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)

    def forward(self, x):
        y, shortcut = self.enter(x)
        return ops.bn_conv(self.bn2, self.conv2, y) + option_a(shortcut, y.shape[1])


class BottleneckUnit(Unit):
    """1×1, 3×3 and 1×1 convolution.  x: (N, inplanes, H, W) -> (N, 4 · planes, H / stride, W / stride)."""

    expansion = 4

    def __init__(self, inplanes, planes, stride=1, first=False):
        self.bn1 = None if first else nn.BatchNorm2d(inplanes)
        self.conv1 = conv1x1(inplanes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, planes * 4)
        self.add_shortcut(inplanes, planes * 4, stride)

    def forward(self, x):
        y, shortcut = self.enter(x)
        y = ops.bn_conv(self.bn2, self.conv2, y)
        return ops.bn_conv(self.bn3, self.conv3, y) + shortcut


class PreActNet(nn.Module):
    """What pre-activation nets share.  x: (N, 3, H, W) -> logits (N, num_classes).

    Args:
        stem: the first convolution.
        block: the class of its units.
        widths: `planes` of each stage's units; all stages but the first halve the map.
        layers: how many units each stage has.
        num_classes: how many classes there are.
        block_options: the units' own.
    """

    top = ("avgpool", "fc")
    head = ("fc",)

    def __init__(self, stem, block, widths, layers, num_classes, **block_options):
        inplanes = stem.out_channels
        self.conv1 = stem
        self.bn1 = nn.BatchNorm2d(inplanes)
        for i, (planes, count) in enumerate(zip(widths, layers, strict=True), 1):
            units = [block(inplanes, planes, 1 if i == 1 else 2, first=i == 1, **block_options)]
            inplanes = planes * block.expansion
            units += [block(inplanes, planes, **block_options) for _ in range(1, count)]
            setattr(self, f"layer{i}", nn.Sequential(*units))
        self.bn = nn.BatchNorm2d(inplanes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inplanes, num_classes)
        he_init(self)
        nn.init.zeros_(self.fc.bias)

    def stages(self, x):
        """The maps at strides 1, 2, 4."""
        x = self.layer1(ops.conv_bn(self.conv1, self.bn1, x))
        yield x
        x = self.layer2(x)
        yield x
        yield ops.relu(self.bn(self.layer3(x)))

    def forward(self, x):
        for x in self.stages(x):
            pass
        return self.fc(ops.flatten(self.avgpool(x), 1))


@register("preact_resnet110_cifar", image=(3, 32, 32), block=BasicUnit, n=18)
@register("preact_resnet164_cifar", image=(3, 32, 32), block=BottleneckUnit, n=18)
@register("preact_resnet1001_cifar", image=(3, 32, 32), block=BottleneckUnit, n=111)
class PreActResNetCifar(PreActNet):
    """Pre-activation ResNet for small images.  x: (N, 3, H, W), 32×32 in the paper -> logits (N, num_classes).

    Args:
        block: the class of its units.
        n: how many units each of the three stages has: 6n + 2 layers of basic units, 9n + 2 of bottlenecks.
        num_classes: how many classes there are.
    """

    def __init__(self, block, n, num_classes=10):
        super().__init__(conv3x3(3, 16), block, (16, 32, 64), (n, n, n), num_classes)


@register("preact_resnet200", layers=(3, 24, 36, 3))
class PreActResNet(PreActNet):
    """Pre-activation ResNet for ImageNet.  x: (N, 3, H, W), 224×224 in the paper -> logits (N, num_classes).

    Args:
        layers: how many bottlenecks each of the four stages has.
        num_classes: how many classes there are.
    """

    def __init__(self, layers, num_classes=1000):
        stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        super().__init__(stem, BottleneckUnit, (64, 128, 256, 512), layers, num_classes)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

    def stages(self, x):
        """The maps at strides 2, 4, 8, 16, 32."""
        x = ops.conv_bn(self.conv1, self.bn1, x)
        yield x  # N,64,112,112
        x = self.layer1(self.maxpool(x))
        yield x  # N,256,56,56
        x = self.layer2(x)
        yield x  # N,512,28,28
        x = self.layer3(x)
        yield x  # N,1024,14,14
        yield ops.relu(self.bn(self.layer4(x)))  # N,2048,7,7
