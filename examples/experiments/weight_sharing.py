"""Convolution against locally connected and dense layers.

The lecture: "Feature extraction usually happens locally: sparse connectivity. In feature extraction the same operation is applied
at different locations: parameter sharing."

A dense layer gives every output a weight for every input. A locally connected layer keeps those within a window (sparse
connectivity), a convolution also takes the same weights everywhere (parameter sharing). First the parameters of AlexNet's first
layer done in each of the three ways, 11×11 filters with stride 4 from 227×227×3 to 55×55×96; then three small nets that differ in
their first layer only, trained on few and on all digits, which lie in the middle of images of 24×24 pixels or anywhere in them,
and a fourth that has some of the saved parameters for more maps.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn, ops

LECTURE = 11 * 11 * 3 * 96 + 96  # "Parameters 11×11×3×96 + 96"
SIZE, WINDOW, MAPS, MORE = 24, 5, 8, 32
OUT = SIZE // 2  # stride 2
IMAGES = (200, 1437)
PLACES = {"in the middle": 0, "anywhere": 4}  # pixels that a digit lies off the middle at most


class Local(nn.Module):
    """A convolution, stride 2, whose weights are others at every pixel.  x: (N, 1, 24, 24) -> (N, 8, 12, 12).

    A convolution with fixed filters, each a single 1, lays the 25 pixels of every window out as channels; 1×1 filters in 144
    groups, one for each pixel of the output, then weigh them.
    """

    def __init__(self):
        one_pixel_each = np.eye(WINDOW**2, dtype=np.float32).reshape(-1, 1, WINDOW, WINDOW)
        self.pick = pycnn.Tensor(one_pixel_each, layout="image")
        self.weigh = nn.Conv2d(OUT * OUT * WINDOW**2, OUT * OUT * MAPS, 1, groups=OUT * OUT)

    def forward(self, x):
        windows = ops.conv2d(x, self.pick, stride=2, padding=WINDOW // 2)  # N,25,12,12
        windows = windows.permute(0, 2, 3, 1).reshape(len(x), -1, 1, 1)  # N,144·25,1,1
        return self.weigh(windows).reshape(len(x), OUT, OUT, MAPS).permute(0, 3, 1, 2)


class Dense(nn.Module):
    """x: (N, 1, 24, 24) -> (N, 8, 12, 12)."""

    def __init__(self):
        self.linear = nn.Linear(SIZE * SIZE, OUT * OUT * MAPS)

    def forward(self, x):
        return self.linear(ops.flatten(x, 1)).reshape(len(x), MAPS, OUT, OUT)


LAYERS = {
    "convolution": lambda: nn.Conv2d(1, MAPS, WINDOW, stride=2, padding=WINDOW // 2),
    "locally connected": Local,
    "dense": Dense,
    f"convolution, {MORE} maps": lambda: nn.Conv2d(1, MORE, WINDOW, stride=2, padding=WINDOW // 2),
}


def net(name):
    """x: (N, 1, 24, 24) -> logits (N, 10)."""
    maps = MORE if str(MORE) in name else MAPS
    return nn.Sequential(LAYERS[name](), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(maps * OUT * OUT // 4, 10))


def counts(height, width, channels, window, stride, padding, maps):
    """Parameters with biases of the three layers of one input, output and window."""
    P, Q = ((extent - window + 2 * padding) // stride + 1 for extent in (height, width))
    filter = window * window * channels + 1
    return {
        "convolution": maps * filter,
        "locally connected": P * Q * maps * filter,
        "dense": P * Q * maps * (height * width * channels + 1),
    }


def run(quick):
    parts = lab.load("digits", half=True)
    data = {place: [lab.placed(part, SIZE, most) for part in parts] for place, most in PLACES.items()}
    images, steps = ((64, 128), 4) if quick else (IMAGES, 300)
    small = counts(SIZE, SIZE, 1, WINDOW, 2, WINDOW // 2, MAPS)
    nets = {}
    for name, layer in LAYERS.items():
        built = sum(p.size for p in layer().parameters())
        assert built == small.get(name, built), f"{name}: {built} parameters instead of {small[name]}"

        def measure(seed, name=name):
            found = {}
            for place, (train, test) in data.items():
                for n in images:
                    model = net(name)
                    chosen = train.subset(np.random.default_rng(seed).permutation(len(train))[:n])
                    lab.train(model, chosen, steps, lr=0.02, seed=seed)
                    found[f"{place}, {n}"] = lab.accuracy(model, test)
            return found

        runs = lab.each_seed(measure, quick)
        nets[name] = {
            "parameters": built,
            "of_net": sum(p.size for p in net(name).parameters()),
            "accuracy": {key: [one[key] for one in runs] for key in runs[0]},
        }
    alexnet = pycnn.summary("alexnet_paper").row("conv1").parameters
    return {
        "alexnet": counts(227, 227, 3, 11, 4, 0, 96), "conv1": alexnet, "nets": nets, "images": images, "tested": len(parts[1]),
        "steps": steps,
    }  # fmt: skip


def report(results, page):
    alexnet, nets, images = results["alexnet"], results["nets"], results["images"]
    keys = [f"{place}, {n}" for place in PLACES for n in images]
    page.table(
        ["AlexNet's first layer", "parameters", "times the convolution's"],
        [[name, f"{n:,}", f"{n / alexnet['convolution']:,.0f}"] for name, n in alexnet.items()],
    )
    page.say(
        f"The small nets: {WINDOW}×{WINDOW} windows, stride 2, {MAPS} maps of {OUT}×{OUT} of images of {SIZE}×{SIZE} pixels, "
        f"ReLU, 2×2 maximum, a dense layer. Accuracy on {results['tested']} test digits by place and number of training images, "
        f"{results['steps']} steps of 64 images:"
    )
    rows = []
    for name, n in nets.items():
        accuracies = [lab.text(n["accuracy"][k], unit=" %") for k in keys]
        rows.append([name, f"{n['parameters']:,}", f"{n['of_net']:,}", *accuracies])
    page.table(["first layer", "its parameters", "the net's", *keys], rows)
    figure = page.picture(
        "Accuracy by place of the digits and number of training images; bars: standard deviation of the seeds", 7
    )
    axis = figure.subplots()
    for i, ((name, n), color) in enumerate(zip(nets.items(), ("#c1440e", "#1f5f8b", "#999999", "#e8a33d"), strict=True)):
        values = [n["accuracy"][k] for k in keys]
        means, spreads = [np.mean(v) for v in values], [lab.spread(v) for v in values]
        axis.bar(np.arange(len(keys)) + 0.2 * (i - 1.5), means, 0.19, yerr=spreads, label=name, color=color)
    axis.set_xticks(range(len(keys)), keys)
    axis.set(ylim=(0, 119), ylabel="accuracy, %")
    axis.legend(ncols=4, fontsize=8, loc="upper center")
    page.fact(
        "AlexNet's first layer has the lecture's parameters", results["conv1"] == alexnet["convolution"] == LECTURE,
        f"{results['conv1']:,} counted in the net, {LECTURE:,} = 11·11·3·96 + 96 in the lecture",
    )  # fmt: skip
    page.fact(
        "Sparse connectivity and parameter sharing each save parameters",
        alexnet["convolution"] < alexnet["locally connected"] < alexnet["dense"],
        " < ".join(f"{n:,}" for n in alexnet.values()),
    )
    convolution, local, dense, more = (n["accuracy"] for n in nets.values())
    for k in keys:
        page.verdict(
            f"Digits {k} images: parameter sharing helps, convolution against local", convolution[k], local[k], unit=" %"
        )
        page.verdict(f"Digits {k} images: sparse connectivity helps, local against dense", local[k], dense[k], unit=" %")
        page.verdict(f"Digits {k} images: both together help, convolution against dense", convolution[k], dense[k], unit=" %")
        page.verdict(f"Digits {k} images: with {MORE} maps they help, against dense", more[k], dense[k], unit=" %")


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
