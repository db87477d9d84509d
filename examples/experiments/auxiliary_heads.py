"""Do auxiliary heads help a deep plain net to learn?

> Deep networks has the issue of vanishing gradients. Auxiliary classification outputs to inject additional gradient at lower
> layers.

GoogLeNet (Szegedy et al. 2014, arxiv.org/abs/1409.4842, section 5) has two classifiers on the way, whose losses count 0.3 and
which are dropped after training. Plain nets of 6 to 16 convolutions without batch norm, started as GoogLeNet was (Xavier),
learn the digits with and without two such heads, at one and two thirds of their depth.
"""

import lab
import numpy as np

from pycnn import nn, ops

DEPTHS, CHANNELS = (6, 9, 12, 16), 8


class Net(nn.Module):
    """x: (N, 1, 16, 16) -> logits (N, 10), with heads while training a tuple of three."""

    def __init__(self, depth, heads):
        self.convs = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1),
            *[nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(depth - 1)],
        )
        for conv in self.convs:
            nn.init.xavier_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
        self.classifier = nn.Linear(16 * CHANNELS, 10)
        self.heads = nn.Sequential(*[nn.Linear(16 * CHANNELS, 10) for _ in range(2 if heads else 0)])
        self.places = (depth // 3, 2 * depth // 3)

    def forward(self, x):
        features = []
        for conv in self.convs:
            x = ops.relu(conv(x))
            features.append(ops.flatten(ops.avg_pool2d(x, 2), 1))
        auxiliary = [head(features[place]) for head, place in zip(self.heads, self.places, strict=False)] if self.training else []
        logits = self.classifier(features[-1])
        return (logits, *auxiliary) if auxiliary else logits


def run(quick):
    images, test = lab.load("digits", train=128 if quick else None, test=64 if quick else None, half=True)
    results = {}
    for depth in DEPTHS:
        for heads in (False, True):

            def measure(seed, depth=depth, heads=heads):
                model = Net(depth, heads)
                losses = lab.train(model, images, 3 if quick else 300, 0.05, seed=seed, batch_size=32)
                print(depth, heads, seed, losses[-1], flush=True)
                return {"losses": losses, "train": lab.accuracy(model, images), "test": lab.accuracy(model, test)}

            results[f"{depth}{' with heads' if heads else ''}"] = lab.each_seed(measure, quick)
    return results


def report(results, page):
    def values(net, what):
        return [found[what] for found in results[net]]

    page.table(
        ["convolutions", "training digits right, %", "seeds that learned (at least 90 %)", "test digits right, %"],
        [
            [
                net,
                lab.text(values(net, "train")),
                sum(right >= 90 for right in values(net, "train")),
                lab.text(values(net, "test")),
            ]
            for net in results
            if net[0].isdigit()
        ],
    )
    figure = page.picture("Loss of the last classifier, mean of the seeds (20 steps averaged)", width=10.0)
    for axes, depth in zip(figure.subplots(1, len(DEPTHS), sharey=True), DEPTHS, strict=True):
        for words in ("", " with heads"):
            losses = np.mean(values(f"{depth}{words}", "losses"), 0)
            axes.plot(np.convolve(losses, np.ones(20) / 20, "valid"), label=words.strip() or "without heads")
        axes.set(xlabel="step", yscale="log", title=f"{depth} convolutions")
    axes.legend(frameon=False)
    figure.axes[0].set(ylabel="training loss")
    for depth in DEPTHS:
        page.verdict(f"With heads, the net of {depth} gets more training digits right", values(f"{depth} with heads", "train"),
                     values(f"{depth}", "train"), unit=" %")  # fmt: skip
        page.verdict(f"With heads, the net of {depth} gets more test digits right", values(f"{depth} with heads", "test"),
                     values(f"{depth}", "test"), unit=" %")  # fmt: skip


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
