"""Objects at several scales: 3×3 filters only against inception modules.

The lecture, over pictures of the same object near and far: "What will happen when objects are at different scales?", and on the
inception module: "Apply filters with different size receptive fields to the input from previous layer (1x1, 3x3, 5x5, 3x3
pooling). Then concatenate all filter outputs together in channel dimension." It "integrates information at multiple receptive
fields".

Scenes of digit-scenes that hold one digit, in grey, 64×64 pixels; its square is 12, 18, 27 or 40 pixels wide, each equally often.
Two nets with the same stem and poolings and with equal parameters and multiply-adds, to 2 %: a 3×3 convolution where the other
has an inception module, which is cheaper and so has more maps, and two convolutions in a row where it has a bottleneck.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn, ops

SIDES = (12, 18, 27, 40)
SCENES, STEPS = (12000, 4000), 400  # a quarter of the scenes has one digit


def block(channels, maps, kernel_size, stride=1):
    """Convolution, batch normalization, ReLU."""
    conv = nn.Conv2d(channels, maps, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(maps), nn.ReLU())


class Inception(nn.Module):
    """x: (N, channels, H, W) -> (N, maps, H, W): 2/8 of the maps see 1×1 pixels, 3/8 3×3, 2/8 5×5, 1/8 the maximum of 3×3."""

    def __init__(self, channels, maps):
        eighth = maps // 8
        self.path1x1 = block(channels, 2 * eighth, 1)
        self.path3x3 = nn.Sequential(block(channels, 3 * eighth, 1), block(3 * eighth, 3 * eighth, 3))
        self.path5x5 = nn.Sequential(block(channels, eighth, 1), block(eighth, 2 * eighth, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), block(channels, eighth, 1))

    def forward(self, x):
        return ops.concat([self.path1x1(x), self.path3x3(x), self.path5x5(x), self.pool(x)], 1)


def conv3x3(channels, maps):
    return block(channels, maps, 3)


class Net(nn.Module):
    """x: (N, 1, 64, 64) -> logits (N, 10). unit: unit(channels, maps) makes a layer; maps: of those at 16×16 and at 8×8."""

    def __init__(self, unit, maps):
        self.stem = nn.Sequential(block(1, 16, 3, stride=2), nn.MaxPool2d(2))  # N,16,16,16
        self.units1 = nn.Sequential(unit(16, maps[0]), unit(maps[0], maps[0]), nn.MaxPool2d(2))  # N,maps,8,8
        self.units2 = nn.Sequential(unit(maps[0], maps[1]), unit(maps[1], maps[1]))
        self.classifier = nn.Linear(maps[1], 10)

    def forward(self, x):
        return self.classifier(self.units2(self.units1(self.stem(x))).mean((2, 3)))


NETS = {"3×3 only": (conv3x3, (24, 34)), "inception": (Inception, (40, 56))}


def only_one_digit(scenes):
    return scenes.subset([i for i, boxes in enumerate(scenes.boxes) if len(boxes) == 1])


def sides(scenes):
    """The side of each scene's digit, one of SIDES: the least one that its box fits into."""
    heights = [int(max(boxes[0, 2:] - boxes[0, :2])) for boxes in scenes.boxes]
    return np.array([min(side for side in SIDES if height <= side) for height in heights])


def run(quick):
    data, test = map(only_one_digit, lab.load("digit-scenes", channels=1, n=(1000, 400) if quick else SCENES))
    steps, scale = 4 if quick else STEPS, sides(test)
    nets = {}
    for name, (unit, maps) in NETS.items():
        counted = pycnn.summary(Net(unit, maps), (1, 64, 64))

        def measure(seed, unit=unit, maps=maps):
            net = Net(unit, maps)
            lab.train(net, data, steps, lr=0.1, seed=seed)
            logits = lab.predict(net, test)
            right = {str(side): lab.percent(logits[scale == side], test.labels[scale == side]) for side in SIDES}
            return right | {"all": lab.percent(logits, test.labels)}

        runs = lab.each_seed(measure, quick)
        nets[name] = {
            "parameters": counted.parameters, "macs": counted.macs,
            "accuracy": {key: [one[key] for one in runs] for key in runs[0]},
        }  # fmt: skip
    shown = [int(np.flatnonzero(scale == side)[0]) for side in SIDES]
    return {
        "nets": nets, "steps": steps, "trained": [int((sides(data) == side).sum()) for side in SIDES],
        "tested": [int((scale == side).sum()) for side in SIDES], "examples": test.images[shown, 0].tolist(),
    }  # fmt: skip


def report(results, page):
    nets, keys = results["nets"], [*map(str, SIDES), "all"]
    trained, tested = sum(results["trained"]), ", ".join(map(str, results["tested"]))
    page.say(
        f"{trained:,} scenes for training, {results['steps']} steps of 64. Accuracy by the side of the digit's square; there are "
        f"{tested} test scenes of these sides:"
    )
    page.table(
        ["net", "parameters", "multiply-adds", *[f"{side} pixels" for side in SIDES], "all"],
        [
            [name, f"{n['parameters']:,}", f"{n['macs']:,}", *[lab.text(n["accuracy"][key], unit=" %") for key in keys]]
            for name, n in nets.items()
        ],
    )
    figure = page.picture("A test scene of each scale, and the accuracy by scale; bars: standard deviation of the seeds", 9, 2.6)
    *scenes, axis = figure.subplots(1, 1 + len(SIDES), width_ratios=[1] * len(SIDES) + [2.2])
    for one, scene, side in zip(scenes, results["examples"], SIDES, strict=True):
        one.imshow(scene, cmap="gray", vmin=0, vmax=255)
        one.set_title(f"{side} pixels", fontsize=9)
        one.set_axis_off()
    for (name, n), color in zip(nets.items(), ("#1f5f8b", "#c1440e"), strict=True):
        values = [n["accuracy"][str(side)] for side in SIDES]
        axis.errorbar(SIDES, [np.mean(v) for v in values], [lab.spread(v) for v in values], label=name, color=color, capsize=2)
    axis.set(xticks=SIDES, xlabel="side of the digit, pixels", ylabel="accuracy, %")
    axis.legend(fontsize=8)
    plain, inception = (n["accuracy"] for n in nets.values())
    small, large = (str(side) for side in (SIDES[0], SIDES[-1]))
    page.verdict(f"Small objects are harder for 3×3 only: {large} pixels against {small}", plain[large], plain[small], unit=" %")
    for key in keys:
        at = "all scales together" if key == "all" else f"{key} pixels"
        page.verdict(f"Inception is more accurate at {at}", inception[key], plain[key], unit=" %")
    page.verdict(
        "Inception's accuracy differs less from scale to scale (best minus worst)",
        *([max(one) - min(one) for one in zip(*(net[str(s)] for s in SIDES), strict=True)] for net in (plain, inception)),
        unit=" points",
    )


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
