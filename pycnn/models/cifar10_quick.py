"""Caffe's "quick" net for CIFAR-10 (BVLC/caffe examples/cifar10/cifar10_quick.prototxt, after Krizhevsky's cuda-convnet).

Layers are named as in the prototxt. Three 5×5 convolutions with pooling, two fully connected layers without anything between
them; 145,578 parameters. Pooling is 3×3 with stride 2 and rounds up as Caffe's does: 32 -> 16 -> 8 -> 4, the last windows are
clipped at the border, and the mean divides by the clipped window's area. The first pooling comes before its ReLU.
"""

from .. import nn, ops
from .lenet_caffe import caffe_init
from .registry import register


@register("cifar10_quick", image=(3, 32, 32))
class Cifar10Quick(nn.Module):
    """Caffe's quick net.  x: (N, 3, 32, 32) RGB minus the training images' mean -> logits (N, num_classes)."""

    top = ("ip1", "ip2")
    head = ("ip2",)

    def __init__(self, num_classes: int = 10):
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.ip1 = nn.Linear(64 * 4 * 4, 64)
        self.ip2 = nn.Linear(64, num_classes)
        stds = (1e-4, 1e-2, 1e-2, 0.1, 0.1)
        for layer, std in zip((self.conv1, self.conv2, self.conv3, self.ip1, self.ip2), stds, strict=True):
            caffe_init(layer, std)

    def stages(self, x):
        """The maps after each pooling: (N, 32, 16, 16), (N, 32, 8, 8) and (N, 64, 4, 4)."""
        x = ops.relu(ops.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
        yield x
        x = ops.avg_pool2d(ops.relu(self.conv2(x)), 3, 2, ceil_mode=True)
        yield x
        x = ops.avg_pool2d(ops.relu(self.conv3(x)), 3, 2, ceil_mode=True)
        yield x

    def forward(self, x):
        for x in self.stages(x):
            pass
        return self.ip2(self.ip1(ops.flatten(x, 1)))
