"""ResNet for CIFAR and its plain twins (He, Zhang, Ren, Sun 2015, section 4.2: arxiv.org/abs/1512.03385).

Names, and so weights, are those of github.com/akamaster/pytorch_resnet_cifar10, whose nets have the paper's parameter counts.
6n + 2 layers: a 3×3 convolution, three stages of n blocks with 16, 32 and 64 channels, the classifier. Shortcuts have no
parameters: where the shape changes they take every second pixel and pad with zero channels (option A).
Weights start from N(0, 2 / fan_in) (He et al. 2015, arxiv.org/abs/1502.01852), the classifier's as in that implementation, too.
Deviations:
- The paper says that zeros are padded, not where: here half of the new channels lie before the old ones, half behind, as in that
  implementation.
- The paper's plain nets have 20 to 56 layers; ``plain110_cifar`` is ResNet-110 without shortcuts.
"""

from .. import nn, ops
from .registry import register
from .resnet import conv3x3, he_init, stage


def option_a(x, channels):
    """Shortcut without parameters.  x: (N, C, H, W) -> (N, channels, H / 2, W / 2), or x itself where it has these channels."""
    new = channels - x.shape[1]
    return ops.pad(ops.avg_pool2d(x, 1, 2), (0, 0, 0, 0, new // 2, new - new // 2)) if new else x


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and option A.  x: (N, inplanes, H, W) -> (N, planes, H / stride, W / stride)."""

    expansion = 1

    def __init__(self, inplanes, planes, stride=1):
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)

    def shortcut(self, x):
        """What is added to the branch."""
        return option_a(x, self.bn2.num_features)

    def forward(self, x):
        y = ops.conv_bn(self.conv1, self.bn1, x)
        return ops.conv_bn(self.conv2, self.bn2, y, add=self.shortcut(x))


class PlainBlock(BasicBlock):
    """:class:`BasicBlock` without its shortcut."""

    def shortcut(self, x):
        """Nothing is added."""
        return None


@register("resnet20_cifar", image=(3, 32, 32), n=3)
@register("resnet32_cifar", image=(3, 32, 32), n=5)
@register("resnet44_cifar", image=(3, 32, 32), n=7)
@register("resnet56_cifar", image=(3, 32, 32), n=9)
@register("resnet110_cifar", image=(3, 32, 32), n=18)
@register("resnet1202_cifar", image=(3, 32, 32), n=200)
@register("plain20_cifar", image=(3, 32, 32), n=3, block=PlainBlock)
@register("plain32_cifar", image=(3, 32, 32), n=5, block=PlainBlock)
@register("plain44_cifar", image=(3, 32, 32), n=7, block=PlainBlock)
@register("plain56_cifar", image=(3, 32, 32), n=9, block=PlainBlock)
@register("plain110_cifar", image=(3, 32, 32), n=18, block=PlainBlock)
class ResNetCifar(nn.Module):
    """ResNet for small images.  x: (N, 3, H, W), 32×32 in the paper -> logits (N, num_classes).

    Args:
        n: how many blocks each of the three stages has.
        num_classes: how many classes there are.
        block: the class of its residual blocks.
        width: channels of the first convolution; the stages' blocks have it once, twice and four times.
        block_options: the block's own.
    """

    top = ("avgpool", "linear")
    head = ("linear",)

    def __init__(self, n, num_classes=10, block=BasicBlock, width=16, **block_options):
        e = block.expansion
        self.conv1 = conv3x3(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(block, width, width, n, **block_options)
        self.layer2 = stage(block, width * e, 2 * width, n, stride=2, **block_options)
        self.layer3 = stage(block, 2 * width * e, 4 * width, n, stride=2, **block_options)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(4 * width * e, num_classes)
        he_init(self, "fan_in")
        nn.init.kaiming_normal_(self.linear.weight)

    def stages(self, x):
        """The maps at strides 1, 2, 4."""
        x = self.layer1(ops.conv_bn(self.conv1, self.bn1, x))
        yield x  # N,16,32,32
        x = self.layer2(x)
        yield x  # N,32,16,16
        yield self.layer3(x)  # N,64,8,8

    def forward(self, x):
        for x in self.stages(x):
            pass
        return self.linear(ops.flatten(self.avgpool(x), 1))
