"""Activations: accuracy to the ulp, gradients, special values."""

import numpy as np
import pytest
from helpers import DEVICE, normal, run, versions

import pycnn
from pycnn import Tensor, ops

ACTIVATIONS = [ops.relu, ops.relu6, ops.sigmoid, ops.tanh, ops.leaky_relu]
FUNCTIONS = {"tanh": np.tanh, "exp": np.exp, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="float64 lives on the CPU")


@pytest.mark.parametrize("op, ulps", [("tanh", 2), ("exp", 1.5), ("sigmoid", 3)])
def test_accuracy_in_ulps(op, ulps):
    """Against float64, from the smallest normal number to the largest, both signs."""
    magnitude = np.geomspace(1.2e-38, 3e38, 200_001)
    x = np.concatenate([-magnitude[::-1], magnitude, np.linspace(-90, 90, 200_001)]).astype(np.float32)
    for version, storage in versions(op):
        if storage != "float32":
            continue
        y = np.empty_like(x)
        run(op, version, (x.size, 0), storage, x, y)
        with np.errstate(over="ignore"):
            expected = FUNCTIONS[op](x.astype(np.float64))
            finite = np.abs(expected) <= np.finfo(np.float32).max
            ulp = np.spacing(np.abs(expected[finite]).astype(np.float32)).astype(np.float64)
        assert (np.abs(y[finite] - expected[finite]) <= ulps * ulp).all()
        assert np.isinf(y[~finite]).all()
        if op == "tanh":
            assert np.abs(y).max() == 1 and (np.diff(y[np.argsort(x, kind="stable")]) >= -2 * np.spacing(np.float32(1))).all()


@on_cpu
@pytest.mark.parametrize("op", ACTIVATIONS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("layout", ["plain", "image"])
def test_gradients(op, layout):
    x = normal((2, 3, 3, 2), "float64") * 3
    x[np.abs(x) < 1e-3] = 1.0
    assert pycnn.gradcheck(op, (Tensor(x, requires_grad=True, layout=layout),))
    assert pycnn.gradcheck(lambda x: op(x) + op(op(x)), (Tensor(x + 0.01, requires_grad=True, layout=layout),))


@pytest.mark.parametrize("op", ACTIVATIONS, ids=lambda op: op.__name__)
def test_nan_stays_nan(op):
    y = op(Tensor(np.array([np.nan, np.inf, -np.inf], np.float32))).numpy()
    assert np.isnan(y[0])
    limits = {"relu": (0, np.inf), "relu6": (0, 6), "sigmoid": (0, 1), "tanh": (-1, 1), "leaky_relu": (-np.inf, np.inf)}
    low, high = limits[op.__name__]
    assert y[1] == high and y[2] == low


def test_shapes_layouts_and_types_are_kept():
    for storage in ("float32", "float16"):
        for shape in ((), (0,), (2, 3), (2, 3, 4, 5)):
            x = Tensor(normal(shape, storage), layout="image" if len(shape) == 4 else "plain")
            y = ops.relu(x)
            assert (y.shape, y.dtype, y.layout) == (x.shape, x.dtype, x.layout)
            np.testing.assert_array_equal(y.numpy(), np.maximum(x.numpy(), 0))


@pytest.mark.parametrize("slope", [0.1, 0.0, -0.5])
def test_leaky_relu_for_any_slope(slope):
    x = Tensor(np.array([-2, 0, 3, np.nan], np.float32), requires_grad=True)
    y = ops.leaky_relu(x, slope)
    y.backward(Tensor(np.ones(4, np.float32)))
    np.testing.assert_allclose(y.numpy(), [-2 * slope, 0, 3, np.nan], rtol=1e-7)
    np.testing.assert_allclose(x.grad.numpy(), [slope, slope, 1, slope], rtol=1e-7)
