"""What do batch norm, dropout and data augmentation do against over-fitting?

> Batch Normalization after every Convolution layer. … Data Augmentation and dropout (last layer) for preventing over-fitting.

A small net learns 200 digits with all switched off, and with one of the three switched on. The test digits are of other hands
(the last 360 of the file). Over-fitting is the difference between the parts of training and test digits that are right.
"""

import lab
import numpy as np

from pycnn import nn
from pycnn.data.transforms import RandomShift

SWITCHES = ("nothing", "batch norm", "dropout", "augmentation")
EARLY = 40  # steps


def net(switch):
    layers = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1)]
        if switch == "batch norm":
            layers += [nn.BatchNorm2d(outputs)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    dropout = [nn.Dropout(0.5)] if switch == "dropout" else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), *dropout, nn.Linear(128, 10))


def run(quick):
    images, test = lab.load("digits", train=64 if quick else 200, half=True, split="last360")
    results = {}
    for switch in SWITCHES:
        transform = RandomShift(1) if switch == "augmentation" else None

        def measure(seed, switch=switch, transform=transform):
            model = net(switch)
            losses = lab.train(model, images, EARLY + 2 if quick else 600, 0.02, seed=seed, batch_size=32, transform=transform)
            print(switch, seed, losses[-1], flush=True)
            found = {"early": float(np.mean(losses[EARLY - 10 : EARLY])), "losses": losses}
            return found | {"train": lab.accuracy(model, images), "test": lab.accuracy(model, test)}

        results[switch] = lab.each_seed(measure, quick)
    return results


def report(results, page):
    def values(switch, what):
        return [found[what] for found in results[switch]]

    def gap(switch):
        return [found["train"] - found["test"] for found in results[switch]]

    head = ["switched on", f"training loss around step {EARLY - 5}", "training digits right, %", "test digits right, %",
            "difference"]  # fmt: skip
    page.table(head, [[switch, lab.text(values(switch, "early"), 2), lab.text(values(switch, "train")),
                       lab.text(values(switch, "test")), lab.text(gap(switch))] for switch in SWITCHES])  # fmt: skip
    axes = page.picture("Training loss, mean of the seeds (20 steps averaged)").subplots()
    for switch in SWITCHES:
        axes.plot(np.convolve(np.mean(values(switch, "losses"), 0), np.ones(20) / 20, "valid"), label=switch)
    axes.set(xlabel="step", ylabel="training loss", yscale="log")
    axes.legend(frameon=False)
    page.verdict(f"Around step {EARLY - 5}, training loss is larger without batch norm", values("nothing", "early"),
                 values("batch norm", "early"), 2)  # fmt: skip
    for switch in SWITCHES[1:]:
        page.verdict(f"More test digits are right with {switch}", values(switch, "test"), values("nothing", "test"), unit=" %")
    for switch in SWITCHES[2:]:
        page.verdict(f"Over-fitting is larger without {switch}", gap("nothing"), gap(switch), unit=" points")


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
