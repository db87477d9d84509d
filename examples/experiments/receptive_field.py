"""One 7×7 convolution against three of 3×3.

The lecture on VGG: "Stack of three 3x3 convolution (stride 1) layers has same effective receptive field as one 7x7 convolution
layer. Deeper structure allows more non-linearities." With C maps in and out the one has 49·C² weights, the three have 27·C².

Two questions: which pixels of the input reach the output in the middle, read from its gradient, and which net is better after the
same training, with as many maps and with as many weights. The task is digit-scenes in grey, 32×32 pixels: which is the largest
digit? The digits alone are too easy to tell nets apart.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn, ops

MAPS = 24
WIDER = 32  # 27·32² weights are 98 % of 49·24²
STEPS = 300


def block(channels, maps, kernel_size, stride=1):
    """Convolution, batch normalization, ReLU."""
    conv = nn.Conv2d(channels, maps, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(maps), nn.ReLU())


def one_7x7(maps):
    return nn.Sequential(block(maps, maps, 7))


def three_3x3(maps):
    return nn.Sequential(*[block(maps, maps, 3) for _ in range(3)])


class Net(nn.Module):
    """x: (N, 1, 32, 32) -> logits (N, 10), by two of the stacks that are compared."""

    def __init__(self, stack, maps):
        self.stem = block(1, maps, 3, stride=2)
        self.stack1 = stack(maps)  # N,maps,16,16
        self.stack2 = stack(maps)  # N,maps,8,8
        self.classifier = nn.Linear(maps, 10)

    def forward(self, x):
        x = self.stack1(self.stem(x))
        x = self.stack2(ops.max_pool2d(x, 2))
        return self.classifier(x.mean((2, 3)))


NETS = {
    f"one 7×7, {MAPS} maps": (one_7x7, MAPS),
    f"three 3×3, {MAPS} maps": (three_3x3, MAPS),
    f"three 3×3, {WIDER} maps": (three_3x3, WIDER),
}


def field(stack, size=15, maps=8):
    """|gradient| of the output in the middle with respect to each pixel of the input, (size, size), summed over the maps."""
    pycnn.manual_seed(0)
    x = pycnn.Tensor(np.random.default_rng(0).normal(size=(1, maps, size, size)).astype(np.float32), requires_grad=True)
    middle = size // 2
    stack(maps).eval()(x)[:, :, middle, middle].sum().backward()
    return np.abs(x.grad.numpy()).sum((0, 1))


def extent(gradient):
    """(height, width) of the pixels whose gradient is not 0."""
    return [int(np.ptp(np.flatnonzero(gradient.any(axis)))) + 1 for axis in (1, 0)]


def run(quick):
    data, test = lab.load("digit-scenes", half=True, channels=1, n=(256, 100) if quick else (2000, 1000))
    steps = 4 if quick else STEPS
    fields = {name: field(stack) for name, stack in (("one 7×7", one_7x7), ("three 3×3", three_3x3))}
    nets = {}
    for name, (stack, maps) in NETS.items():
        counted = pycnn.summary(Net(stack, maps), (1, 32, 32))
        weights = sum(p.size for p in stack(maps).parameters() if p.ndim == 4)

        def measure(seed, stack=stack, maps=maps):
            net = Net(stack, maps)
            losses = lab.train(net, data, steps, lr=0.05, seed=seed)
            return {"loss": float(np.mean(losses[-20:])), "accuracy": lab.accuracy(net, test)}

        found = lab.each_seed(measure, quick)
        nets[name] = {"weights": weights, "parameters": counted.parameters, "macs": counted.macs} | {
            key: [one[key] for one in found] for key in ("loss", "accuracy")
        }
    return {
        "fields": {name: gradient.tolist() for name, gradient in fields.items()},
        "extents": {name: extent(gradient) for name, gradient in fields.items()},
        "nets": nets,
        "steps": steps,
        "images": [len(data), len(test)],
    }


def report(results, page):
    nets, (trained, tested) = results["nets"], results["images"]
    page.say("The pixels that move the output in the middle, fresh weights, 15×15 pixels of input:")
    figure = page.picture("How much each pixel of the input moves the output in the middle (brighter: more)", 6, 3.2)
    axes = figure.subplots(1, len(results["fields"]))
    for axis, (name, gradient) in zip(axes, results["fields"].items(), strict=True):
        axis.imshow(np.array(gradient) / np.max(gradient), cmap="magma")
        axis.set_title(f"{name}: {'×'.join(map(str, results['extents'][name]))} pixels", fontsize=10)
        axis.set_axis_off()
    page.say(
        f"A net of two such stacks, {trained:,} scenes for training, {tested:,} for testing, {results['steps']} steps of 64:"
    )
    page.table(
        ["stack", "weights of a stack", "parameters", "multiply-adds", "training loss", "test accuracy"],
        [
            [
                name, f"{n['weights']:,}", f"{n['parameters']:,}", f"{n['macs']:,}",
                lab.text(n["loss"], 2), lab.text(n["accuracy"], unit=" %"),
            ]
            for name, n in nets.items()
        ],
    )  # fmt: skip
    one, three, wider = (nets[name] for name in NETS)
    ratio = three["weights"] / one["weights"]
    extents = ", ".join(f"{name}: {height}×{width}" for name, (height, width) in results["extents"].items())
    page.fact("Both see the same pixels", len({tuple(e) for e in results["extents"].values()}) == 1, extents)
    page.fact(
        "Three 3×3 have 27/49 of the weights",
        27 * one["weights"] == 49 * three["weights"],
        f"{three['weights']:,} = 27·{MAPS}² against {one['weights']:,} = 49·{MAPS}², {100 * ratio:.1f} %",
    )
    page.verdict("Three 3×3 are more accurate with as many maps", three["accuracy"], one["accuracy"], unit=" %")
    page.verdict("Three 3×3 are more accurate with as many weights", wider["accuracy"], one["accuracy"], unit=" %")
    page.verdict("Three 3×3 fit the training images better with as many maps", one["loss"], three["loss"], digits=2)


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
