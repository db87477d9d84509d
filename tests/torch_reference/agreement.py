"""LeNet-5, the same weights and batches, 100 steps of SGD in fp32: how far a run ends from one in fp64.

A ReLU or a maximum switches when a rounding moves one value past another, and a run with such a jump ends far from the fp64 run
whoever computed it. Small batches make jumps rare, and the median over several runs leaves them out.

The digits enter as they are, each of the 8×8 values repeated 4×4 times and divided by 16, in file order: exact in fp32, and no
random numbers.
"""

from __future__ import annotations

import numpy as np

import pycnn
from pycnn.bench.cases import LENET5, Case, lenet5_weights
from pycnn.bench.frameworks import framework

RUNS, STEPS, BATCH = 11, 100, 4
SETTINGS = {"lr": 0.05}


def weights(run: int) -> dict[str, np.ndarray]:
    """The initial weights of a run."""
    return Case(f"lenet5_agreement/{run}", None, lenet5_weights()).arrays()


def batches():
    """STEPS pairs of images (BATCH, 1, 32, 32) and labels."""
    with np.load(pycnn.data.digits.FOLDER / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"].astype(np.int64)
    for step in range(STEPS):
        at = np.arange(step * BATCH, (step + 1) * BATCH) % len(labels)
        yield np.kron(images[at], np.ones((4, 4)))[:, None] / 16, labels[at]


def train(F, start: dict[str, np.ndarray], dtype=np.float32) -> dict[str, np.ndarray]:
    """The parameters after STEPS steps from the weights `start`, as float64."""
    model = F.create_model("lenet5")
    if dtype == np.float64:
        F.double(model)
    F.load(model, {name: F.tensor(w.astype(dtype)) for name, w in start.items()})
    optimizer = F.optim.SGD(model.parameters(), **SETTINGS)
    for images, labels in batches():
        optimizer.zero_grad()
        F.cross_entropy(model(F.tensor(images.astype(dtype))), F.tensor(labels)).backward()
        optimizer.step()
    return {name: F.array(p).astype(np.float64) for name, p in model.named_parameters()}


def deviation(parameters: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> float:
    """The Euclidean distance of all parameters from the fp64 run's, over the length of those."""
    distance = sum(np.sum((parameters[name] - reference[name]) ** 2) for name in LENET5)
    return float(np.sqrt(distance / sum(np.sum(reference[name] ** 2) for name in LENET5)))


def stored_by_torch() -> dict[str, np.ndarray]:
    """What ``lenet5_agreement.npz`` holds: PyTorch-fp32's deviation in each run, and the first run's weights and fp64 result."""
    import torch

    F = framework("torch")
    references = [train(F, weights(run), np.float64) for run in range(RUNS)]
    deviations = [deviation(train(F, weights(run)), references[run]) for run in range(RUNS)]
    return (
        {"torch_version": np.array(torch.__version__), "torch_deviations": np.array(deviations)}
        | {f"weights/{name}": w for name, w in weights(0).items()}
        | {f"reference/{name}": p for name, p in references[0].items()}
    )
