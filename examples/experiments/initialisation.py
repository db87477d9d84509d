"""A deep ReLU net learns from He's initialisation, not from Xavier's.

> Training ResNet in practice: … He normal initialization from He et al.

He et al. 2015 (arxiv.org/abs/1502.01852), section 2.2 and figure 3: ReLU sets half of the numbers to zero. Weights of variance
1 / fan (Xavier) then halve the signal's power in every layer, weights of variance 2 / fan (He) keep it. 24 convolutions without
batch norm or shortcuts start from both. Each is trained with three learning rates.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn
from pycnn.data import DataLoader

LAYERS, CHANNELS = 24, 8
STARTS = {"He": nn.init.kaiming_normal_, "Xavier": nn.init.xavier_normal_}
RATES = (0.003, 0.01, 0.03)


def net(start):
    layers = []
    for i in range(LAYERS):
        conv = nn.Conv2d(1 if i == 0 else CHANNELS, CHANNELS, 3, stride=2 if i == 0 else 1, padding=1)
        STARTS[start](conv.weight)
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * CHANNELS, 10))


def signal(model, data):
    """Root mean square of what each ReLU gives."""
    x, found = next(iter(DataLoader(data, 256)))[0], []
    with pycnn.no_grad():
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(float(np.sqrt(np.mean(x.numpy() ** 2))))
    return found


def run(quick):
    images, _ = lab.load("digits", train=128 if quick else None, half=True)
    results = {}
    for start in STARTS:

        def measure(seed, start=start):
            found = {"signal": signal(net(start), images), "accuracy": []}
            for rate in RATES:
                pycnn.manual_seed(seed)
                model = net(start)
                lab.train(model, images, 3 if quick else 150, rate, seed=seed, batch_size=32)
                found["accuracy"].append(lab.accuracy(model, images))
            print(start, seed, found["accuracy"], flush=True)
            return found

        results[start] = lab.each_seed(measure, quick)
    return results


def report(results, page):
    def accuracy(start):
        """(seeds, rates)"""
        return np.array([found["accuracy"] for found in results[start]])

    page.say("Training digits that are right after training, in %:")
    rows = [[start, *(lab.text(column) for column in accuracy(start).T)] for start in STARTS]
    page.table(["start", *(f"learning rate {rate}" for rate in RATES)], rows)
    axes = page.picture("Signal behind each ReLU before training (root mean square, each seed a line)").subplots()
    for start, color in zip(STARTS, ("tab:blue", "tab:red"), strict=True):
        for i, found in enumerate(results[start]):
            axes.plot(range(1, LAYERS + 1), found["signal"], color=color, label=None if i else start)
    axes.set(yscale="log", xlabel="layer", ylabel="signal")
    axes.legend(frameon=False)
    last = {start: [float(np.log10(found["signal"][-1])) for found in results[start]] for start in STARTS}
    page.verdict("log10 of the signal behind the last ReLU is larger with He's start", last["He"], last["Xavier"], 2)
    best = {start: accuracy(start)[:, accuracy(start).mean(0).argmax()] for start in STARTS}
    page.verdict("With the best rate of each, more training digits are right with He's start", best["He"], best["Xavier"],
                 unit=" %")  # fmt: skip


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
