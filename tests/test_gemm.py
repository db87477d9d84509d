"""gemm, linear and matmul: every version and storage type against tests/reference.py."""

import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, assert_close, bits, integers, normal, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn.errors import DTypeError, NotSupported, ShapeError

VERSIONS = versions("gemm")
SHAPES = [(1, 1, 1), (3, 5, 7), (65, 17, 33), (33, 130, 70), (129, 6, 25), (2, 3, 1100)]  # ragged against every tile
EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0)]
every_version = pytest.mark.parametrize("version, storage", VERSIONS, ids=lambda v: v)


def sums(storage):
    """The accumulator type."""
    return "float64" if storage == "float64" else "float32"


def operands(make, shape, trans_a, trans_b, storage):
    M, N, K = shape
    a, b = (K, M) if trans_a else (M, K), (N, K) if trans_b else (K, N)
    return make(a, storage, 1), make(b, storage, 2), make((N,), storage, 3)


def pitched(array, extra):
    """The same matrix as a slice of a wider one."""
    wide = np.full((array.shape[0], array.shape[1] + extra), np.nan, array.dtype)
    wide[:, : array.shape[1]] = array
    return wide[:, : array.shape[1]]


@every_version
def test_small_integers_are_exact(version, storage):
    for shape in SHAPES + EMPTY:
        for trans_a, trans_b, accumulate, wide in itertools.product((0, 1), repeat=4):
            a, b, bias = operands(integers, shape, trans_a, trans_b, storage)
            c = integers(shape[:2], sums(storage) if wide else storage, 4)
            expected = (reference.gemm(a, b, bias, trans_a, trans_b) + accumulate * c.astype(np.float64)).astype(c.dtype)
            run("gemm", version, (*shape, trans_a, trans_b, accumulate, wide), storage, a, b, bias, c)
            assert bits(c) == bits(expected), (shape, trans_a, trans_b, accumulate, wide)


@every_version
def test_error_bound(version, storage):
    for shape in [(37, 41, 53), (19, 70, 500)]:
        a, b, _ = operands(normal, shape, 0, 0, storage)
        c = np.empty(shape[:2], DTYPES[storage])
        run("gemm", version, (*shape, 0, 0, 0, 0), storage, a, b, None, c)
        squares = reference.gemm(a.astype(np.float64) ** 2, b.astype(np.float64) ** 2, None, 0, 0)
        assert_close(c, reference.gemm(a, b, None, 0, 0), squares, shape[2], storage)


@every_version
def test_slices_of_columns(version, storage):
    """A row may be followed by foreign elements: they are neither read nor written."""
    if DEVICE != "cpu":
        pytest.skip("slices are made with NumPy")
    for extra in (1, 3, 8):  # rows between 16-byte boundaries, and on them
        for trans in (0, 1):
            a, b, _ = operands(integers, (37, 18, 21), trans, trans, storage)
            whole = integers((37, 18 + extra), storage, 4)
            c, beside = whole[:, :18], whole[:, 18:].copy()
            run("gemm", version, (37, 18, 21, trans, trans, 0, 0), storage, pitched(a, extra), pitched(b, extra), None, c)
            assert bits(c) == bits(reference.gemm(a, b, None, trans, trans).astype(c.dtype))
            assert bits(whole[:, 18:]) == bits(beside)


@every_version
def test_threads_do_not_change_bits(version, storage):
    if DEVICE != "cpu":
        pytest.skip("thread counts and orders belong to the CPU")
    shape = (70, 130, 300)
    a, b, bias = operands(normal, shape, 0, 1, storage)
    module, before, seen = backends.cpu().module, pycnn.get_num_threads(), set()
    try:
        for threads, order in [(1, "forward"), (2, "reverse"), (3, "random")]:
            pycnn.set_num_threads(threads)
            module.set_thread_order(order, 7)
            c = np.empty(shape[:2], DTYPES[storage])
            run("gemm", version, (*shape, 0, 1, 0, 0), storage, a, b, bias, c)
            seen.add(bits(c))
    finally:
        pycnn.set_num_threads(before)
        module.set_thread_order("forward", 0)
    assert len(seen) == 1


@every_version
def test_nan_and_infinity(version, storage):
    a, b, _ = operands(normal, (34, 19, 21), 0, 0, storage)
    a[3, 20], a[33, 0], b[5, 18] = np.nan, np.inf, -np.inf
    c = np.empty((34, 19), DTYPES[storage])
    run("gemm", version, (34, 19, 21, 0, 0, 0, 0), storage, a, b, None, c)
    expected = reference.gemm(a, b, None, 0, 0)
    np.testing.assert_array_equal(np.isnan(c.astype(np.float64)), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(c.astype(np.float64)), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(c.astype(np.float64)), np.isneginf(expected))


def test_split_k_cuts_by_shape():
    plan = backends.cpu().module.plan("gemm", (16, 150, 6400, 0, 0, 0, 0), "float32", "split_k", False, 0, 64 << 20, 16)
    length, pieces = plan.config[:2]
    assert length % 16 == 0 and pieces > 1 and (pieces - 1) * length < 6400 <= pieces * length
    assert plan.workspace == pieces * 16 * 150 * 4
    with pytest.raises(NotSupported, match="split_k: its workspace exceeds the limit"):
        backends.cpu().module.plan("gemm", (16, 150, 6400, 0, 0, 0, 0), "float32", "split_k", False, 0, plan.workspace - 1, 16)


def test_default_versions():
    module = backends.cpu().module
    assert module.plan("gemm", (64, 64, 64, 0, 0, 0, 0), "float32", "", False, 0, 64 << 20, 16).version == "host"
    assert module.plan("gemm", (64, 64, 64, 0, 0, 0, 0), "float32", "", True, 0, 64 << 20, 16).version == "double_buffered"
    assert module.plan("gemm", (64, 64, 64, 0, 0, 0, 0), "float64", "", True, 0, 64 << 20, 16).version == "naive"


# ---- the ops ----


def tensor(shape, seed, requires_grad=True, storage="float64"):
    return Tensor(normal(shape, storage, seed), requires_grad=requires_grad)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 1, 3)])
def test_linear(leading):
    x, weight, bias = tensor((*leading, 5), 1), tensor((7, 5), 2), tensor((7,), 3)
    y = ops.linear(x, weight, bias)
    np.testing.assert_allclose(y.numpy(), x.numpy() @ weight.numpy().T + bias.numpy(), rtol=1e-13)
    assert pycnn.gradcheck(ops.linear, (x, weight, bias))
    assert pycnn.gradcheck(ops.linear, (x, weight))


def test_matmul():
    a, b = tensor((3, 5), 1), tensor((5, 4), 2)
    np.testing.assert_allclose((a @ b).numpy(), a.numpy() @ b.numpy(), rtol=1e-13)
    assert pycnn.gradcheck(ops.matmul, (a, b))


def test_gradients_add_up():
    x, weight, bias = tensor((4, 5), 1), tensor((7, 5), 2), tensor((7,), 3)
    for _ in range(2):
        (ops.linear(x, weight, bias) + ops.linear(x, weight, bias)).backward(Tensor(np.ones((4, 7))))
    np.testing.assert_allclose(weight.grad.numpy(), np.broadcast_to(4 * x.numpy().sum(0), (7, 5)), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(4 * weight.numpy().sum(0), (4, 5)), rtol=1e-12)
    np.testing.assert_allclose(bias.grad.numpy(), np.full(7, 16.0))


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_16_bit_gradients(storage):
    x, weight, bias = (Tensor(integers(shape, storage, i), requires_grad=True) for i, shape in enumerate([(4, 5), (7, 5), (7,)]))
    for _ in range(2):
        ops.linear(x, weight, bias).backward(Tensor(np.ones((4, 7), DTYPES[storage])))
    assert weight.grad.dtype == DTYPES[storage]
    np.testing.assert_array_equal(weight.grad.numpy().astype(float), np.broadcast_to(2 * x.numpy().astype(float).sum(0), (7, 5)))
    np.testing.assert_array_equal(bias.grad.numpy().astype(float), np.full(7, 8.0))


def test_empty_batch():
    x, weight, bias = tensor((0, 5), 1), tensor((7, 5), 2), tensor((7,), 3)
    y = ops.linear(x, weight, bias)
    assert y.shape == (0, 7)
    y.backward(Tensor(np.empty((0, 7))))
    assert not weight.grad.numpy().any() and not bias.grad.numpy().any() and x.grad.shape == (0, 5)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda t: ops.linear(t(4, 6), t(7, 5)), ShapeError, r"input has shape \(4, 6\).*in_features = 5"),
        (lambda t: ops.linear(t(4, 5), t(7, 5), t(6)), ShapeError, r"bias has shape \(6,\), must be \(7,\)"),
        (lambda t: ops.linear(t(4, 5), t(5)), ShapeError, r"weight must have 2 axes .* got shape \(5,\)"),
        (lambda t: ops.linear(Tensor(np.ones((4, 5), np.float16)), t(7, 5)), DTypeError, "weight is float32 and .* float16"),
        (lambda t: ops.matmul(t(4, 5), t(4, 5)), ShapeError, r"\(M, K\) and \(K, N\), got \(4, 5\) and \(4, 5\)"),
        (lambda t: ops.matmul(t(2, 4, 5), t(5, 4)), ShapeError, r"got \(2, 4, 5\)"),
        (lambda t: ops.matmul(t(4, 5), Tensor(np.ones((5, 4), np.float16))), DTypeError, "other is float16 and input is float32"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda *shape: Tensor(np.ones(shape, np.float32)))


def test_bad_arrays():
    a, b, c = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32), np.empty((3, 5), np.float32)
    with pytest.raises(ShapeError, match=r"gemm: argument 'b' has shape \(4, 5\), must be \(5, 4\)"):
        run("gemm", "naive", (3, 5, 4, 0, 1, 0, 0), "float32", a, b, None, c)
    with pytest.raises(DTypeError, match="gemm: argument 'c' is float32, must be float64"):
        run("gemm", "naive", (3, 5, 4, 0, 0, 0, 1), "float64", a.astype(float), b.astype(float), None, c)
    with pytest.raises(ShapeError, match="must not be negative"):
        run("gemm", "naive", (-3, 5, 4, 0, 0, 0, 0), "float32", a, b, None, c)
    with pytest.raises(NotSupported, match="gemm has no version 'fast'"):
        backends.cpu().module.plan("gemm", (3, 5, 4, 0, 0, 0, 0), "float32", "fast", False, 0, 64 << 20, 16)
    with pytest.raises(NotSupported, match="tile_2d: not built for float64"):
        backends.cpu().module.plan("gemm", (3, 5, 4, 0, 0, 0, 0), "float64", "tile_2d", False, 0, 64 << 20, 16)
