"""Deeper plain nets train worse; residual nets do not.

> Make the network more and more deep to increase performance? … Deeper model performs worse than the shallow model. Maybe
> over-fitting? The training error of deeper model is also worse. Not over-fitting. Hypothesis: training (optimizing) deeper
> models is harder.

He et al. 2015 (arxiv.org/abs/1512.03385), figure 6: plain and residual nets of 20 and 56 layers with batch norm, on CIFAR-10.
Here they have half as many channels, halve the image in the first layer, and learn 512 of the UCI digits in 16×16 pixels. Plain
and residual net differ in nothing but the shortcuts, which have no parameters.
"""

import lab
import numpy as np

from pycnn import nn
from pycnn.models.resnet_cifar import BasicBlock, PlainBlock, ResNetCifar

BLOCKS = {"plain": PlainBlock, "residual": BasicBlock}
DEPTHS = (20, 56)


def net(kind, depth):
    model = ResNetCifar((depth - 2) // 6, block=BLOCKS[kind], width=8)
    model.conv1 = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False)  # gray images
    nn.init.kaiming_normal_(model.conv1.weight)
    return model


def run(quick):
    images, test = lab.load("digits", train=64 if quick else 512, test=64 if quick else None, half=True)
    results = {}
    for kind in BLOCKS:
        for depth in DEPTHS:

            def measure(seed, kind=kind, depth=depth):
                model = net(kind, depth)
                losses = lab.train(model, images, 3 if quick else 150, lr=0.05, seed=seed, batch_size=32)
                print(kind, depth, seed, losses[-1], flush=True)
                return {"losses": losses, "train": 100 - lab.accuracy(model, images), "test": 100 - lab.accuracy(model, test)}

            results[f"{kind}-{depth}"] = lab.each_seed(measure, quick)
    return results


def report(results, page):
    def values(net, what):
        return [found[what] for found in results[net]]

    nets = [f"{kind}-{depth}" for kind in BLOCKS for depth in DEPTHS]
    page.table(
        ["net", "error on training images, %", "on test images, %"],
        [[net, lab.text(values(net, "train")), lab.text(values(net, "test"))] for net in nets],
    )
    axes = page.picture("Training loss by step, mean of the seeds (20 steps averaged): plain nets dashed").subplots()
    for net in nets:
        losses = np.convolve(np.mean(values(net, "losses"), 0), np.ones(20) / 20, "valid")
        axes.plot(losses, "--" if "plain" in net else "-", color="tab:red" if "56" in net else "tab:blue", label=net)
    axes.set(xlabel="step", ylabel="training loss", yscale="log")
    axes.legend(frameon=False)
    page.verdict(
        "Training error of the plain net is larger with 56 layers than with 20", values("plain-56", "train"),
        values("plain-20", "train"), unit=" %",
    )  # fmt: skip
    page.verdict(
        "With 56 layers, training error is larger without shortcuts", values("plain-56", "train"), values("residual-56", "train"),
        unit=" %",
    )  # fmt: skip
    page.verdict(
        "Training error of the residual net is larger with 56 layers than with 20", values("residual-56", "train"),
        values("residual-20", "train"), unit=" %",
    )  # fmt: skip


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
