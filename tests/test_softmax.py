"""Softmax and log-softmax: every version and storage type against tests/reference.py, then the ops."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, normal, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn.errors import ShapeError

SHAPES = ((1, 1), (3, 10), (64, 10), (5, 16), (7, 33), (2, 1000), (130, 21), (0, 5), (4, 0))
every_version = pytest.mark.parametrize("version, storage", versions("softmax_forward"))
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="thread counts, thread orders and float64 are tested on the CPU")


def tolerance(storage):
    return EPS[storage] + 40 * (2.0**-53 if storage == "float64" else 2.0**-24)


@every_version
@pytest.mark.parametrize("log", [0, 1])
def test_forward_and_backward(version, storage, log):
    for rows, classes in SHAPES:
        x, dy = ((normal((rows, classes), storage, seed).astype(np.float64) * 3).astype(DTYPES[storage]) for seed in (1, 2))
        y = np.empty_like(x)
        run("softmax_forward", version, (rows, classes, log, 0), storage, x, y)
        if classes:
            expected = reference.softmax_forward(x, log)
            np.testing.assert_allclose(y.astype(np.float64), expected, rtol=2 * tolerance(storage), atol=4 * tolerance(storage))
        expected = reference.softmax_backward(dy, y, log)
        scale = np.abs(dy.astype(np.float64)).sum(1, keepdims=True) + 1
        for accumulate in (0, 1):
            dx = np.ones_like(x)
            run("softmax_backward", version, (rows, classes, log, accumulate), storage, dy, y, dx)
            error = np.abs(dx.astype(np.float64) - accumulate - expected)
            assert (error <= tolerance(storage) * (scale + np.abs(expected))).all()


@every_version
def test_large_logits_nan_and_infinity(version, storage):
    x = np.array([[3e4, 3e4, -3e4], [np.nan, 1, 2], [-np.inf, 0, 0], [-np.inf] * 3, [np.inf, 0, 0], [1, 2, 3]], DTYPES[storage])
    y = np.empty_like(x)
    run("softmax_forward", version, (6, 3, 0, 0), storage, x, y)
    y = y.astype(np.float64)
    np.testing.assert_array_equal(y[0], [0.5, 0.5, 0])
    np.testing.assert_array_equal(y[2], [0, 0.5, 0.5])
    assert np.isnan(y[[1, 3, 4]]).any(1).all() and np.isfinite(y[5]).all()


@on_cpu
@every_version
def test_bits_do_not_depend_on_threads(version, storage):
    x, y = normal((150, 37), storage), np.empty((150, 37), DTYPES[storage])

    def compute():
        run("softmax_forward", version, (150, 37, 0, 0), storage, x, y)
        return y

    assert_same_bits_in_any_order(compute)


@on_cpu
@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax])
@pytest.mark.parametrize("layout", ["plain", "image"])
def test_every_axis_and_its_gradient(op, layout):
    x = Tensor(normal((2, 3, 2, 4), "float64"), requires_grad=True, layout=layout)
    for dim in (-1, 0, 1, 2, 3):
        moved = np.moveaxis(x.numpy(), dim, -1)
        expected = reference.softmax_forward(moved.reshape(-1, moved.shape[-1]), op is ops.log_softmax).reshape(moved.shape)
        np.testing.assert_allclose(op(x, dim).numpy(), np.moveaxis(expected, -1, dim), rtol=1e-12)
        assert pycnn.gradcheck(lambda x, dim=dim: op(x, dim), (x,))


def test_bad_axis_is_refused():
    with pytest.raises(ShapeError, match="softmax: dim 2 is not between -2 and 1"):
        ops.softmax(Tensor(np.zeros((2, 3), np.float32)), 2)
