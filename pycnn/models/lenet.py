"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998: Gradient-based learning applied to document recognition).

Proceedings of the IEEE 86(11). Layers are named as in the paper: C1, (S2), C3, (S4), C5, F6, output. This is the form
in which the net is used today; it differs from the paper's in
- S2, S4: maximum over 2×2. There: mean, times a learned coefficient per map, plus a learned bias, then a sigmoid.
- C3: every map sees all 6 maps of S2 (96 connections). There: 3, 4 or 6 of them, by a table, to break symmetry (60).
- C5: written as the fully connected layer that a 5×5 convolution on 5×5 maps is.
- ReLU. There: 1.7159·tanh(2x/3).
- output: 10 logits for softmax and cross entropy. There: Euclidean radial basis functions around fixed 7×12 bitmaps.
Hence 61,706 parameters instead of 60,000.
"""

from .. import nn, ops
from .registry import register


@register("lenet5", image=(1, 32, 32))
class LeNet5(nn.Module):
    """LeNet-5, modern form.  x: (N, 1, 32, 32) -> logits (N, num_classes)."""

    def __init__(self, num_classes: int = 10):
        self.c1 = nn.Conv2d(1, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)

    def forward(self, x):
        x = ops.relu(self.c1(x))  # N,6,28,28
        x = ops.max_pool2d(x, 2)  # N,6,14,14
        x = ops.relu(self.c3(x))  # N,16,10,10
        x = ops.max_pool2d(x, 2)  # N,16,5,5
        x = ops.flatten(x, 1)  # N,400
        x = ops.relu(self.c5(x))  # N,120
        x = ops.relu(self.f6(x))  # N,84
        return self.output(x)
