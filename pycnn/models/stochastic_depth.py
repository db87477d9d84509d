"""Stochastic depth (Huang, Sun, Liu, Sedra, Weinberger 2016: Deep networks with stochastic depth, arxiv.org/abs/1603.09382).

ResNets for CIFAR, names as in ``resnet_cifar.py``. While training, block l of L survives a mini-batch with probability
1 - l / L · (1 - p_L), p_L = 0.5; a block that does not is skipped: neither its forward nor its backward is computed. As in the
paper, a branch enters a training step unscaled and a test scaled by its survival probability (:func:`pycnn.ops.drop_path` scales
in training instead, by the inverse; both have the same mean before ReLU). Shortcuts that change the shape are the mean over 2×2
and zero channels, which the authors' code (github.com/yueatsprograms/Stochastic_Depth) appends behind. Deviations:
- Convolutions have no bias; the authors' have one, which batch norm takes away again.
- The parameters of a skipped block have no gradient, so that optimisers leave them alone in that step. In the authors' code their
  gradient is zero: momentum and weight decay move them.
"""

from .. import nn, ops
from .registry import register
from .resnet_cifar import BasicBlock, ResNetCifar


class StochasticBlock(BasicBlock):
    """Block that a training step skips at random.  x: (N, inplanes, H, W) -> (N, planes, H / stride, W / stride)."""

    def __init__(self, inplanes, planes, stride=1):
        super().__init__(inplanes, planes, stride)
        self.drop_path = nn.DropPath(0.0, mode="batch")

    def shortcut(self, x):
        """What is added to the branch."""
        new = self.bn2.num_features - x.shape[1]
        return ops.pad(ops.avg_pool2d(x, 2), (0, 0, 0, 0, 0, new)) if new else x

    def forward(self, x):
        if self.drop_path.drops():
            return ops.relu(self.shortcut(x))
        y = ops.conv_bn(self.conv1, self.bn1, x)
        if self.training:
            return ops.conv_bn(self.conv2, self.bn2, y, add=self.shortcut(x))
        y = ops.conv_bn(self.conv2, self.bn2, y, relu=False)
        return ops.relu(self.shortcut(x) + y * (1 - self.drop_path.p))


@register("stochastic_resnet110_cifar", image=(3, 32, 32), n=18)
@register("stochastic_resnet1202_cifar", image=(3, 32, 32), n=200)
class StochasticResNetCifar(ResNetCifar):
    """ResNet of random depth.  x: (N, 3, H, W), 32×32 in the paper -> logits (N, num_classes).

    Args:
        n: how many blocks each of the three stages has.
        num_classes: how many classes there are.
        p: probability that a step skips the last block, 1 - p_L; before it the probability grows linearly.
    """

    def __init__(self, n, num_classes=10, p=0.5):
        super().__init__(n, num_classes, StochasticBlock)
        blocks = [*self.layer1, *self.layer2, *self.layer3]
        for i, block in enumerate(blocks, 1):
            block.drop_path.p = p * i / len(blocks)
