"""Naive inception against 1×1 bottlenecks.

The lecture on GoogLeNet: in the naive inception module "the channel dimension grows with depth of the network. Very expensive to
compute. Path [3x3] has 3×3×192×256 = 442368 parameters", and with 1×1 convolutions in front "path [3x3] now has
1×1×64×256 + 3×3×192×64 = 126,976 parameters": "bottleneck modules [1x1] reduce computational cost and output shape".

Both modules on maps of 28×28×256. The lecture's text gives the sizes of path [3x3] alone; those of the other paths are chosen
here: 128 filters of 1×1, 96 of 5×5 behind 64 of 1×1, the 3×3 maximum in front of 64 of 1×1. All counts are read from the layers
by pycnn.summary; biases, which the lecture leaves out, are not in them.
"""

import time

import lab
import numpy as np

import pycnn
from pycnn import nn, ops

CHANNELS, SIZE = 256, 28
LECTURE = {"naive": 442_368, "bottlenecks": 126_976}  # parameters of the path [3x3]


def conv(channels, maps, kernel_size):
    return nn.Conv2d(channels, maps, kernel_size, padding=kernel_size // 2, bias=False)


class Naive(nn.Module):
    """x: (N, channels, H, W) -> (N, 128 + 192 + 96 + channels, H, W): never fewer maps than before."""

    def __init__(self, channels):
        self.path1x1 = conv(channels, 128, 1)
        self.path3x3 = conv(channels, 192, 3)
        self.path5x5 = conv(channels, 96, 5)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x):
        return ops.relu(ops.concat([self.path1x1(x), self.path3x3(x), self.path5x5(x), self.pool(x)], 1))


class Bottlenecks(nn.Module):
    """x: (N, channels, H, W) -> (N, 128 + 192 + 96 + 64, H, W), however many channels there were."""

    def __init__(self, channels):
        self.path1x1 = conv(channels, 128, 1)
        self.path3x3 = nn.Sequential(conv(channels, 64, 1), nn.ReLU(), conv(64, 192, 3))
        self.path5x5 = nn.Sequential(conv(channels, 64, 1), nn.ReLU(), conv(64, 96, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(channels, 64, 1))

    def forward(self, x):
        return ops.relu(ops.concat([self.path1x1(x), self.path3x3(x), self.path5x5(x), self.pool(x)], 1))


MODULES = {"naive": Naive, "bottlenecks": Bottlenecks}


def milliseconds(module, repeats):
    """Milliseconds of each of `repeats` forward passes of one image, after one to warm up."""
    x = pycnn.Tensor(np.random.default_rng(0).normal(size=(1, CHANNELS, SIZE, SIZE)).astype(np.float32), layout="image")
    taken = []
    with pycnn.no_grad():
        for _ in range(1 + repeats):
            start = time.perf_counter()
            module(x)
            taken.append(1000 * (time.perf_counter() - start))
    return taken[1:]


def run(quick):
    found = {}
    for name, module in MODULES.items():
        counted = pycnn.summary(module(CHANNELS), (CHANNELS, SIZE, SIZE))
        stacked = pycnn.summary(nn.Sequential(module(CHANNELS), module(counted.rows[0].output_shape[1])), (CHANNELS, SIZE, SIZE))
        path = [row for row in counted.rows if row.path.startswith("path3x3") and row.parameters and not row.container]
        found[name] = {
            "path": sum(row.parameters for row in path),
            "path_formula": " + ".join(row.parameters_formula for row in path),
            "parameters": counted.parameters,
            "macs": counted.macs,
            "depths": [CHANNELS, counted.rows[0].output_shape[1], stacked.rows[0].output_shape[1]],
            "macs_of_two": stacked.macs,
        }
    modules = {name: module(CHANNELS) for name, module in MODULES.items()}
    measured = lab.each_seed(lambda seed: {name: milliseconds(m, 2 if quick else 30) for name, m in modules.items()}, quick)
    for name in MODULES:
        found[name]["ms"] = [float(np.median(one[name])) for one in measured]
    return found


def report(results, page):
    naive, bottlenecks = (results[name] for name in MODULES)
    depths = {name: " → ".join(map(str, results[name]["depths"])) for name in MODULES}
    head = [
        "module",
        "path [3x3]",
        "the lecture's",
        "parameters",
        "multiply-adds",
        "time of one image",
        "depth, one and two modules",
    ]
    rows = []
    for name, m in (("naive", naive), ("bottlenecks", bottlenecks)):
        counts = [f"{count:,}" for count in (m["path"], LECTURE[name], m["parameters"], m["macs"])]
        rows.append([name, *counts, lab.text(m["ms"], unit=" ms"), depths[name]])
    page.table(head, rows)
    more = [(m["macs_of_two"] - m["macs"]) / 1e6 for m in (naive, bottlenecks)]
    page.say(
        f"Parameters of path [3x3], as filters·channels·height·width: {naive['path_formula']}, and with the bottleneck "
        f"{bottlenecks['path_formula']}. A second module behind the first takes {more[0]:,.0f} million multiply-adds if both are "
        f"naive, {more[1]:,.0f} million with bottlenecks. A time is the median of 30 passes, measured once for each seed."
    )
    figure = page.picture("One module on maps of 28×28×256, relative to the naive one", 6, 2.6)
    axis = figure.subplots()
    costs = {"path [3x3]": "path", "parameters": "parameters", "multiply-adds": "macs", "time": "ms"}
    shares = [100 * np.mean(bottlenecks[key]) / np.mean(naive[key]) for key in costs.values()]
    shares.append(100 * bottlenecks["depths"][1] / naive["depths"][1])
    bars = axis.barh([*costs, "output depth"], shares, color="#c1440e")
    axis.bar_label(bars, [f" {share:.0f} %" for share in shares])
    axis.axvline(100, color="black", linewidth=1)
    axis.set(xlim=(0, 110), xlabel="bottlenecks / naive, %")
    axis.invert_yaxis()
    for name, module in (("naive", naive), ("bottlenecks", bottlenecks)):
        equal = module["path"] == LECTURE[name]
        page.fact(f"Parameters of path [3x3], {name}, are the lecture's", equal, f"{module['path']:,} against {LECTURE[name]:,}")
    first, second, third = naive["depths"]
    page.fact("The depth grows with every naive module", first < second < third, depths["naive"])
    _, second, third = bottlenecks["depths"]
    page.fact("With bottlenecks it does not grow from module to module", second == third, depths["bottlenecks"])
    page.fact(
        "Bottlenecks are cheaper to compute",
        bottlenecks["macs"] < naive["macs"],
        f"{bottlenecks['macs'] / 1e6:,.0f} against {naive['macs'] / 1e6:,.0f} million multiply-adds",
    )
    page.verdict("Bottlenecks take less time", naive["ms"], bottlenecks["ms"], unit=" ms")


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
