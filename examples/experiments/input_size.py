"""Global average pooling takes another size of input, AlexNet refuses it.

The lecture: "What happens if we change the input tensor height & width to conv layer? Can we change the input to AlexNet? No,
This will change the dimensions of the input tensor to FC layers", and global average pooling "Allows different input shapes at
train and test times"; "No FC at the end (use GAP instead) which will reduce the number of parameters significantly".

First AlexNet and GoogLeNet as in their papers, on images of several sizes. Then a small net with either head:
trained on images of 16×16 pixels, tested on 16×16, 24×24 and 32×32, for which the same digits get margins or are enlarged;
and the net with global average pooling once more, each training step seeing its images at another of these sizes.
"""

from dataclasses import replace
from itertools import cycle

import lab
import numpy as np

import pycnn
from pycnn import models, nn, ops
from pycnn.data.transforms import Resize

NETS = ("alexnet_paper", "googlenet_paper")
SIZES = (195, 224, 227, 256, 320)
TRAINED, TESTED = 16, (16, 24, 32)


def answer(model, size, channels=3):
    """What a model gives for one image of size×size: the shape of the logits, or the error's message."""
    with pycnn.no_grad():
        try:
            return str(model.eval()(pycnn.Tensor(np.zeros((1, channels, size, size), np.float32))).shape)
        except pycnn.errors.ShapeError as error:
            return f"refused: {error}"


def features():
    """x: (N, 1, H, W) -> (N, 32, H/4, W/4)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
    )  # fmt: skip


class FullyConnected(nn.Module):
    """AlexNet's kind of head: every pixel of the last map has weights of its own.  x: (N, 1, 16, 16) -> logits (N, 10)."""

    def __init__(self):
        self.features = features()
        self.head = nn.Sequential(nn.Linear(32 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, x):
        return self.head(ops.flatten(self.features(x), 1))


class GlobalAverage(nn.Module):
    """GoogLeNet's kind of head: each map becomes its mean.  x: (N, 1, H, W) -> logits (N, 10)."""

    def __init__(self):
        self.features = features()
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class SeveralSizes(GlobalAverage):
    """The same, but while it trains each batch comes in another size."""

    def __init__(self):
        super().__init__()
        self.sizes = cycle(TESTED)

    def forward(self, x):
        if self.training:
            size = next(self.sizes)
            x = ops.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        return super().forward(x)


HEADS = {
    "fully connected": FullyConnected,
    "global average pooling": GlobalAverage,
    "global average pooling, trained on several sizes": SeveralSizes,
}


def resized(dataset, size):
    return replace(dataset, images=np.stack([Resize(size)(image) for image in dataset.images]))


def run(quick):
    answers = {}
    for name in NETS:
        with nn.init.skip():  # the weights do not matter here
            model = models.create_model(name)
        answers[name] = {str(size): answer(model, size) for size in SIZES}
    data, test = lab.load("digits", *((256, 100) if quick else (None, None)))
    data = resized(data, TRAINED)
    test = resized(test, TRAINED)
    tests = {f"{TRAINED}×{TRAINED}": test}
    for size in TESTED[1:]:
        tests |= {f"{size}×{size}, margins": lab.placed(test, size), f"{size}×{size}, enlarged": resized(test, size)}
    heads = {}
    for name, net in HEADS.items():

        def measure(seed, net=net):
            model = net()
            lab.train(model, data, 4 if quick else 250, lr=0.05, seed=seed)
            found = {}
            for key, images in tests.items():
                given = answer(model, images.images.shape[2], channels=1)
                found[key] = given if given.startswith("refused") else lab.accuracy(model, images)
            return found

        found = lab.each_seed(measure, quick)
        heads[name] = {
            "head": sum(p.size for p in net().head.parameters()),
            "parameters": sum(p.size for p in net().parameters()),
            "tested": {key: [one[key] for one in found] for key in tests},
        }
    papers = {}
    for name in NETS:
        rows = pycnn.summary(name).rows
        papers[name] = {
            "head": sum(row.parameters for row in rows if row.type == "Linear"),
            "parameters": sum(row.parameters for row in rows if not row.container),
        }
    return {"answers": answers, "heads": heads, "papers": papers, "images": [len(data), len(test)], "steps": 4 if quick else 250}


def shown(values):
    return lab.text(values, unit=" %") if isinstance(values[0], float) else "refused"


def report(results, page):
    answers, heads, papers = results["answers"], results["heads"], results["papers"]
    page.table(
        ["image", *answers],
        [[f"{s}×{s}", *["refused" if a[str(s)].startswith("refused") else a[str(s)] for a in answers.values()]] for s in SIZES],
    )
    refused = {size: text for size, text in answers["alexnet_paper"].items() if text.startswith("refused")}
    for size, text in refused.items():
        page.say(f"AlexNet on {size}×{size}:\n\n```\n{text.partition(': ')[2]}\n```")
    page.say(
        "Sizes that leave the last maximum pooling maps of 6×6 pass all the same: strides of 4, 2, 2 and 2 round down. "
        "torchvision's AlexNet (`alexnet`) averages to 6×6 first and so takes any size from 63 on."
    )
    page.table(
        ["net", "parameters of fully connected layers", "of all", "share"],
        [
            [name, f"{n['head']:,}", f"{n['parameters']:,}", f"{100 * n['head'] / n['parameters']:.1f} %"]
            for name, n in {**papers, **{f"small net, {name}": head for name, head in heads.items()}}.items()
        ],
    )
    trained, tested = results["images"]
    page.say(f"The small nets after {results['steps']} steps on {trained:,} digits of 16×16, accuracy on {tested} others:")
    _, gap, several = (head["tested"] for head in heads.values())
    page.table(["head", *gap], [[name, *[shown(h["tested"][key]) for key in gap]] for name, h in heads.items()])
    figure = page.picture("Accuracy with global average pooling by size of the test images; bars: standard deviation", 6.5, 2.8)
    axis = figure.subplots()
    for i, (tested_at, label) in enumerate(((gap, f"trained on {TRAINED}×{TRAINED}"), (several, "trained on several sizes"))):
        means, spreads = [np.mean(v) for v in tested_at.values()], [lab.spread(v) for v in tested_at.values()]
        color = ("#c1440e", "#1f5f8b")[i]
        bars = axis.bar(np.arange(len(gap)) + 0.4 * (i - 0.5), means, 0.38, yerr=spreads, color=color, label=label)
        axis.bar_label(bars, fmt="%.0f", fontsize=8)
    axis.set_xticks(range(len(gap)), [key.replace(", ", "\n") for key in gap])
    axis.legend(fontsize=8, ncols=2, loc="upper center")
    axis.axhline(10, color="black", linewidth=1, linestyle="--")
    axis.set(ylim=(0, 129), ylabel="accuracy, % (dashed: guessing)")
    page.fact("AlexNet refuses another size", bool(refused), f"{', '.join(refused)} of {', '.join(map(str, SIZES))} pixels")
    page.fact(
        "GoogLeNet takes all of them",
        not any(text.startswith("refused") for text in answers["googlenet_paper"].values()),
        ", ".join(map(str, SIZES)),
    )
    alexnet, googlenet = papers.values()
    page.fact(
        "Global average pooling saves most of the parameters of the head",
        googlenet["head"] < alexnet["head"] / 2,
        f"{googlenet['head']:,} in GoogLeNet against {alexnet['head']:,} in AlexNet",
    )
    chance = [10.0] * results["seeds"]
    trained_on, *others = gap
    for key in others:
        page.verdict(f"{key}: it is better than guessing", gap[key], chance, unit=" %")
    for key in others:
        page.verdict(f"{key}: it is worse than on {trained_on}", gap[trained_on], gap[key], unit=" %")
    for key in others:
        page.verdict(f"{key}: training on several sizes helps", several[key], gap[key], unit=" %")


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
