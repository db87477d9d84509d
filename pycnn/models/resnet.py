"""ResNet (He, Zhang, Ren, Sun 2015: Deep residual learning for image recognition, arxiv.org/abs/1512.03385), for ImageNet.

Names and initialisation are torchvision's, so that its weights load as they are. ``resnet50``, ``resnet101``, ``resnet152`` are
its v1.5; ``resnet50_paper`` and so on are the paper's. Deviations:
- v1.5: a bottleneck that halves the map strides in its 3×3 convolution. Paper: in the first 1×1 (3.86 instead of 4.09 billion
  multiply-adds in ResNet-50; as many parameters).
- Shortcuts that change the shape are 1×1 convolutions (the paper's option B). In its table 2, ResNet-18 and ResNet-34 pad with
  zeros instead (option A); table 3 compares the options.
- Convolutions start from N(0, 2 / fan_out). Paper: N(0, 2 / fan_in) (He et al. 2015, arxiv.org/abs/1502.01852).
- The authors' published Caffe models give ResNet-50's first convolution a bias (64 numbers), which batch norm takes away again.
"""

from .. import nn, ops
from .registry import register


def conv1x1(inplanes, planes, stride=1):
    """1×1 convolution without bias."""
    return nn.Conv2d(inplanes, planes, 1, stride=stride, bias=False)


def conv3x3(inplanes, planes, stride=1, groups=1):
    """3×3 convolution without bias that keeps the map's size but for its stride."""
    return nn.Conv2d(inplanes, planes, 3, stride=stride, padding=1, groups=groups, bias=False)


def he_init(model, mode="fan_out"):
    """Fill every convolution with N(0, 2 / fan), see :func:`pycnn.nn.init.kaiming_normal_`."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")


def stage(block, inplanes, planes, count, stride=1, **options):
    """`count` blocks, of which the first strides.  (N, inplanes, H, W) -> (N, planes · expansion, H / stride, W / stride)."""
    first = block(inplanes, planes, stride, **options)
    return nn.Sequential(first, *(block(planes * block.expansion, planes, **options) for _ in range(1, count)))


class _Block(nn.Module):
    """What residual blocks share: the shortcut, a 1×1 convolution with batch norm where the shape changes (option B)."""

    expansion = 1

    def add_downsample(self, inplanes, planes, stride):
        """Make the shortcut, last, as torchvision orders the layers."""
        changes = stride != 1 or inplanes != planes
        self.downsample = nn.Sequential(conv1x1(inplanes, planes, stride), nn.BatchNorm2d(planes)) if changes else None

    def shortcut(self, x):
        """What is added to the branch."""
        return x if self.downsample is None else ops.conv_bn(*self.downsample, x, relu=False)


class BasicBlock(_Block):
    """Two 3×3 convolutions.  x: (N, inplanes, H, W) -> (N, planes, H / stride, W / stride)."""

    def __init__(self, inplanes, planes, stride=1):
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.add_downsample(inplanes, planes, stride)

    def forward(self, x):
        y = ops.conv_bn(self.conv1, self.bn1, x)
        return ops.conv_bn(self.conv2, self.bn2, y, add=self.shortcut(x))


class Bottleneck(_Block):
    """1×1, 3×3 and 1×1 convolution.  x: (N, inplanes, H, W) -> (N, 4 · planes, H / stride, W / stride).

    The 3×3 has planes · width_per_group / 64 channels in each of its `groups`.
    """

    expansion = 4
    first_strides = False

    def __init__(self, inplanes, planes, stride=1, groups=1, width_per_group=64):
        width = planes * width_per_group // 64 * groups
        first, second = (stride, 1) if self.first_strides else (1, stride)
        self.conv1 = conv1x1(inplanes, width, first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, second, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, planes * 4)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.add_downsample(inplanes, planes * 4, stride)

    def forward(self, x):
        y = ops.conv_bn(self.conv1, self.bn1, x)
        y = ops.conv_bn(self.conv2, self.bn2, y)
        return ops.conv_bn(self.conv3, self.bn3, y, add=self.shortcut(x))


class PaperBottleneck(Bottleneck):
    """The paper's bottleneck, whose first 1×1 convolution strides."""

    first_strides = True


@register("resnet18", block=BasicBlock, layers=(2, 2, 2, 2))
@register("resnet34", block=BasicBlock, layers=(3, 4, 6, 3))
@register("resnet50", block=Bottleneck, layers=(3, 4, 6, 3))
@register("resnet101", block=Bottleneck, layers=(3, 4, 23, 3))
@register("resnet152", block=Bottleneck, layers=(3, 8, 36, 3))
@register("resnet50_paper", block=PaperBottleneck, layers=(3, 4, 6, 3))
@register("resnet101_paper", block=PaperBottleneck, layers=(3, 4, 23, 3))
@register("resnet152_paper", block=PaperBottleneck, layers=(3, 8, 36, 3))
class ResNet(nn.Module):
    """ResNet for ImageNet.  x: (N, 3, H, W), 224×224 in the paper -> logits (N, num_classes).

    Args:
        block: the class of its residual blocks.
        layers: how many blocks each of the four stages has.
        num_classes: how many classes there are.
        block_options: the block's own (`groups`, `width_per_group`).
    """

    top = ("avgpool", "fc")
    head = ("fc",)

    def __init__(self, block, layers, num_classes=1000, **block_options):
        e = block.expansion
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(block, 64, 64, layers[0], **block_options)
        self.layer2 = stage(block, 64 * e, 128, layers[1], stride=2, **block_options)
        self.layer3 = stage(block, 128 * e, 256, layers[2], stride=2, **block_options)
        self.layer4 = stage(block, 256 * e, 512, layers[3], stride=2, **block_options)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * e, num_classes)
        he_init(self)

    def stages(self, x):
        """The maps at strides 2, 4, 8, 16, 32."""
        x = ops.conv_bn(self.conv1, self.bn1, x)
        yield x  # N,64,112,112
        x = self.layer1(self.maxpool(x))
        yield x  # N,64e,56,56
        x = self.layer2(x)
        yield x  # N,128e,28,28
        x = self.layer3(x)
        yield x  # N,256e,14,14
        yield self.layer4(x)  # N,512e,7,7

    def forward(self, x):
        for x in self.stages(x):
            pass
        return self.fc(ops.flatten(self.avgpool(x), 1))
