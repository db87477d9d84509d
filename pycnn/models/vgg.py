"""VGG (Simonyan, Zisserman 2015: Very deep convolutional networks for large-scale image recognition, arxiv.org/abs/1409.1556).

Names and shapes are torchvision's: vgg11, vgg13, vgg16, vgg19 are the paper's A, B, D, E (table 1); `_bn` has batch normalization
after each convolution, which is torchvision's addition. It differs from the paper in
- 7×7 average pooling before the classifier, the identity at 224×224, so that other sizes pass. There: other sizes by making the
  fully connected layers convolutions and averaging the scores (section 3.2).
- initialisation: He's in the convolutions. There: N(0, 0.01²) for net A, whose layers the deeper nets start from (section 3.1).
"""

import math

from .. import nn, ops
from .alexnet import gaussian
from .registry import register

A, B, D, E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)


@register("vgg11", layers=A)
@register("vgg13", layers=B)
@register("vgg16", layers=D)
@register("vgg19", layers=E)
@register("vgg11_bn", layers=A, batch_norm=True)
@register("vgg13_bn", layers=B, batch_norm=True)
@register("vgg16_bn", layers=D, batch_norm=True)
@register("vgg19_bn", layers=E, batch_norm=True)
class VGG(nn.Module):
    """VGG.  x: (N, 3, H, W), at least 32×32, designed for 224×224 -> logits (N, num_classes).

    `layers` are the 3×3 convolutions of the five groups of 64, 128, 256, 512, 512 filters, each group followed by 2×2 pooling;
    `batch_norm` says whether batch normalization follows each; `p` is the probability of dropout.
    """

    top = ("avgpool", "classifier")
    head = ("classifier.6",)

    def __init__(self, num_classes: int = 1000, p: float = 0.5, layers: tuple = D, batch_norm: bool = False):
        features: list[nn.Module] = []
        channels = 3
        for width, count in zip((64, 128, 256, 512, 512), layers, strict=True):
            for _ in range(count):
                features.append(nn.Conv2d(channels, width, 3, padding=1))
                if batch_norm:
                    features.append(nn.BatchNorm2d(width))
                features.append(nn.ReLU())
                channels = width
            features.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(4096, num_classes),
        )
        self.batch_norm = batch_norm
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                gaussian(layer, math.sqrt(2 / (9 * layer.out_channels)))  # He's, for the variance of gradients ("fan_out")
            elif isinstance(layer, nn.Linear):
                gaussian(layer, 0.01)

    def stages(self, x):
        """Yield the maps of 224, 112, 56, 28, 14 and 7 pixels: strides 1, 2, 4, 8, 16, 32."""
        layers = iter(self.features)
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                yield x
            if self.batch_norm and isinstance(layer, nn.Conv2d):
                x = ops.conv_bn(layer, next(layers), x)
                next(layers)  # the ReLU, which conv_bn has applied
            else:
                x = layer(x)
        yield x

    def forward(self, x):
        for x in self.stages(x):
            pass
        return self.classifier(ops.flatten(self.avgpool(x), 1))
