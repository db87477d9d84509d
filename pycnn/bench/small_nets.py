"""Small nets of the three kinds that a training step is measured on; PyTorch runs the same file (``torch_twin``).

They have the layers of VGG (Simonyan and Zisserman 2014), ResNet-18 (He et al. 2015) and MobileNet (Howard et al. 2017), fewer
of them and with fewer channels, so that a CPU trains a step in a fraction of a second.
"""

from .. import nn, ops


class Vgg(nn.Module):
    """Six 3×3 convolutions in three stages, then two fully connected layers.  x: (N, 3, 64, 64) -> (N, 10)."""

    def __init__(self):
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.conv5, self.conv6 = nn.Conv2d(64, 128, 3, padding=1), nn.Conv2d(128, 128, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(128 * 8 * 8, 256), nn.Linear(256, 10)

    def forward(self, x):
        for first, second in ((self.conv1, self.conv2), (self.conv3, self.conv4), (self.conv5, self.conv6)):
            x = ops.max_pool2d(ops.relu(second(ops.relu(first(x)))), 2)
        return self.fc2(ops.relu(self.fc1(ops.flatten(x, 1))))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around which a shortcut leads, 1×1 where the shape changes."""

    def __init__(self, inputs, channels, stride):
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        changes = inputs != channels or stride != 1
        self.conv3 = nn.Conv2d(inputs, channels, 1, stride, bias=False) if changes else None
        self.bn3 = nn.BatchNorm2d(channels) if changes else None

    def forward(self, x):
        shortcut = x if self.conv3 is None else ops.conv_bn(self.conv3, self.bn3, x, relu=False)
        x = ops.conv_bn(self.conv1, self.bn1, x)
        return ops.conv_bn(self.conv2, self.bn2, x, add=shortcut)


class ResNet(nn.Module):
    """ResNet-18 with half the channels.  x: (N, 3, 112, 112) -> (N, 10)."""

    def __init__(self):
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32)
        stages = [(32, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 2)]
        blocks = [BasicBlock(*stage) for inputs, c, stride in stages for stage in ((inputs, c, stride), (c, c, 1))]
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(256 * 4 * 4, 10)

    def forward(self, x):
        x = ops.max_pool2d(ops.conv_bn(self.conv1, self.bn1, x), 3, 2, 1)
        return self.fc(ops.flatten(self.blocks(x), 1))


class Separable(nn.Module):
    """A 3×3 convolution of each channel by itself, then a 1×1 convolution of all."""

    def __init__(self, inputs, channels, stride):
        self.conv1 = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2, self.bn2 = nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        return ops.conv_bn(self.conv2, self.bn2, ops.conv_bn(self.conv1, self.bn1, x))


class MobileNet(nn.Module):
    """The first ten layers of MobileNet.  x: (N, 3, 112, 112) -> (N, 10)."""

    def __init__(self):
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(
            Separable(32, 64, 1), Separable(64, 128, 2), Separable(128, 128, 1), Separable(128, 256, 2), Separable(256, 256, 2)
        )
        self.fc = nn.Linear(256 * 7 * 7, 10)

    def forward(self, x):
        return self.fc(ops.flatten(self.blocks(ops.conv_bn(self.conv1, self.bn1, x)), 1))
