"""The SGD and Adam steps: every version and storage type against tests/reference.py."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, bits, normal, run, versions

from pycnn.errors import DTypeError, ShapeError

every_version = pytest.mark.parametrize("version, storage", versions("sgd"))
every_adam = pytest.mark.parametrize("version, storage", versions("adam"))
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


ADAM_SETTINGS = [
    (0.9, 0.999, 1e-8, 0.0, 0), (0.5, 0.9, 1e-3, 0.0, 0), (0.9, 0.999, 1e-8, 0.1, 0),
    (0.9, 0.99, 1e-6, 0.1, 1), (0.0, 0.0, 1.0, 0.0, 0),
]  # fmt: skip  # beta1, beta2, eps, weight_decay, decoupled


def wide(array):
    """Zeros in the type the moments are kept in."""
    return np.zeros(array.shape, np.float64 if array.dtype == np.float64 else np.float32)


def adam_state(lr, step, beta1, beta2):
    """What lies on the device before step `step` (from 0) updates."""
    numbers = state(lr, step)
    run("adam_corrections", "plain", (beta1, beta2), "float32", numbers)
    return numbers


@every_adam
@pytest.mark.parametrize("beta1, beta2, eps, weight_decay, decoupled", ADAM_SETTINGS)
def test_three_adam_steps(version, storage, beta1, beta2, eps, weight_decay, decoupled):
    u = 2.0**-53 if storage == "float64" else 2.0**-24
    for n in (0, 1, 255, 256, 1003):
        param = normal(n, storage, 1)
        mean, square = wide(param), wide(param)
        for step in range(3):
            grad = normal(n, storage, 2 + step)
            before = [a.astype(np.float64) for a in (param, grad, mean, square)]
            settings = (beta1, beta2, eps, weight_decay)
            expected, new_mean, new_square = reference.adam(*before, step + 1, 0.1, *settings, decoupled)
            run(
                "adam",
                version,
                (n, decoupled, *settings),
                storage,
                param,
                grad,
                mean,
                square,
                adam_state(0.1, step, beta1, beta2),
            )
            np.testing.assert_allclose(mean, new_mean, rtol=8 * u, atol=32 * u)
            np.testing.assert_allclose(square, new_square, rtol=16 * u, atol=32 * u)
            # a step is 0.1 · mean / square, both around 1
            tolerance = EPS[storage] + 32 * u
            np.testing.assert_allclose(param.astype(np.float64), expected, rtol=tolerance, atol=4 * tolerance)


@on_cpu
@every_adam
def test_adam_slices_and_thread_orders(version, storage):
    def compute():
        param, grad = (normal(20_001, storage, seed)[1:] for seed in range(2))
        mean, square = wide(param), wide(param)
        run(
            "adam",
            version,
            (20_000, 0, 0.9, 0.999, 1e-8, 1e-2),
            storage,
            param,
            grad,
            mean,
            square,
            adam_state(0.1, 0, 0.9, 0.999),
        )
        return np.stack([a.astype(np.float64) for a in (param, mean, square)])

    assert_same_bits_in_any_order(compute)


@every_adam
def test_adam_nan_stays_where_it_is(version, storage):
    param, grad = normal(600, storage, 0), normal(600, storage, 1)
    mean, square = wide(param), wide(param)
    grad[7], grad[300] = np.nan, np.inf
    run("adam", version, (600, 1, 0.9, 0.999, 1e-8, 0.1), storage, param, grad, mean, square, adam_state(0.1, 0, 0.9, 0.999))
    assert np.flatnonzero(~np.isfinite(param.astype(np.float64))).tolist() == [7, 300]
    assert np.flatnonzero(~np.isfinite(square)).tolist() == [7, 300]


@every_adam
def test_small_gradients_of_16_bit_do_not_vanish(version, storage):
    """A step is lr · sign(grad) at first, whatever the gradient's size; its square is 1e-14 or less."""
    param, grad = np.zeros(40, DTYPES[storage]), np.full(40, 1e-6, DTYPES[storage])
    mean, square = wide(param), wide(param)
    run("adam", version, (40, 0, 0.9, 0.999, 1e-12, 0.0), storage, param, grad, mean, square, adam_state(0.5, 0, 0.9, 0.999))
    np.testing.assert_allclose(param.astype(np.float64), -0.5, rtol=1e-5)


@pytest.mark.parametrize("version, storage", versions("adam_corrections"))
def test_adam_corrections(version, storage):
    for step in (0, 1, 41, 10_000_000):
        numbers = state(0.1, step)
        run("adam_corrections", version, (0.9, 0.999), storage, numbers)
        expected = [0.1, step, 1 - 0.9 ** (step + 1), (1 - 0.999 ** (step + 1)) ** 0.5, 0, 0, 0, 0]
        np.testing.assert_allclose(numbers, expected, rtol=1e-15)


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
    with pytest.raises(DTypeError, match="argument 'mean' is float16, must be float32"):
        half = [np.zeros(4, np.float16) for _ in range(4)]
        run("adam", "plain", (4, 0, 0.9, 0.999, 1e-8, 0.0), "float16", *half, state(0.1, 0))
