"""Caffe's LeNet for MNIST (Jia et al. 2014: Caffe, arxiv.org/abs/1408.5093; BVLC/caffe examples/mnist/lenet.prototxt).

Layers are named as in the prototxt. It shares with LeNet-5 (see ``lenet.py``) the order of its layers and little else:
- 28×28 images without a margin, pixels / 256; 20 and 50 maps instead of 6 and 16; one hidden layer of 500.
- No nonlinearity between the convolutions: only the maximum over 2×2, and ReLU after ip1.
Hence 431,080 parameters. Caffe's pooling rounds up, which changes nothing here (24 and 8 are even).
"""

from .. import nn, ops
from .registry import register


def caffe_init(layer, std: float | None = None) -> None:
    """Caffe's fillers: weights U(-b, b) with b = sqrt(3 / fan_in) ("xavier"), or N(0, std²) ("gaussian"); biases 0."""
    if std is None:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    else:
        nn.init.normal_(layer.weight, 0.0, std)
    nn.init.zeros_(layer.bias)


@register("lenet_caffe", image=(1, 28, 28))
class LeNetCaffe(nn.Module):
    """Caffe's LeNet.  x: (N, 1, 28, 28) -> logits (N, num_classes)."""

    top = ("ip1", "ip2")
    head = ("ip2",)

    def __init__(self, num_classes: int = 10):
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(50 * 4 * 4, 500)
        self.ip2 = nn.Linear(500, num_classes)
        for layer in (self.conv1, self.conv2, self.ip1, self.ip2):
            caffe_init(layer)

    def stages(self, x):
        """The maps after each pooling: (N, 20, 12, 12) and (N, 50, 4, 4)."""
        x = ops.max_pool2d(self.conv1(x), 2)
        yield x
        x = ops.max_pool2d(self.conv2(x), 2)
        yield x

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.relu(self.ip1(ops.flatten(x, 1)))
        return self.ip2(x)
