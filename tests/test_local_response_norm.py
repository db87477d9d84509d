"""local_response_norm and l2_normalize: every version and storage type against tests/reference.py."""

import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, bits, integers, normal, run, versions

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.errors import NotSupported, ShapeError

ROWS = [(7, 3), (130, 16), (5, 37), (2, 1), (0, 4), (3, 300), (1, 64)]
WINDOWS = [
    (5, 1e-4, 0.75, 2.0),
    (5, 0.7, 0.75, 1.0),
    (3, 0.5, 0.75, 1.0),
    (4, 0.5, 0.6, 1.5),
    (1, 1.0, 0.5, 0.1),
    (40, 0.3, 1.2, 1.0),
]


def every(op):
    return pytest.mark.parametrize("version, storage", versions(op), ids=lambda v: v)


def unit(storage):
    return 2.0**-53 if storage == "float64" else 2.0**-24


@every("local_response_norm_forward")
def test_response_forward(version, storage):
    for (rows, C), window in itertools.product(ROWS, WINDOWS):
        x, y = normal((rows, C), storage), np.empty((rows, C), DTYPES[storage])
        size, alpha, beta, k = window
        run("local_response_norm_forward", version, (rows, C, size, 0, alpha, beta, k), storage, x, y)
        expected = reference.local_response_norm(x, *window)
        bound = ((beta * (size + 3) + 4) * unit(storage) + EPS[storage]) * np.abs(expected) + 1e-7 * (storage == "float16")
        assert (np.abs(y.astype(np.float64) - expected) <= bound).all(), (rows, C, window)


@every("local_response_norm_backward")
def test_response_backward(version, storage):
    for (rows, C), window, accumulate in itertools.product(ROWS, WINDOWS, (0, 1)):
        x, dy, dx = (normal((rows, C), storage, seed) for seed in range(3))
        size, alpha, beta, k = window
        expected = reference.local_response_norm_backward(dy, x, *window) + accumulate * dx.astype(np.float64)
        scale = np.abs(dy.astype(np.float64)) + 2 * alpha * beta * np.abs(x.astype(np.float64)) * (
            np.abs(dy.astype(np.float64) * x) @ reference.response_window(C, size)
        )
        scale = scale * max(k, 0.1) ** (-beta - 1) + accumulate * np.abs(dx.astype(np.float64))
        run("local_response_norm_backward", version, (rows, C, size, accumulate, alpha, beta, k), storage, dy, x, dx)
        bound = (2 * size + 12) * unit(storage) * scale + EPS[storage] * np.abs(expected) + 1e-7 * (storage == "float16")
        assert (np.abs(dx.astype(np.float64) - expected) <= bound).all(), (rows, C, window, accumulate)


def test_rows_beyond_shared_memory():
    x = normal((2, 7000), "float64")
    with pytest.raises(NotSupported, match="do not fit into shared memory"):
        run("local_response_norm_forward", "row", (2, 7000, 5, 0, 1e-4, 0.75, 1.0), "float64", x, np.empty_like(x))
    y = ops.local_response_norm(Tensor(x), 5).numpy()
    np.testing.assert_allclose(y[:, :90], reference.local_response_norm(x[:, :92], 5, 2e-5, 0.75, 1.0)[:, :90], rtol=1e-14)


@every("l2_normalize_forward")
def test_l2_forward(version, storage):
    for (rows, C), eps in itertools.product(ROWS, (1e-12, 3.0)):
        x, y = normal((rows, C), storage), np.empty((rows, C), DTYPES[storage])
        x[::3] *= 0
        norm = np.empty(rows, np.float64 if storage == "float64" else np.float32)
        run("l2_normalize_forward", version, (rows, C, 0, eps), storage, x, y, norm)
        expected = reference.l2_normalize(x, eps)
        bound = ((C / 2 + 3) * unit(storage) + EPS[storage]) * np.abs(expected) + 1e-7 * (storage == "float16")
        assert (np.abs(y.astype(np.float64) - expected) <= bound).all(), (rows, C, eps)


@every("l2_normalize_backward")
def test_l2_backward(version, storage):
    for (rows, C), eps, accumulate in itertools.product(ROWS, (1e-12, 3.0), (0, 1)):
        x, dy, dx = (normal((rows, C), storage, seed) for seed in range(3))
        x[::5] = 0
        norm = np.sqrt((x.astype(np.float64) ** 2).sum(1)).astype(np.float64 if storage == "float64" else np.float32)
        if eps < 1e-3:
            dy[::5] = 0  # a gradient of 1e12
        added = reference.l2_normalize_backward(dy, x, eps)
        expected = added + accumulate * dx.astype(np.float64)
        divisor = np.maximum(norm, eps).astype(np.float64)[:, None]
        scale = (np.abs(dy.astype(np.float64)) + np.sqrt((dy.astype(np.float64) ** 2).sum(1, keepdims=True))) / divisor
        scale = scale + accumulate * np.abs(dx.astype(np.float64))
        run("l2_normalize_backward", version, (rows, C, accumulate, eps), storage, dy, x, norm, dx)
        bound = (2 * C + 8) * unit(storage) * scale + EPS[storage] * np.abs(expected) + 1e-7 * (storage == "float16")
        assert (np.abs(dx.astype(np.float64) - expected) <= bound).all(), (rows, C, eps, accumulate)


@pytest.mark.parametrize("op", ["local_response_norm_forward", "l2_normalize_forward"])
def test_nan_and_infinity_stay_where_they_meet(op):
    for version, storage in versions(op):
        x = np.ones((4, 12), DTYPES[storage])
        x[1, 5], x[2, 5] = np.nan, np.inf
        y = np.empty_like(x)
        if op.startswith("local"):
            run(op, version, (4, 12, 3, 0, 1.0, 0.75, 1.0), storage, x, y)
            touched = np.abs(np.arange(12) - 5) <= 1
            assert np.isnan(y[1].astype(float)[touched]).all() and not np.isnan(y[1].astype(float)[~touched]).any()
            assert np.isnan(float(y[2, 5])) and (y[2].astype(float)[touched] == 0).sum() == 2  # inf / inf, 1 / inf
        else:
            run(op, version, (4, 12, 0, 1e-12), storage, x, y, np.empty(4, np.float64 if storage == "float64" else np.float32))
            assert np.isnan(y[1].astype(float)).all() and np.isnan(float(y[2, 5])) and (y[2].astype(float) == 0).sum() == 11
        assert np.isfinite(y[[0, 3]].astype(float)).all()


PASSES = [
    (f"{family}_{direction}", version)
    for family in ("local_response_norm", "l2_normalize")
    for direction in ("forward", "backward")
    for version, storage in versions(f"{family}_{direction}")
    if storage == "float32"
]


def one_pass(op, version, sources=lambda a: a):
    """Run an op on 33 x 16; returns what it has written. `sources` may replace an array by a slice."""
    arrays = [sources(normal((33, 16), seed=seed)) for seed in range(3 if op.endswith("backward") else 2)]
    problem = (33, 16, 5, 0, 0.5, 0.75, 1.0) if op.startswith("local") else (33, 16, 0, 1e-12)
    norm = [] if op.startswith("local") else [np.full(33, 4, np.float32)]
    arguments = [*arrays, *norm] if op.endswith("forward") else [*arrays[:2], *norm, arrays[2]]
    run(op, version, problem, "float32", *arguments)
    return np.array(arrays[-1])


@pytest.mark.parametrize("op, version", PASSES)
def test_slices_of_channels(op, version):
    """Rows may be slices of wider ones; what lies beside them stays as it is."""
    if DEVICE != "cpu":
        pytest.skip("slices are made with NumPy")
    wide = []

    def sliced(array):
        wide.append(np.full((33, 48), 7, np.float32))
        wide[-1][:, 16:32] = array
        return wide[-1][:, 16:32]

    assert bits(one_pass(op, version, sliced)) == bits(one_pass(op, version))
    assert all((array[:, :16] == 7).all() and (array[:, 32:] == 7).all() for array in wide)


@pytest.mark.parametrize("op, version", PASSES)
def test_threads_do_not_change_bits(op, version):
    if DEVICE != "cpu":
        pytest.skip("thread counts and orders belong to the CPU")
    assert_same_bits_in_any_order(lambda: one_pass(op, version))


@pytest.mark.parametrize("layout", ["image", "plain"])
def test_gradients(layout):
    x = Tensor(normal((2, 7, 2, 3), "float64"), requires_grad=True, layout=layout)
    for convention, size in (("torch", 4), ("torch", 5), ("paper", 3), ("caffe", 5)):
        assert pycnn.gradcheck(lambda x, s=size, c=convention: ops.local_response_norm(x, s, 0.3, 0.75, convention=c), (x,))
    for dim, eps in itertools.product((0, 1, 2, -1), (1e-12, 2.0)):
        assert pycnn.gradcheck(lambda x, d=dim, e=eps: ops.l2_normalize(x, d, e), (x,))


def test_conventions():
    """One activation of 3 alone in its window: s is 1 + 9·alpha/5 in PyTorch's and Caffe's, 2 + 9·alpha in the paper's."""
    x = Tensor(np.array([[0, 0, 0, 3, 0, 0, 0]], np.float64))
    for convention, s in (("torch", 1 + 9 * 0.1 / 5), ("caffe", 1 + 9 * 0.1 / 5), ("paper", 2 + 9 * 0.1)):
        y = nn.LocalResponseNorm(5, alpha=0.1, convention=convention)(x).numpy()
        np.testing.assert_allclose(y[0, 3], 3 * s**-0.75, rtol=1e-14)
    # an even window reaches one channel further down than up
    y = ops.local_response_norm(Tensor(np.array([[5.0, 1, 1, 1, 5]])), 4, alpha=4, beta=1, k=0).numpy()
    np.testing.assert_allclose(y[0], [5 / 26, 1 / 27, 1 / 28, 1 / 28, 5 / 27], rtol=1e-14)


def test_vectors_and_empty_batches():
    assert ops.l2_normalize(Tensor(np.array([3.0, 4.0])), 0).numpy().tolist() == [0.6, 0.8]
    for op in (lambda x: ops.local_response_norm(x, 5), ops.normalize):
        x = Tensor(np.zeros((0, 4, 2, 2), np.float32), requires_grad=True)
        y = op(x)
        y.backward(Tensor(np.zeros(y.shape, np.float32)))
        assert y.shape == x.grad.shape == (0, 4, 2, 2)
    assert ops.normalize(Tensor(integers((2, 3)) * 0)).numpy().any() == 0


def zeros(*shape):
    return Tensor(np.zeros(shape, np.float32))


BAD = [
    (lambda: ops.local_response_norm(zeros(1, 4, 2, 2), 0), ValueError, "size must be at least 1, got 0"),
    (
        lambda: ops.local_response_norm(zeros(1, 4, 2, 2), 4, convention="caffe"),
        ValueError,
        "size must be odd in .*'caffe', got 4",
    ),
    (
        lambda: ops.local_response_norm(zeros(1, 4, 2, 2), 5, convention="lecun"),
        ValueError,
        "one of torch, paper, caffe, got 'lecun'",
    ),
    (lambda: ops.local_response_norm(zeros(4), 5), ShapeError, r"\(N, C, H, W\) or \(N, C\), got shape \(4,\)"),
    (lambda: ops.normalize(zeros(2, 3), p=1), NotSupported, "p = 2, is supported, got p = 1"),
    (lambda: ops.l2_normalize(zeros(2, 3), dim=2), ShapeError, "dim 2 is not between -2 and 1"),
    (lambda: ops.l2_normalize(zeros(2, 3), eps=-1.0), ValueError, "eps must not be negative, got -1"),
]


@pytest.mark.parametrize("call, error, message", BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
