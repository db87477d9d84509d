"""AlexNet (Krizhevsky, Sutskever, Hinton 2012: ImageNet classification with deep convolutional neural networks, NIPS).

`alexnet` is torchvision's net, names and shapes too: Krizhevsky's single-GPU successor (2014: One weird trick for parallelizing
convolutional neural networks, arxiv.org/abs/1404.5997). It has 64-192-384-256-256 filters, no groups, no normalization, images of
224 pixels with padding 2, dropout before the fully connected layers, and a 6×6 average pooling, so that other sizes pass.

`alexnet_paper` is the net of 2012, layers named as in Caffe's bvlc_alexnet. The second, fourth and fifth convolution have two
groups: the maps of one GPU see only that GPU's maps. It differs from the paper in
- images of 227×227. The paper says 224, of which 55 maps' pixels do not follow: (227 - 11) / 4 + 1 = 55.
- dropout scales by 1 / (1 - p) while training. There: by 1 - p when testing.

`alexnet_lecture` is the same net as the lecture draws it, without groups: 62,378,344 parameters instead of 60,965,224.
"""

from .. import nn, ops
from .registry import register


def resolutions(features, x):
    """Apply the Sequential `features` to x (N, C, H, W); yield the map before each maximum pooling, and the last one."""
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            yield x
        x = layer(x)
    yield x


def gaussian(layer, std, bias=0.0):
    """Fill a layer's weights with N(0, std²), its biases with `bias`; returns the layer."""
    nn.init.normal_(layer.weight, std=std)
    nn.init.constant_(layer.bias, bias)
    return layer


@register("alexnet")
class AlexNet(nn.Module):
    """AlexNet, torchvision's.  x: (N, 3, H, W), at least 63×63, designed for 224×224 -> logits (N, num_classes).

    `p` is the probability of dropout. Initialisation is the layers' own, as in torchvision.
    """

    top = ("avgpool", "classifier")
    head = ("classifier.6",)

    def __init__(self, num_classes: int = 1000, p: float = 0.5):
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),  # N,64,55,55
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # N,64,27,27
            nn.Conv2d(64, 192, 5, padding=2),  # N,192,27,27
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # N,192,13,13
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),  # N,256,13,13
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # N,256,6,6
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(p),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def stages(self, x):
        """Yield the maps of 55, 27, 13 and 6 pixels: strides 4, 8, 16, 32."""
        return resolutions(self.features, x)

    def forward(self, x):
        for x in self.stages(x):
            pass
        return self.classifier(ops.flatten(self.avgpool(x), 1))


@register("alexnet_paper", image=(3, 227, 227), groups=2)
@register("alexnet_lecture", image=(3, 227, 227), groups=1)
class AlexNetPaper(nn.Module):
    """AlexNet of 2012.  x: (N, 3, 227, 227) -> logits (N, num_classes).

    `groups` is the number of GPUs that the maps are spread over, `p` the probability of dropout. Weights are N(0, 0.01²), biases
    1 in the second, fourth and fifth convolution and the hidden fully connected layers, else 0 (section 5).
    """

    top = ("fc6", "drop6", "fc7", "drop7", "fc8")
    head = ("fc8",)

    def __init__(self, num_classes: int = 1000, p: float = 0.5, groups: int = 2):
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.norm1 = nn.LocalResponseNorm(5, convention="paper")
        self.pool1 = nn.MaxPool2d(3, 2)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=groups)
        self.norm2 = nn.LocalResponseNorm(5, convention="paper")
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=groups)
        self.pool5 = nn.MaxPool2d(3, 2)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.drop6 = nn.Dropout(p)
        self.fc7 = nn.Linear(4096, 4096)
        self.drop7 = nn.Dropout(p)
        self.fc8 = nn.Linear(4096, num_classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5, self.fc6, self.fc7, self.fc8):
            gaussian(layer, 0.01, bias=0.0 if layer in (self.conv1, self.conv3, self.fc8) else 1.0)

    def stages(self, x):
        """Yield the maps of 55, 27, 13 and 6 pixels: strides 4, 8, 16, 32."""
        x = self.norm1(ops.relu(self.conv1(x)))  # N,96,55,55
        yield x
        x = self.norm2(ops.relu(self.conv2(self.pool1(x))))  # N,256,27,27
        yield x
        x = ops.relu(self.conv3(self.pool2(x)))  # N,384,13,13
        x = ops.relu(self.conv4(x))  # N,384,13,13
        x = ops.relu(self.conv5(x))  # N,256,13,13
        yield x
        yield self.pool5(x)  # N,256,6,6

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(x, 1)  # N,9216
        x = self.drop6(ops.relu(self.fc6(x)))  # N,4096
        x = self.drop7(ops.relu(self.fc7(x)))  # N,4096
        return self.fc8(x)
