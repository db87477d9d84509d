"""ZFNet (Zeiler, Fergus 2014: Visualizing and understanding convolutional networks, ECCV, arxiv.org/abs/1311.2901).

`zfnet` is the net of figure 3: AlexNet with 7×7 filters at stride 2 in the first layer, stride 2 in the second, no groups.
`zfnet_512_1024_512` has more filters in the third to fifth convolution (section 5.1, table 3), the change that the lecture names.
The paper has no names of layers; these are Caffe's for AlexNet. What the paper leaves open is chosen so that figure 3's
110-55-26-13-13-6 pixels come out of 224:
- padding 1 in the first convolution, none in the second, ceil mode in the poolings. Faster R-CNN's ZF net pads otherwise.
- "contrast normalized across feature maps" is AlexNet's local response normalization; it comes after the pooling, as in figure 3.
- filters whose root mean square exceeds 0.1 are renormalized to it while training: not done here.
"""

from .. import nn, ops
from .alexnet import gaussian
from .registry import register


@register("zfnet", widths=(384, 384, 256))
@register("zfnet_512_1024_512", widths=(512, 1024, 512))
class ZFNet(nn.Module):
    """ZFNet.  x: (N, 3, 224, 224) -> logits (N, num_classes).

    `widths` are the filters of the third to fifth convolution, `p` is the probability of dropout. Weights are N(0, 0.01²) where
    the paper says "initialized to 10⁻²" (section 3.1), biases 0.
    """

    top = ("fc6", "drop6", "fc7", "drop7", "fc8")
    head = ("fc8",)

    def __init__(self, num_classes: int = 1000, p: float = 0.5, widths: tuple[int, int, int] = (384, 384, 256)):
        third, fourth, fifth = widths
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2, padding=1)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = nn.LocalResponseNorm(5, convention="paper")
        self.conv2 = nn.Conv2d(96, 256, 5, stride=2)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm2 = nn.LocalResponseNorm(5, convention="paper")
        self.conv3 = nn.Conv2d(256, third, 3, padding=1)
        self.conv4 = nn.Conv2d(third, fourth, 3, padding=1)
        self.conv5 = nn.Conv2d(fourth, fifth, 3, padding=1)
        self.pool5 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.fc6 = nn.Linear(fifth * 6 * 6, 4096)
        self.drop6 = nn.Dropout(p)
        self.fc7 = nn.Linear(4096, 4096)
        self.drop7 = nn.Dropout(p)
        self.fc8 = nn.Linear(4096, num_classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5, self.fc6, self.fc7, self.fc8):
            gaussian(layer, 0.01)

    def stages(self, x):
        """Yield the maps of 110, 55, 26, 13 and 6 pixels: strides 2, 4, 8, 16, 32."""
        x = ops.relu(self.conv1(x))  # N,96,110,110
        yield x
        x = self.norm1(self.pool1(x))  # N,96,55,55
        yield x
        x = ops.relu(self.conv2(x))  # N,256,26,26
        yield x
        x = self.norm2(self.pool2(x))  # N,256,13,13
        x = ops.relu(self.conv3(x))
        x = ops.relu(self.conv4(x))
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
