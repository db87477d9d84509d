"""Network in Network (Lin, Chen, Yan 2014: Network in network, ICLR, arxiv.org/abs/1312.4400).

The first net with global average pooling: every map of the last layer is one class's. An "mlpconv" layer is a convolution and two
1×1 convolutions, a small multilayer perceptron that slides over the image; "cccp" (cascaded cross channel parametric pooling) is
the authors' name of the latter.

`nin_cifar` is the net of the authors' CIFAR-10 configuration (github.com/mavenlin/cuda-convnet, NIN), `nin` that of their Caffe
model for ImageNet, which the paper does not describe. Names of layers are those of their Caffe files (there conv4, cccp7
and cccp8 end in -1024). As there, poolings are in ceil mode, so that 32 pixels become 16 and 8, and a ReLU comes after the last
layer too.
"""

from .. import nn, ops
from .alexnet import gaussian
from .registry import register

# what comes before the mlpconv layer; kernel size, stride, padding of its convolution; its widths (None: the classes)
CIFAR = (
    ((), (5, 1, 2), (192, 160, 96)),
    (("max", "dropout"), (5, 1, 2), (192, 192, 192)),
    (("average", "dropout"), (3, 1, 1), (192, 192, None)),
)
IMAGENET = (
    ((), (11, 4, 0), (96, 96, 96)),
    (("max",), (5, 1, 2), (256, 256, 256)),
    (("max",), (3, 1, 1), (384, 384, 384)),
    (("max", "dropout"), (3, 1, 1), (1024, 1024, None)),
)


@register("nin", image=(3, 227, 227))
class NiN(nn.Module):
    """Network in Network for ImageNet.  x: (N, 3, H, W), designed for 227×227 -> logits (N, num_classes).

    `p` is the probability of dropout. Weights are N(0, 0.05²), biases 0, as in the authors' CIFAR-10 file.
    """

    blocks: tuple = IMAGENET
    top = ("avgpool",)
    head = ("cccp8",)

    def __init__(self, num_classes: int = 1000, p: float = 0.5):
        pools: dict = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
        channels = 3
        for i, (before, geometry, widths) in enumerate(self.blocks, 1):
            if before:
                setattr(self, f"pool{i - 1}", pools[before[0]](3, 2, ceil_mode=True))
            if "dropout" in before:
                setattr(self, f"drop{i - 1}", nn.Dropout(p))
            names = (f"conv{i}", f"cccp{2 * i - 1}", f"cccp{2 * i}")
            for name, width, shape in zip(names, widths, (geometry, (1,), (1,)), strict=True):
                setattr(self, name, gaussian(nn.Conv2d(channels, width or num_classes, *shape), 0.05))
                channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def stages(self, x):
        """Yield the map before each pooling and the last one: strides 1, 2, 4 (CIFAR) and 4, 8, 16, 32 (ImageNet)."""
        for name, layer in self.named_children():
            if name in self.top:
                break
            if name.startswith("pool"):
                yield x
            x = ops.relu(layer(x)) if isinstance(layer, nn.Conv2d) else layer(x)
        yield x

    def forward(self, x):
        for x in self.stages(x):
            pass
        return ops.flatten(self.avgpool(x), 1)


@register("nin_cifar", image=(3, 32, 32), num_classes=10)
class NiNCifar(NiN):
    """Network in Network for CIFAR.  x: (N, 3, H, W), designed for 32×32 -> logits (N, num_classes)."""

    blocks = CIFAR
    head = ("cccp6",)
