"""SqueezeNet (Iandola et al. 2016: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size).

arxiv.org/abs/1602.07360. Names and shapes are torchvision's. `squeezenet1_0` is the paper's net, `squeezenet1_1` the authors'
later one with 2.4 times fewer operations (github.com/forresti/SqueezeNet): smaller first layer, poolings earlier. Poolings are in
ceil mode, as in Caffe. It differs from the authors' files in
- size: designed for 224×224. There: 227×227.
- the last convolution has no padding. The authors' file of 1.0 pads it by 1, which makes 15×15 of 13×13 maps, their border the
  bias alone; `conv10_padding=1` does so.
"""

from .. import nn, ops
from .alexnet import gaussian, resolutions
from .registry import register


def he_uniform(layer):
    """Fill a layer's weights with U(-b, b), b = sqrt(6 / fan_in), its biases with 0."""
    nn.init.kaiming_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


class Fire(nn.Module):
    """1×1 convolution to few channels, then 1×1 and 3×3 side by side.  x: (N, channels, H, W) -> (N, 2·expand, H, W)."""

    def __init__(self, channels: int, squeeze: int, expand: int):
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = ops.relu(self.squeeze(x))
        return ops.concat([ops.relu(self.expand1x1(x)), ops.relu(self.expand3x3(x))], 1)


def features1_0():
    """Layers of 1.0; sizes are those of 224×224."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2),  # N,96,109,109
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),  # N,96,54,54
        Fire(96, 16, 64),
        Fire(128, 16, 64),
        Fire(128, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),  # N,256,27,27
        Fire(256, 32, 128),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        nn.MaxPool2d(3, 2, ceil_mode=True),  # N,512,13,13
        Fire(512, 64, 256),
    )


def features1_1():
    """Layers of 1.1; sizes are those of 224×224."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),  # N,64,111,111
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),  # N,64,55,55
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),  # N,128,27,27
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),  # N,256,13,13
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )


@register("squeezenet1_0", features=features1_0)
@register("squeezenet1_1", features=features1_1)
class SqueezeNet(nn.Module):
    """SqueezeNet.  x: (N, 3, H, W), at least 21×21 (1.1: 17×17), designed for 224×224 -> logits (N, num_classes).

    `features` makes the layers before the classifier, `p` is the probability of dropout, `conv10_padding` the padding of the
    classifier's convolution. Initialisation: He's, uniform, in the classifier N(0, 0.01²); biases 0.
    """

    top = ("classifier",)
    head = ("classifier.1",)

    def __init__(self, num_classes: int = 1000, p: float = 0.5, features=features1_0, conv10_padding: int = 0):
        self.features = features()
        conv10 = nn.Conv2d(512, num_classes, 1, padding=conv10_padding)
        self.classifier = nn.Sequential(nn.Dropout(p), conv10, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        gaussian(conv10, 0.01)
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                he_uniform(layer)

    def stages(self, x):
        """Yield the map before each pooling and the last one: strides 2, 4, 8, 16."""
        return resolutions(self.features, x)

    def forward(self, x):
        for x in self.stages(x):
            pass
        return ops.flatten(self.classifier(x), 1)
