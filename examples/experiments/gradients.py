"""Gradients vanish on their way down a deep plain net; auxiliary heads, shortcuts and batch norm bring them there.

> Deep networks has the issue of vanishing gradients. Auxiliary classification outputs to inject additional gradient at lower
> layers. … Skip connections also provide a direct path for gradients to the bottom layer (close to input).

Four nets of 24 convolutions, alike but for two auxiliary heads, shortcuts around every two convolutions, or batch norm before
every ReLU. All start from PyTorch's (and pycnn's) default weights. Measured is the 2-norm of the loss's gradient with respect to
each convolution's weights, over 256 training images, at the start and after some steps of training.
"""

import lab
import numpy as np

from pycnn import nn, ops
from pycnn.data import DataLoader

KINDS = ("plain", "auxiliary", "residual", "batch norm")
LAYERS, CHANNELS = 24, 8


class Net(nn.Module):
    """x: (N, 1, 16, 16) -> logits (N, 10), with auxiliary heads while training three of them."""

    def __init__(self, kind):
        self.kind = kind
        self.stem = nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1)
        self.convs = nn.Sequential(*[nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(LAYERS)])
        self.norms = nn.Sequential(*[nn.BatchNorm2d(CHANNELS) for _ in range(LAYERS if kind == "batch norm" else 0)])
        self.heads = nn.Sequential(*[nn.Linear(CHANNELS, 10) for _ in range(3 if kind == "auxiliary" else 1)])

    def head(self, i, x):
        return self.heads[i](ops.mean(x, (2, 3)))

    def forward(self, x):
        x = ops.relu(self.stem(x))  # N,8,8,8
        auxiliary = []
        for i, conv in enumerate(self.convs):
            if self.kind == "residual" and i % 2 == 0:
                shortcut = x
            x = conv(x)
            if self.kind == "batch norm":
                x = self.norms[i](x)
            if self.kind == "residual" and i % 2 == 1:
                x = x + shortcut
            x = ops.relu(x)
            if self.kind == "auxiliary" and self.training and i + 1 in (LAYERS // 3, 2 * LAYERS // 3):
                auxiliary.append(self.head(1 + len(auxiliary), x))
        return (self.head(0, x), *auxiliary) if auxiliary else self.head(0, x)


def gradient_norms(model, data):
    """2-norm of the gradient of each convolution's weights, from the one next to the input to the one next to the output."""
    images, labels = next(iter(DataLoader(data, 256)))
    outputs = model(images)
    logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = ops.cross_entropy(logits, labels)
    for other in auxiliary:
        loss = loss + ops.cross_entropy(other, labels) * 0.3
    model.zero_grad()
    loss.backward()
    return [float(np.linalg.norm(conv.weight.grad.numpy())) for conv in model.convs]


def run(quick):
    images, _ = lab.load("digits", train=128 if quick else None, half=True)
    results = {}
    for kind in KINDS:

        def measure(seed, kind=kind):
            model = Net(kind)
            start = gradient_norms(model, images)
            losses = lab.train(model, images, 3 if quick else 150, lr=0.02, seed=seed)
            print(kind, seed, start[0], losses[-1], flush=True)
            return {"start": start, "trained": gradient_norms(model, images), "accuracy": lab.accuracy(model, images)}

        results[kind] = lab.each_seed(measure, quick)
    return results


def report(results, page):
    def first(kind, when):
        """Logarithm to base 10 of the lowest layer's norm."""
        return [float(np.log10(max(found[when][0], 1e-30))) for found in results[kind]]

    page.say("Norm of the gradient in the first of the 24 convolutions, as its logarithm to base 10:")
    rows = [[kind, lab.text(first(kind, "start"), 2), lab.text(first(kind, "trained"), 2),
             lab.text([found["accuracy"] for found in results[kind]])] for kind in KINDS]  # fmt: skip
    page.table(["net", "at the start", "after training", "training images right, %"], rows)
    figure = page.picture("Gradient's norm by layer, mean of the seeds' logarithms; layer 1 is next to the input")
    for axes, when in zip(figure.subplots(1, 2, sharey=True), ("start", "trained"), strict=True):
        for kind in KINDS:
            norms = np.log10(np.maximum([found[when] for found in results[kind]], 1e-30)).mean(0)
            axes.plot(range(1, LAYERS + 1), 10**norms, ".-", label=kind)
        axes.set(yscale="log", xlabel="layer", title={"start": "at the start", "trained": "after training"}[when])
    axes.legend(frameon=False)
    figure.axes[0].set(ylabel="norm of the gradient")
    for kind in KINDS[1:]:
        page.verdict(
            f"At the start, log10 of the norm in the first layer is larger in the {kind} net than in the plain one",
            first(kind, "start"), first("plain", "start"), 2,
        )  # fmt: skip
    last = [float(np.log10(found["start"][-1])) for found in results["plain"]]
    page.verdict("In the plain net it is larger in the last layer than in the first", last, first("plain", "start"), 2)


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
