"""Does weight decay turn residual blocks into identities?

> If F(X) = 0 then only identity: H(X) = X. Combined with weight decay we can get some layers to be identity.

A residual net with batch norm learns the digits without weight decay, with weight decay of all parameters, and with weight decay
of the branches F alone. Measured are, for each block, the norm of F(x) relative to that of x, and how many test digits are
still recognised after the weaker half of the branches is cut off (F(X) = 0).

Batch norm makes the branches blind to the scale of x, so that only the ratio counts. Decay of all parameters shrinks x as well,
through the scale of the first layer's batch norm.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn, ops
from pycnn.data import DataLoader

BLOCKS, CHANNELS, DECAY = 6, 8, 1e-2
DECAYED = ("nothing", "all parameters", "branches")


class Block(nn.Module):
    """H(x) = relu(F(x) + x).  x: (N, C, H, W), at least 0."""

    def __init__(self):
        self.conv1, self.conv2 = (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)
        self.cut, self.ratio = False, 0.0

    def forward(self, x):
        if self.cut:
            return x
        branch = ops.conv_bn(self.conv2, self.bn2, ops.conv_bn(self.conv1, self.bn1, x), relu=False)
        if not self.training:
            self.ratio = float(np.linalg.norm(branch.numpy()) / np.linalg.norm(x.numpy()))
        return ops.relu(branch + x)


def run(quick):
    images, test = lab.load("digits", train=128 if quick else None, test=64 if quick else None, half=True)
    results = {}
    for decayed in DECAYED:

        def measure(seed, decayed=decayed):
            first = nn.Sequential(nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU())
            blocks = nn.Sequential(*[Block() for _ in range(BLOCKS)])
            last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10))
            model = nn.Sequential(first, blocks, last)
            groups = [
                {"params": [*first.parameters(), *last.parameters()], "weight_decay": DECAY * (decayed == "all parameters")},
                {"params": list(blocks.parameters()), "weight_decay": DECAY * (decayed != "nothing")},
            ]
            lab.train(model, images, 5 if quick else 400, lr=0.1, seed=seed, batch_size=32, groups=groups)
            whole = lab.accuracy(model, test)
            model.eval()
            with pycnn.no_grad():
                model(next(iter(DataLoader(images, 256)))[0])
            ratios = [block.ratio for block in blocks]
            for block in sorted(blocks, key=lambda block: block.ratio)[: BLOCKS // 2]:
                block.cut = True
            print(decayed, seed, whole, ratios, flush=True)
            return {"ratios": ratios, "whole": whole, "halved": lab.accuracy(model, test)}

        results[decayed] = lab.each_seed(measure, quick)
    return results


def report(results, page):
    def values(decayed, what):
        return [found[what] for found in results[decayed]]

    def mean(decayed):
        return [float(np.mean(ratios)) for ratios in values(decayed, "ratios")]

    def least(decayed):
        return [min(ratios) for ratios in values(decayed, "ratios")]

    page.say(f"Weight decay is {DECAY}, of batch norm's parameters, too.")
    head = ["decayed", "norm of F(x) / norm of x, mean of the blocks", "least of the blocks", "test digits right, %",
            "with the weaker half cut off, %"]  # fmt: skip
    page.table(head, [[decayed, lab.text(mean(decayed), 2), lab.text(least(decayed), 2), lab.text(values(decayed, "whole")),
                       lab.text(values(decayed, "halved"))] for decayed in DECAYED])  # fmt: skip
    axes = page.picture(
        "Norm of a block's branch relative to its input, by block; bars: standard deviation of the seeds"
    ).subplots()
    for shift, decayed in zip((-0.27, 0, 0.27), DECAYED, strict=True):
        ratios = np.array(values(decayed, "ratios"))
        axes.bar(np.arange(1, BLOCKS + 1) + shift, ratios.mean(0), 0.27, yerr=ratios.std(0, ddof=1), label=f"decay of {decayed}")
    axes.set(xlabel="block", ylabel="‖F(x)‖ / ‖x‖")
    axes.legend(frameon=False)
    page.verdict("With decay of branches, the least branch is below a twentieth of its input", [0.05] * 3, least("branches"), 2)
    for decayed in DECAYED[1:]:
        page.verdict(
            f"The branches are larger without weight decay than with decay of {decayed}", mean("nothing"), mean(decayed), 2
        )
    page.verdict("The least branch is larger without weight decay than with decay of branches", least("nothing"),
                 least("branches"), 2)  # fmt: skip
    page.verdict("After the weaker half is cut off, more test digits are right with decay of branches than without",
                 values("branches", "halved"), values("nothing", "halved"), unit=" %")  # fmt: skip


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
