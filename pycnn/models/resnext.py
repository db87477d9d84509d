"""ResNeXt (Xie, Girshick, Dollár, Tu, He 2017: Aggregated residual transformations for deep neural networks, CVPR;
arxiv.org/abs/1611.05431).

ResNets whose 3×3 convolutions have groups: ``32x4d`` is 32 groups of 4 channels in the first stage, the paper's form (c). Names
and initialisation are torchvision's; ``resnext101_32x4d``, which it lacks, is the paper's. ``resnext29_…_cifar`` are named as in
``resnet_cifar.py``. Deviations:
- Shortcuts that change the shape are 1×1 convolutions, all others identities: this gives the paper's 34.4 and 68.1 million
  parameters for CIFAR.
- The paper's results for CIFAR are those of pre-activated bottlenecks; these are the original ones, with which the authors found
  better accuracy later (README of github.com/facebookresearch/ResNeXt).
"""

from .registry import register
from .resnet import Bottleneck, ResNet, he_init
from .resnet_cifar import ResNetCifar


@register("resnext50_32x4d", layers=(3, 4, 6, 3), groups=32, width_per_group=4)
@register("resnext101_32x4d", layers=(3, 4, 23, 3), groups=32, width_per_group=4)
@register("resnext101_32x8d", layers=(3, 4, 23, 3), groups=32, width_per_group=8)
@register("resnext101_64x4d", layers=(3, 4, 23, 3), groups=64, width_per_group=4)
class ResNeXt(ResNet):
    """ResNeXt for ImageNet.  x: (N, 3, H, W), 224×224 in the paper -> logits (N, num_classes).

    Args:
        layers: how many blocks each of the four stages has.
        groups: groups of each 3×3 convolution (the paper's cardinality).
        width_per_group: channels of a group in the first stage; they double from stage to stage.
        num_classes: how many classes there are.
    """

    def __init__(self, layers, groups, width_per_group, num_classes=1000):
        super().__init__(Bottleneck, layers, num_classes, groups=groups, width_per_group=width_per_group)


@register("resnext29_8x64d_cifar", image=(3, 32, 32), n=3, groups=8, width_per_group=64)
@register("resnext29_16x64d_cifar", image=(3, 32, 32), n=3, groups=16, width_per_group=64)
class ResNeXtCifar(ResNetCifar):
    """ResNeXt for small images.  x: (N, 3, H, W), 32×32 in the paper -> logits (N, num_classes).

    Args:
        n: how many blocks each of the three stages has; there are 9n + 2 layers.
        groups: groups of each 3×3 convolution (the paper's cardinality).
        width_per_group: channels of a group in the first stage; they double from stage to stage.
        num_classes: how many classes there are.
    """

    def __init__(self, n, groups, width_per_group, num_classes=10):
        super().__init__(n, num_classes, Bottleneck, 64, groups=groups, width_per_group=width_per_group)
        he_init(self)
