"""Shifting the input: how much maximum pooling forgives.

The lecture: "Pooling help reduce redundant information and provide some level of invariance to translations."

Two nets of the same convolutions: one halves its maps by maximum pooling, the other by a stride of 2 in the convolution, with as
many parameters and a quarter of the multiply-adds. They learn digits where they are, without augmentation, and are tested on
digits moved by 0 to 4 pixels; then the same with training images moved at random, by up to 4 pixels. The features that are
compared are those that enter the last layer. The digits, 14×14 pixels, have margins of 5 in images of 24×24, so that nothing of
them leaves the image.
"""

from dataclasses import replace

import lab
import numpy as np

import pycnn
from pycnn import nn, ops
from pycnn.data import DataLoader
from pycnn.data.transforms import RandomShift

SHIFTS = (0, 1, 2, 3, 4)
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


class Net(nn.Module):
    """Three convolutions, each followed by a halving.  x: (N, 1, 24, 24) -> logits (N, 10).

    pooling: halve by the maximum of 2×2 pixels; else by the convolution's stride.
    """

    def __init__(self, pooling):
        self.pooling = pooling
        widths = (1, 8, 16, 32)
        for i, (channels, maps) in enumerate(zip(widths, widths[1:], strict=False)):
            setattr(self, f"conv{i}", nn.Conv2d(channels, maps, 3, stride=1 if pooling else 2, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(maps))
        self.classifier = nn.Linear(32 * 3 * 3, 10)

    def features(self, x):
        """(N, 288): 32 maps of 3×3 pixels."""
        for conv, bn in ((self.conv0, self.bn0), (self.conv1, self.bn1), (self.conv2, self.bn2)):
            x = ops.relu(bn(conv(x)))
            if self.pooling:
                x = ops.max_pool2d(x, 2)
        return ops.flatten(x, 1)

    def forward(self, x):
        return self.classifier(self.features(x))


NETS = {"maximum pooling": True, "stride 2": False}
TRAINING = {"as they are": None, "moved at random": RandomShift(4)}


def shifted(dataset, dy=0, dx=0):
    """Every image of 16×16 pixels in the middle of one of 24×24, moved down by `dy` and right by `dx`."""
    margins = (4 + dy, 4 - dy), (4 + dx, 4 - dx)
    return replace(dataset, images=np.pad(dataset.images, ((0, 0), (0, 0), *margins)))


def features(model, dataset):
    model.eval()
    with pycnn.no_grad():
        return np.concatenate([model.features(images).numpy() for images, _ in DataLoader(dataset, 256)])


def run(quick):
    data, test = lab.load("digits", *((256, 100) if quick else (None, None)), half=True)
    data = shifted(data)
    tests = {s: [shifted(test, s * dy, s * dx) for dy, dx in (DIRECTIONS if s else DIRECTIONS[:1])] for s in SHIFTS}
    found = {}
    for training, transform in TRAINING.items():
        for name, pooling in NETS.items():

            def measure(seed, pooling=pooling, transform=transform):
                net = Net(pooling)
                lab.train(net, data, 4 if quick else 250, lr=0.05, seed=seed, transform=transform)
                still = features(net, tests[0][0])
                change = {
                    s: np.mean([np.linalg.norm(features(net, moved) - still) / np.linalg.norm(still) for moved in tests[s]])
                    for s in SHIFTS
                }
                right = {s: np.mean([lab.accuracy(net, moved) for moved in tests[s]]) for s in SHIFTS}
                return {"accuracy": right, "change": change}

            runs = lab.each_seed(measure, quick)
            found[f"{name}, training images {training}"] = {
                key: {str(s): [float(one[key][s]) for one in runs] for s in SHIFTS} for key in ("accuracy", "change")
            }
    return {"nets": found, "images": [len(data), len(test)], "steps": 4 if quick else 250}


def report(results, page):
    nets, (trained, tested) = results["nets"], results["images"]
    page.say(
        f"{trained:,} digits for training, {results['steps']} steps of 64; {tested} for testing, moved up, down, left and right, "
        "of which the mean is taken. Accuracy by pixels of shift:"
    )
    head = ["net", *[f"{s} px" for s in SHIFTS]]
    page.table(head, [[name, *[lab.text(n["accuracy"][str(s)], unit=" %") for s in SHIFTS]] for name, n in nets.items()])
    page.say("Change of the features that enter the last layer, |f(moved) - f(not moved)| / |f(not moved)|:")
    page.table(head, [[name, *[lab.text(n["change"][str(s)], 2) for s in SHIFTS]] for name, n in nets.items()])
    figure = page.picture(
        "Accuracy and change of the features when the test images move; bars: standard deviation of the seeds", 9
    )
    axes = figure.subplots(1, 2)
    for axis, key in zip(axes, ("accuracy", "change"), strict=True):
        for name, n in nets.items():
            values = [n[key][str(s)] for s in SHIFTS]
            means, spreads = [np.mean(v) for v in values], [lab.spread(v) for v in values]
            color, line = "#c1440e" if name.startswith("max") else "#1f5f8b", "--" if "random" in name else "-"
            axis.errorbar(SHIFTS, means, spreads, label=name, capsize=2, color=color, linestyle=line)
        axis.set(xlabel="shift, pixels", ylabel="accuracy, %" if key == "accuracy" else "change of the features", xticks=SHIFTS)
    axes[1].legend(fontsize=7, loc="lower right")
    pool, stride, pool_moved, stride_moved = nets.values()
    for s in ("1", "2", "4"):
        page.verdict(
            f"Moved by {s}: the features of the net with pooling change less", stride["change"][s], pool["change"][s], digits=2
        )
    for s in ("1", "2", "4"):
        page.verdict(
            f"Moved by {s}: the net with pooling is more accurate", pool["accuracy"][s], stride["accuracy"][s], unit=" %"
        )
    page.verdict("Pooling is not enough: moved by 4, its accuracy falls", pool["accuracy"]["0"], pool["accuracy"]["4"], unit=" %")
    for name, still, moved in (("pooling", pool, pool_moved), ("strides", stride, stride_moved)):
        page.verdict(
            f"Moved by 4: training images moved at random help the net with {name}",
            moved["accuracy"]["4"], still["accuracy"]["4"], unit=" %",
        )  # fmt: skip


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
