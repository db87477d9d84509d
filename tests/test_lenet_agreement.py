"""LeNet-5 over 100 steps of SGD: pycnn in fp32 ends at most twice as far from an fp64 run as PyTorch in fp32 does."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from torch_reference import agreement

import pycnn
from pycnn.bench.frameworks import framework, part

STORED = Path(__file__).with_name("torch_reference") / "lenet5_agreement.npz"


@cache
def fp32(run: int):
    """pycnn's parameters at the end of a run."""
    return agreement.train(framework("pycnn"), agreement.weights(run))


def fp64(start):
    """The same in fp64, which only the CPU computes."""
    device = pycnn.get_default_device()
    pycnn.set_default_device("cpu")
    try:
        return agreement.train(framework("pycnn"), start, np.float64)
    finally:
        pycnn.set_default_device(device)


def test_deviation_is_at_most_twice_the_stored_one_of_pytorch():
    with np.load(STORED, allow_pickle=False) as file:
        stored = dict(file)
    distance = agreement.deviation(fp64(part(stored, "weights/")), part(stored, "reference/"))
    assert distance < 1e-12, f"pycnn's fp64 run ends {distance:.3g} from PyTorch's"
    deviations = [agreement.deviation(fp32(run), fp64(agreement.weights(run))) for run in range(agreement.RUNS)]
    assert np.median(deviations) <= 2 * np.median(stored["torch_deviations"]), (deviations, stored["torch_deviations"])


def test_deviation_is_at_most_twice_that_of_pytorch_now():
    pytest.importorskip("torch", reason="PyTorch is not installed (the comparison with its stored deviations ran)")
    F = framework("torch")
    pairs = []
    for run in range(agreement.RUNS):
        start = agreement.weights(run)
        reference = agreement.train(F, start, np.float64)
        pairs.append((agreement.deviation(fp32(run), reference), agreement.deviation(agreement.train(F, start), reference)))
    mine, theirs = np.median(pairs, axis=0)
    assert mine <= 2 * theirs, pairs
