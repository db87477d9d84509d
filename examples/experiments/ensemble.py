"""Seven nets together err less than one.

> 7 CNN ensemble: 18.2% to 15.4%

AlexNet's figures are top-5 errors on ImageNet (Krizhevsky et al. 2012, section 6: five equal nets gave 16.4 %, seven 15.3 %, of
which two had learned from more images). Here seven equal nets learn the same 300 digits from different starting weights and in
different order; together they say the class with the largest mean probability. The test digits are of other hands (the last 360
of the file). Three ensembles, 21 nets.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn
from pycnn.train.evaluation import log_softmax, mean_of_softmax

NETS = 7


def net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def run(quick):
    images, test = lab.load("digits", train=64 if quick else 300, half=True, split="last360")

    def measure(seed):
        logs, singles = [], []
        for i in range(NETS):
            pycnn.manual_seed(100 * seed + i)
            model = net()
            lab.train(model, images, 5 if quick else 200, 0.02, seed=100 * seed + i, batch_size=32)
            logs.append(log_softmax(lab.predict(model, test)))
            singles.append(100 - lab.percent(logs[-1], test.labels))
        together = [100 - lab.percent(mean_of_softmax(logs[:n]), test.labels) for n in range(1, NETS + 1)]
        print(seed, singles, together, flush=True)
        return {"singles": singles, "together": together}

    return {"ensembles": lab.each_seed(measure, quick)}


def report(results, page):
    singles = np.array([found["singles"] for found in results["ensembles"]])
    together = np.array([found["together"] for found in results["ensembles"]])
    page.table(
        ["", "test error, %", "nets asked"],
        [["one net", lab.text(singles), 1], ["ensemble of seven", lab.text(together[:, -1]), 7]],
    )
    axes = page.picture("Test error by how many nets are averaged, one line an ensemble").subplots()
    for i, errors in enumerate(together):
        axes.plot(range(1, NETS + 1), errors, ".-", color="tab:blue", label=None if i else "ensembles")
    axes.axhline(singles.mean(), color="tab:gray", linestyle="--", label="one net, mean")
    axes.set(xlabel="nets", ylabel="test error, %")
    axes.legend(frameon=False)
    page.say(
        "The first line of the table is of all 21 nets. The first verdict compares each ensemble with the mean of its own seven."
    )
    page.verdict("Seven nets err more by themselves, on average, than together", singles.mean(1), together[:, -1], unit=" %")
    page.verdict("Any one of the 21 nets errs more than seven together", singles.ravel(), together[:, -1], unit=" %")


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
