"""MobileNet (Howard et al. 2017: MobileNets, efficient convolutional neural networks for mobile vision applications,
arxiv.org/abs/1704.04861). A 3×3 convolution is cut into one per channel (depthwise) and a 1×1 over channels (pointwise).

torchvision has no such net and the paper names no layers; names are this file's: conv1, bn1, blocks.0 … blocks.12 with depthwise,
bn1, pointwise, bn2 each, classifier.

Where the paper is silent:
- Convolutions are padded by 1 on every side (as in the Caffe ports); `tf_padding` pads as TensorFlow does, where its published
  weights come from: of even extents only the end, when the stride is 2.
- ReLU as in the paper; `relu6`, min(max(x, 0), 6), as in those weights.
- No dropout; TensorFlow's model has p = 0.001 before the classifier.
- Weights: He et al. 2015 (fan_out), the classifier N(0, 0.01²), as torchvision's MobileNetV2.
"""

from .. import nn, ops
from .mobilenet_v2 import initialize
from .registry import register


class _Unit(nn.Module):
    """What the net and its blocks share: a convolution, batch norm and ReLU as the options say."""

    def unit(self, conv, bn, x):
        """(N, C, H, W) -> (N, K, P, Q)."""
        if conv.stride[0] == 2 and self.tf_padding:
            H, W = x.shape[2:]
            x = ops.pad(x, (W % 2, 1, H % 2, 1))
        return ops.relu6(ops.conv_bn(conv, bn, x, relu=False)) if self.relu6 else ops.conv_bn(conv, bn, x)


class DepthwiseSeparable(_Unit):
    """3×3 in each channel, then 1×1 over all.  x: (N, channels, H, W) -> (N, out_channels, H / stride, W / stride)."""

    def __init__(self, channels, out_channels, stride, relu6, tf_padding):
        self.relu6, self.tf_padding = relu6, tf_padding
        padding = 0 if tf_padding and stride == 2 else 1
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.unit(self.pointwise, self.bn2, self.unit(self.depthwise, self.bn1, x))


@register("mobilenet_v1")
@register("mobilenet_v1_075", width=0.75)
@register("mobilenet_v1_050", width=0.5)
@register("mobilenet_v1_025", width=0.25)
class MobileNetV1(_Unit):
    """MobileNet.  x: (N, 3, 224, 224) -> logits (N, num_classes).

    Args:
        width: the share of the channels that the net has, α in the paper.
        p: dropout's probability.
        relu6: clip activations at 6.
        tf_padding: pad as TensorFlow's "SAME" does.
    """

    top = ("dropout", "classifier")
    head = ("classifier",)
    settings = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))

    def __init__(
        self, width: float = 1.0, num_classes: int = 1000, p: float = 0.0, relu6: bool = False, tf_padding: bool = False
    ):
        self.relu6, self.tf_padding = relu6, tf_padding
        channels = int(32 * width)
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 0 if tf_padding else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        blocks = []
        for full, stride in self.settings:
            blocks.append(DepthwiseSeparable(channels, int(full * width), stride, relu6, tf_padding))
            channels = int(full * width)
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(p)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)

    def stages(self, x):
        """The last maps at each resolution: (N, 64, 112, 112), (N, 128, 56, 56), (N, 256, 28, 28), (N, 512, 14, 14),
        (N, 1024, 7, 7) at width 1."""
        x = self.unit(self.conv1, self.bn1, x)  # N,32,112,112
        for block, (_, stride) in zip(self.blocks, self.settings, strict=True):
            if stride == 2:
                yield x
            x = block(x)
        yield x

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1)  # N,1024
        return self.classifier(self.dropout(x))
