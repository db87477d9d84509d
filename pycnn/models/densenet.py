"""DenseNet (Huang, Liu, van der Maaten, Weinberger 2016: Densely connected convolutional networks, arxiv.org/abs/1608.06993).

Each layer sees the maps of all layers before it in its block, concatenated, and adds k maps (the growth rate); "BC" nets have a
1×1 bottleneck of 4k maps before each 3×3 (B) and halve the channels between blocks (C). Names and shapes are torchvision's,
also of the CIFAR nets, which it lacks. With `memory_efficient`, concatenation, batch norm, ReLU and bottleneck are computed again
in backward (Pleiss et al. 2017, arxiv.org/abs/1707.06990): maps that are kept grow linearly with the depth, not quadratically.

Deviations from the paper:
- Dropout follows each layer's last convolution, as in torchvision; the paper (with p = 0.2, where data is not augmented) drops
  after every convolution but the first. Off by default.
- densenet161 (k = 48) is not among the paper's nets, but among those that its authors published.
Weights: He et al. 2015 (fan_in), biases 0, as in torchvision and the authors' code.
"""

from .. import nn, ops
from .registry import register


class DenseLayer(nn.Module):
    """The k maps that follow from all before.  features: [(N, c0, H, W), (N, k, H, W), …] -> (N, growth_rate, H, W)."""

    def __init__(self, channels, growth_rate, bn_size, p, memory_efficient):
        self.bottleneck, self.memory_efficient = bn_size > 0, memory_efficient
        self.norm1 = nn.BatchNorm2d(channels)
        if self.bottleneck:
            self.conv1 = nn.Conv2d(channels, bn_size * growth_rate, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
            self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(p)

    def first(self, *features):
        """What is cheap to compute and large to keep."""
        return ops.bn_conv(self.norm1, self.conv1, ops.cat(features, 1))

    def forward(self, features):
        y = ops.recompute(self.first, *features) if self.memory_efficient else self.first(*features)
        if self.bottleneck:
            y = ops.bn_conv(self.norm2, self.conv2, y)
        return self.dropout(y)


class DenseBlock(nn.Module):
    """layers times k maps more.  x: (N, channels, H, W) -> (N, channels + layers · growth_rate, H, W)."""

    def __init__(self, layers, channels, growth_rate, bn_size, p, memory_efficient):
        for i in range(layers):
            layer = DenseLayer(channels + i * growth_rate, growth_rate, bn_size, p, memory_efficient)
            setattr(self, f"denselayer{i + 1}", layer)

    def forward(self, x):
        features = [x]
        for _, layer in self.named_children():
            features.append(layer(features))
        return ops.cat(features, 1)


class Transition(nn.Module):
    """Fewer maps at half the resolution.  x: (N, channels, H, W) -> (N, out_channels, H / 2, W / 2)."""

    def __init__(self, channels, out_channels):
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x):
        return ops.avg_pool2d(ops.bn_conv(self.norm, self.conv, x), 2)


def _initialize(model):
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
        elif isinstance(m, nn.Linear):
            nn.init.zeros_(m.bias)


_CIFAR: dict = {"image": (3, 32, 32), "small_images": True, "num_classes": 10}
_PLAIN: dict = {**_CIFAR, "bn_size": 0, "compression": 1.0}


@register("densenet121", growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64)
@register("densenet161", growth_rate=48, block_config=(6, 12, 36, 24), num_init_features=96)
@register("densenet169", growth_rate=32, block_config=(6, 12, 32, 32), num_init_features=64)
@register("densenet201", growth_rate=32, block_config=(6, 12, 48, 32), num_init_features=64)
@register("densenet264", growth_rate=32, block_config=(6, 12, 64, 48), num_init_features=64)
@register("densenet40_12_cifar", growth_rate=12, block_config=(12, 12, 12), num_init_features=16, **_PLAIN)
@register("densenet100_12_cifar", growth_rate=12, block_config=(32, 32, 32), num_init_features=16, **_PLAIN)
@register("densenet_bc100_12_cifar", growth_rate=12, block_config=(16, 16, 16), num_init_features=24, **_CIFAR)
@register("densenet_bc190_40_cifar", growth_rate=40, block_config=(31, 31, 31), num_init_features=80, **_CIFAR)
@register("densenet_bc250_24_cifar", growth_rate=24, block_config=(41, 41, 41), num_init_features=48, **_CIFAR)
class DenseNet(nn.Module):
    """DenseNet.  x: (N, 3, 224, 224), with `small_images` (N, 3, 32, 32) -> logits (N, num_classes).

    Args:
        growth_rate: k, how many maps a layer adds.
        block_config: layers of each block.
        num_init_features: maps of the first convolution.
        bn_size: maps of a bottleneck, in k; 0 for none.
        compression: the share of the maps that a transition keeps.
        small_images: start with a 3×3 convolution instead of 7×7, stride 2, and pooling.
        p: dropout's probability.
        memory_efficient: compute cheap maps again in backward instead of keeping them.
    """

    top = ("classifier",)
    head = ("classifier",)

    def __init__(
        self,
        growth_rate: int,
        block_config: tuple[int, ...],
        num_init_features: int,
        bn_size: int = 4,
        compression: float = 0.5,
        small_images: bool = False,
        num_classes: int = 1000,
        p: float = 0.0,
        memory_efficient: bool = False,
    ):
        self.blocks, self.small_images = len(block_config), small_images
        channels = num_init_features
        self.features = nn.Sequential()
        if small_images:
            self.features.conv0 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        else:
            self.features.conv0 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            self.features.norm0 = nn.BatchNorm2d(channels)
        for i, layers in enumerate(block_config):
            if i:
                setattr(self.features, f"transition{i}", Transition(channels, int(channels * compression)))
                channels = int(channels * compression)
            block = DenseBlock(layers, channels, growth_rate, bn_size, p, memory_efficient)
            setattr(self.features, f"denseblock{i + 1}", block)
            channels += layers * growth_rate
        self.features.norm5 = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        _initialize(self)

    def stages(self, x):
        """The last maps at each resolution, of densenet121 (N, 64, 112, 112), (N, 256, 56, 56), (N, 512, 28, 28),
        (N, 1024, 14, 14), (N, 1024, 7, 7). Only the last one has passed the batch norm and ReLU that follow a block."""
        if self.small_images:
            x = self.features.conv0(x)  # its batch norm is the first layer's
        else:
            x = ops.conv_bn(self.features.conv0, self.features.norm0, x)  # N,64,112,112
            yield x
            x = ops.max_pool2d(x, 3, stride=2, padding=1)  # N,64,56,56
        for i in range(1, self.blocks + 1):
            x = getattr(self.features, f"denseblock{i}")(x)
            if i < self.blocks:
                yield x
                x = getattr(self.features, f"transition{i}")(x)
        yield ops.relu(self.features.norm5(x))

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1)  # N,1024
        return self.classifier(x)
