"""GoogLeNet (Szegedy et al. 2015: Going deeper with convolutions, CVPR, arxiv.org/abs/1409.4842).

`googlenet` is torchvision's net, names and shapes too: batch normalization (eps 0.001) after every convolution, 3×3 filters where
the paper has 5×5, no local response normalization, 2×2 pooling before inception5a, dropout 0.2. Its published weights come from
TensorFlow and want pixels (x - 0.5) / 0.5 with x from 0 to 1: mean and standard deviation 0.5 in every channel, not ImageNet's
(torchvision's `transform_input` converts the one into the other inside of the net). They hold the auxiliary heads, too.

`googlenet_paper` is table 1 of the paper. Names are torchvision's here too. It differs from the paper in
- local response normalization: after the first pooling and after the third convolution as in figure 3, which gives no constants;
  these (5, 1e-4, 0.75, divided by the size) are those of Caffe's bvlc_googlenet.
- initialisation, which the paper does not describe: Caffe's, U(-b, b) with b = sqrt(3 / fan_in), biases 0.2, last layers' 0.

Both have ceil mode in the poolings, without which 112 pixels become 55, and two auxiliary heads, whose losses count 0.3 each.
"""

from .. import nn, ops
from .registry import register


class BasicConv2d(nn.Module):
    """Convolution, batch normalization, ReLU.  x: (N, channels, H, W) -> (N, width, P, Q)."""

    def __init__(self, channels: int, width: int, kernel_size: int, stride: int = 1, padding: int = 0):
        self.conv = nn.Conv2d(channels, width, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x):
        return ops.conv_bn(self.conv, self.bn, x)


class PlainConv2d(nn.Module):
    """Convolution with bias, ReLU.  x: (N, channels, H, W) -> (N, width, P, Q)."""

    def __init__(self, channels: int, width: int, kernel_size: int, stride: int = 1, padding: int = 0):
        self.conv = nn.Conv2d(channels, width, kernel_size, stride, padding)

    def forward(self, x):
        return ops.relu(self.conv(x))


class Inception(nn.Module):
    """Four branches of one field each, concatenated.  x: (N, channels, H, W) -> (N, n1 + n3 + n5 + n_pool, H, W).

    Branches: 1×1; 1×1 reducing to `reduce3`, then 3×3; 1×1 reducing to `reduce5`, then `wide`×`wide`; 3×3 maximum, then 1×1.
    """

    def __init__(self, conv, channels, n1, reduce3, n3, reduce5, n5, n_pool, wide):
        self.branch1 = conv(channels, n1, 1)
        self.branch2 = nn.Sequential(conv(channels, reduce3, 1), conv(reduce3, n3, 3, padding=1))
        self.branch3 = nn.Sequential(conv(channels, reduce5, 1), conv(reduce5, n5, wide, padding=wide // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(channels, n_pool, 1))

    def forward(self, x):
        return ops.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """Auxiliary classifier.  x: (N, channels, 14, 14) -> logits (N, num_classes). `pool` makes maps of 4×4."""

    def __init__(self, conv, channels, num_classes, p, pool):
        self.pool = pool
        self.conv = conv(channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(p)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x):
        x = ops.flatten(self.conv(self.pool(x)), 1)  # N,2048
        return self.fc2(self.dropout(ops.relu(self.fc1(x))))


@register("googlenet", paper=False)
@register("googlenet_paper", paper=True, p=0.4)
class GoogLeNet(nn.Module):
    """GoogLeNet.  x: (N, 3, H, W), designed for 224×224 -> logits (N, num_classes).

    While training with `aux_logits`: (logits, those of the head at inception4d, those of the head at inception4a), in
    torchvision's order. `p` and `p_aux` are probabilities of dropout, in the auxiliary heads the latter. `paper` chooses the
    paper's net; its auxiliary heads need maps of 14×14 to 16×16, images of 223 to 270 pixels.
    """

    top = ("aux1", "aux2", "avgpool", "dropout", "fc")
    head = ("fc", "aux1.fc2", "aux2.fc2")

    def __init__(self, num_classes: int = 1000, aux_logits: bool = True, p: float = 0.2, p_aux: float = 0.7, paper: bool = False):
        conv, wide = (PlainConv2d, 5) if paper else (BasicConv2d, 3)

        def normalization():
            return nn.LocalResponseNorm(5, convention="caffe") if paper else nn.Identity()

        self.conv1 = conv(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = normalization()
        self.conv2 = conv(64, 64, 1)
        self.conv3 = conv(64, 192, 3, padding=1)
        self.norm2 = normalization()
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(conv, 192, 64, 96, 128, 16, 32, 32, wide)
        self.inception3b = Inception(conv, 256, 128, 128, 192, 32, 96, 64, wide)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(conv, 480, 192, 96, 208, 16, 48, 64, wide)
        self.inception4b = Inception(conv, 512, 160, 112, 224, 24, 64, 64, wide)
        self.inception4c = Inception(conv, 512, 128, 128, 256, 24, 64, 64, wide)
        self.inception4d = Inception(conv, 512, 112, 144, 288, 32, 64, 64, wide)
        self.inception4e = Inception(conv, 528, 256, 160, 320, 32, 128, 128, wide)
        self.maxpool4 = nn.MaxPool2d(3 if paper else 2, 2, ceil_mode=True)
        self.inception5a = Inception(conv, 832, 256, 160, 320, 32, 128, 128, wide)
        self.inception5b = Inception(conv, 832, 384, 192, 384, 48, 128, 128, wide)
        self.aux_logits = aux_logits
        if aux_logits:
            for name, channels in (("aux1", 512), ("aux2", 528)):
                pool = nn.AvgPool2d(5, 3) if paper else nn.AdaptiveAvgPool2d(4)
                setattr(self, name, InceptionAux(conv, channels, num_classes, p_aux, pool))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(p)
        self.fc = nn.Linear(1024, num_classes)
        self._initialize(paper)

    def _initialize(self, paper):
        for path, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                if paper:
                    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
                    nn.init.constant_(layer.bias, 0.0 if path in self.head else 0.2)
                else:
                    nn.init.normal_(layer.weight, std=0.01)

    def stages(self, x, aux=None):
        """Yield the maps of 112, 56, 28, 14 and 7 pixels: strides 2, 4, 8, 16, 32. `aux` receives inputs of auxiliary heads."""
        x = self.conv1(x)  # N,64,112,112
        yield x
        x = self.norm1(self.maxpool1(x))  # N,64,56,56
        x = self.norm2(self.conv3(self.conv2(x)))  # N,192,56,56
        yield x
        x = self.inception3a(self.maxpool2(x))  # N,256,28,28
        x = self.inception3b(x)  # N,480,28,28
        yield x
        x = at_4a = self.inception4a(self.maxpool3(x))  # N,512,14,14
        x = self.inception4c(self.inception4b(x))  # N,512,14,14
        x = at_4d = self.inception4d(x)  # N,528,14,14
        if aux is not None:
            aux += [at_4a, at_4d]
        x = self.inception4e(x)  # N,832,14,14
        yield x
        yield self.inception5b(self.inception5a(self.maxpool4(x)))  # N,1024,7,7

    def forward(self, x):
        aux = []
        for x in self.stages(x, aux):
            pass
        logits = self.fc(self.dropout(ops.flatten(self.avgpool(x), 1)))
        if not (self.training and self.aux_logits):
            return logits
        at_4a, at_4d = aux
        return logits, self.aux2(at_4d), self.aux1(at_4a)
