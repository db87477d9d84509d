"""The SGD step: every version and storage type against tests/reference.py."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, bits, normal, run, versions

from pycnn.errors import ShapeError

every_version = pytest.mark.parametrize("version, storage", versions("sgd"))
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="slices, thread counts and thread orders are tested on the CPU")
SETTINGS = [
    (0.0, 0.0, 0.0, 0), (0.0, 0.0, 0.1, 0), (0.9, 0.0, 0.0, 0), (0.9, 0.5, 0.01, 0), (0.9, 0.0, 0.01, 1),
]  # fmt: skip  # momentum, dampening, weight_decay, nesterov


def state(lr, step):
    return np.array([lr, step, 0, 0, 0, 0, 0, 0], np.float64)


@every_version
@pytest.mark.parametrize("momentum, dampening, weight_decay, nesterov", SETTINGS)
def test_three_steps(version, storage, momentum, dampening, weight_decay, nesterov):
    accumulator = 2.0**-53 if storage == "float64" else 2.0**-24
    for n in (0, 1, 255, 256, 1003):
        param, buffer = normal(n, storage, 1), np.full(n, np.nan, DTYPES[storage]) if momentum else None
        for step in range(3):  # the first takes no notice of the buffer
            grad = normal(n, storage, 2 + step)
            before = [None if a is None else a.astype(np.float64) for a in (param, grad, buffer)]
            settings = (momentum, dampening, weight_decay)
            expected, new_buffer = reference.sgd(*before, step == 0, 0.1, *settings, nesterov)
            run("sgd", version, (n, nesterov, *settings), storage, param, grad, buffer, state(0.1, step))
            tolerance = EPS[storage] + 8 * accumulator
            np.testing.assert_allclose(param.astype(np.float64), expected, rtol=tolerance, atol=4 * tolerance)
            if momentum:
                np.testing.assert_allclose(buffer.astype(np.float64), new_buffer, rtol=tolerance, atol=4 * tolerance)


@on_cpu
@every_version
def test_slices_and_thread_orders(version, storage):
    def compute():
        param, grad, buffer = (normal(20_001, storage, seed)[1:] for seed in range(3))
        run("sgd", version, (20_000, 1, 0.9, 0.0, 1e-4), storage, param, grad, buffer, state(0.05, 3))
        return np.stack([param, buffer])

    assert_same_bits_in_any_order(compute)


@every_version
def test_nan_stays_where_it_is(version, storage):
    param, grad, buffer = (normal(600, storage, seed) for seed in range(3))
    grad[7], grad[300] = np.nan, np.inf
    run("sgd", version, (600, 0, 0.9, 0.0, 0.0), storage, param, grad, buffer, state(0.1, 1))
    wrong = np.flatnonzero(~np.isfinite(param.astype(np.float64)))
    assert wrong.tolist() == [7, 300]


@pytest.mark.parametrize("version, storage", versions("advance_step"))
def test_advance_step(version, storage):
    numbers = state(0.1, 41)
    run("advance_step", version, (0,), storage, numbers)
    assert bits(numbers) == bits(state(0.1, 42))


def test_bad_input_is_refused():
    x = np.zeros(4, np.float32)
    with pytest.raises(ShapeError, match="momentum needs argument 'buffer'"):
        run("sgd", "plain", (4, 0, 0.9, 0.0, 0.0), "float32", x, x.copy(), None, state(0.1, 0))
    with pytest.raises(ShapeError, match="argument 'grad' has shape"):
        run("sgd", "plain", (4, 0, 0.0, 0.0, 0.0), "float32", x, np.zeros(5, np.float32), None, state(0.1, 0))
