"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998: Gradient-based learning applied to document recognition).

Proceedings of the IEEE 86(11), section II.B. Layers are named as in the paper: C1, S2, C3, S4, C5, F6, output.

`lenet5_1998` is the paper's net: 60,000 parameters, 340,908 connections (C3: 60 maps' connections by table I). It differs in
- training: cross entropy of minus the distances, softmax's log(Σ e^-y) without the constant e^-j that equation 9 adds as a
  rubbish class; and whatever optimiser it is given in the place of the stochastic diagonal Levenberg-Marquardt method.
- bitmaps of the output: drawn here after figure 3, not copied pixel by pixel; digits only, no other characters.

`lenet5` is the form in which the net is used today. It differs from the paper's in
- S2, S4: maximum over 2×2. There: the sum, times a learned coefficient per map, plus a learned bias, then a sigmoid.
- C3: every map sees all 6 maps of S2 (96 connections). There: 3, 4 or 6 of them, by a table, to break symmetry (60).
- C5: written as the fully connected layer that a 5×5 convolution on 5×5 maps is.
- ReLU. There: 1.7159·tanh(2x/3).
- output: 10 logits for softmax and cross entropy. There: Euclidean radial basis functions around fixed 7×12 bitmaps.
Hence 61,706 parameters instead of 60,000.
"""

from .. import nn, ops
from .registry import register

# Table I: the maps of S2 that each map of C3 sees: 3 neighbours, 4 neighbours, 2 + 2, all.
THREE = [[(i + j) % 6 for j in (0, 1, 2)] for i in range(6)]
FOUR = [[(i + j) % 6 for j in (0, 1, 2, 3)] for i in range(6)]
TWO_AND_TWO = [[(i + j) % 6 for j in (0, 1, 3, 4)] for i in range(3)]

# The codes that F6 is to produce, 7×12 pixels of +1 (#) and -1 (.).
GLYPHS = """
..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. ..###..
.#...#. ..##... #.....# #.....# ....##. #...... .#....# ......# #.....# .#...#.
#.....# .#.#... #.....# ......# ...#.#. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ......# .#...#. #####.. #...... .....#. #.....# #.....#
#.....# ...#... .....#. ..####. #....#. .....#. #.###.. ....#.. .#####. .#...##
#.....# ...#... ....#.. ......# #....#. ......# ##...#. ....#.. #.....# ..###.#
#.....# ...#... ...#... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ..#.... #.....# ......#
.#...#. ...#... #...... #.....# .....#. #....#. .#...#. ..#.... #.....# #....#.
..###.. .#####. ####### .#####. .....#. .####.. ..###.. ..#.... .#####. .####..
"""


def squash(a):
    """The paper's sigmoid, 1.7159·tanh(2a/3): it maps ±1 to ±1, where its curvature is largest (appendix A)."""
    return 1.7159 * ops.tanh(a * (2 / 3))


def initialized(layer, inputs: int):
    """`layer` with weights and biases U(-b, b), b = 2.4 / `inputs`, the fan-in of its units (appendix A)."""
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -2.4 / inputs, 2.4 / inputs)
    return layer


class Subsampling(nn.Module):
    """S2, S4: the sum of 2×2 pixels, times one coefficient per map, plus one bias, squashed.

    x: (N, maps, H, W) -> (N, maps, H/2, W/2). Coefficient and bias are those of a depthwise 1×1 convolution.
    """

    def __init__(self, maps: int):
        self.scale = initialized(nn.Conv2d(maps, maps, 1, groups=maps), 4)

    def forward(self, x):
        return squash(self.scale(ops.avg_pool2d(x, 2, divisor_override=1)))


class SparseConvolution(nn.Module):
    """C3: 16 maps by table I, each with one 5×5 filter per map that it sees: 25·60 weights, 16 biases.

    x: (N, 6, H, W) -> (N, 16, H - 4, W - 4). Maps that see equally many are one grouped convolution, a group for each map.
    """

    def __init__(self):
        self.three = initialized(nn.Conv2d(18, 6, 5, groups=6), 3 * 25)
        self.four = initialized(nn.Conv2d(24, 6, 5, groups=6), 4 * 25)
        self.two_and_two = initialized(nn.Conv2d(12, 3, 5, groups=3), 4 * 25)
        self.all = initialized(nn.Conv2d(6, 1, 5), 6 * 25)

    def forward(self, x):
        maps = ops.split(x, 1, 1)

        def seen(table):
            return ops.concat([maps[i] for row in table for i in row], 1)

        return ops.concat([self.three(seen(THREE)), self.four(seen(FOUR)), self.two_and_two(seen(TWO_AND_TWO)), self.all(x)], 1)


class EuclideanRBF(nn.Module):
    """Squared distances Σ (x - center)² from fixed `centers` (num_classes, n).  x: (N, n) -> (N, num_classes)."""

    def __init__(self, centers: list[list[float]]):
        self.centers = nn.Buffer(centers)

    def forward(self, x):
        return ops.sum(ops.square(ops.reshape(x, (x.shape[0], 1, x.shape[1])) - self.centers), 2)


@register("lenet5_1998", image=(1, 32, 32))
class LeNet5Of1998(nn.Module):
    """LeNet-5 as published.  x: (N, 1, 32, 32) -> logits (N, num_classes), minus the squared distances from the classes' bitmaps.

    The paper's pixels are -0.1 (background) to 1.175 (ink), so that their mean is about 0 and their variance about 1.

    Raises:
        ValueError: `num_classes` is more than 10; there are bitmaps of the digits only.
    """

    top = ("c5", "f6", "output")
    head = ("output",)

    def __init__(self, num_classes: int = 10):
        if not 1 <= num_classes <= 10:
            raise ValueError(f"num_classes must be 1 to 10, as there are bitmaps of the ten digits, got {num_classes}")
        self.c1 = initialized(nn.Conv2d(1, 6, 5), 25)
        self.s2 = Subsampling(6)
        self.c3 = SparseConvolution()
        self.s4 = Subsampling(16)
        self.c5 = initialized(nn.Conv2d(16, 120, 5), 16 * 25)
        self.f6 = initialized(nn.Linear(120, 84), 120)
        rows = [line.split() for line in GLYPHS.split("\n") if line]
        self.output = EuclideanRBF([[1.0 if c == "#" else -1.0 for row in rows for c in row[i]] for i in range(num_classes)])

    def stages(self, x):
        """Yield C1 (N, 6, 28, 28), C3 (N, 16, 10, 10), S4 (N, 16, 5, 5)."""
        x = squash(self.c1(x))
        yield x
        x = self.s2(x)  # N,6,14,14
        x = squash(self.c3(x))
        yield x
        yield self.s4(x)

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = squash(self.c5(x))  # N,120,1,1
        x = squash(self.f6(ops.flatten(x, 1)))  # N,84
        return -self.output(x)


@register("lenet5", image=(1, 32, 32))
class LeNet5(nn.Module):
    """LeNet-5, modern form.  x: (N, 1, 32, 32) -> logits (N, num_classes)."""

    top = ("c5", "f6", "output")
    head = ("output",)

    def __init__(self, num_classes: int = 10):
        self.c1 = nn.Conv2d(1, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)

    def stages(self, x):
        """Yield C1 (N, 6, 28, 28), C3 (N, 16, 10, 10), S4 (N, 16, 5, 5)."""
        x = ops.relu(self.c1(x))
        yield x
        x = ops.max_pool2d(x, 2)  # N,6,14,14
        x = ops.relu(self.c3(x))
        yield x
        yield ops.max_pool2d(x, 2)

    def forward(self, x):
        for x in self.stages(x):
            pass
        x = ops.flatten(x, 1)  # N,400
        x = ops.relu(self.c5(x))  # N,120
        x = ops.relu(self.f6(x))  # N,84
        return self.output(x)
