"""Features that generalise: a frozen backbone with a new head.

The lecture on VGG: "FC7 features generalize well to other tasks."

A net learns the digits 0 to 4. Its features are then frozen, and a new linear head on them learns the digits 5 to 9 from 1 to 20
images of each. Beside it, with the same images and as many steps: the same net with all of its weights learning on (fine-tuning),
and the same net from fresh weights. The digits lie anywhere in images of 24×24 pixels, as in the middle, where a pixel means the
same in every image, even random features tell them apart.
"""

from dataclasses import replace

import lab
import numpy as np

from pycnn import nn

PER_CLASS = (1, 2, 5, 20)


def block(channels, maps):
    """3×3 convolution, batch normalization, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU())


class Net(nn.Module):
    """x: (N, 1, 24, 24) -> logits (N, 5)."""

    frozen = False

    def __init__(self):
        self.features = nn.Sequential(
            block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 64), nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),  # N,64
        )  # fmt: skip
        self.head = nn.Linear(64, 5)

    def forward(self, x):
        return self.head(self.features(x))

    def freeze(self):
        """Let only the head learn."""
        self.frozen = True
        for parameter in self.features.parameters():
            parameter.requires_grad = False
        return self

    def train(self, mode=True):
        """Frozen batch normalization keeps its statistics."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self


def digits(dataset, first):
    """The images of the digits first … first + 4, labels 0 … 4."""
    part = dataset.subset(np.flatnonzero((dataset.labels >= first) & (dataset.labels < first + 5)))
    return replace(part, labels=part.labels - first, classes=part.classes[first : first + 5])


def few(dataset, per_class, seed):
    """`per_class` images of each class."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.subset(np.concatenate([order[dataset.labels[order] == c][:per_class] for c in range(5)]))


def with_features_of(net):
    """A net with that net's features and a fresh head."""
    new = Net()
    new.features.load_state_dict(net.features.state_dict())
    return new


def run(quick):
    data, test = (lab.placed(part, 24, most=4) for part in lab.load("digits", half=True))
    if quick:
        data, test = data.subset(np.s_[:400]), test.subset(np.s_[:100])
    steps, later = (4, 4) if quick else (200, 100)
    known, new, new_test = digits(data, 0), digits(data, 5), digits(test, 5)
    per_class = PER_CLASS[:2] if quick else PER_CLASS

    def measure(seed):
        backbone = Net()
        lab.train(backbone, known, steps, lr=0.05, seed=seed)
        found = {"0 to 4": lab.accuracy(backbone, digits(test, 0))}
        for n in per_class:
            images = few(new, n, seed)
            nets = {
                "frozen, new head": with_features_of(backbone).freeze(),
                "fine-tuned": with_features_of(backbone),
                "from scratch": Net(),
            }
            for name, net in nets.items():
                lab.train(net, images, later, lr=0.05, seed=seed)
                found[f"{name}, {n}"] = lab.accuracy(net, new_test)
        return found

    runs = lab.each_seed(measure, quick)
    net = Net().freeze()
    return {
        "accuracy": {key: [one[key] for one in runs] for key in runs[0]},
        "per_class": per_class, "images": [len(known), len(new_test)], "steps": [steps, later],
        "parameters": [sum(p.size for p in net.parameters() if p.requires_grad), sum(p.size for p in net.parameters())],
    }  # fmt: skip


def report(results, page):
    accuracy, per_class = results["accuracy"], results["per_class"]
    learning, parameters = results["parameters"]
    page.say(
        f"{results['images'][0]} digits 0 to 4, 24×24 pixels, {results['steps'][0]} steps: "
        f"{lab.text(accuracy['0 to 4'], unit=' %')} of the test digits 0 to 4. Then {results['steps'][1]} steps on the digits 5 "
        f"to 9; with frozen features {learning:,} of {parameters:,} parameters learn. Accuracy on {results['images'][1]} test "
        "digits 5 to 9 by images of each class:"
    )
    ways = ("frozen, new head", "fine-tuned", "from scratch")
    rows = [[way, *[lab.text(accuracy[f"{way}, {n}"], unit=" %") for n in per_class]] for way in ways]
    page.table(["way", *per_class], rows)
    figure = page.picture("Accuracy on the digits 5 to 9 by images of each class; bars: standard deviation of the seeds", 6)
    axis = figure.subplots()
    for way, color in zip(ways, ("#c1440e", "#1f5f8b", "#777777"), strict=True):
        values = [accuracy[f"{way}, {n}"] for n in per_class]
        means, spreads = [np.mean(v) for v in values], [lab.spread(v) for v in values]
        axis.errorbar(per_class, means, spreads, label=way, color=color, capsize=2)
    axis.set(xscale="log", xlabel="images of each class", ylabel="accuracy, %")
    axis.set_xticks(per_class, per_class)
    axis.minorticks_off()
    axis.legend()
    for n in per_class:
        page.verdict(
            f"{n} of each class: frozen features are better than fresh weights",
            accuracy[f"frozen, new head, {n}"], accuracy[f"from scratch, {n}"], unit=" %",
        )  # fmt: skip
    for n in per_class:
        page.verdict(
            f"{n} of each class: fine-tuning is better than frozen features",
            accuracy[f"fine-tuned, {n}"], accuracy[f"frozen, new head, {n}"], unit=" %",
        )  # fmt: skip


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
