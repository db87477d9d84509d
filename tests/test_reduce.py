"""Sum, mean, max and the gradient of a bias: every version and storage type against tests/reference.py, then the ops."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, assert_close, assert_same_bits_in_any_order, bits, integers, normal, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn.errors import NotSupported, ShapeError

on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="thread counts, thread orders and float64 are tested on the CPU")
SHAPES = [
    (1, 1, 1), (3, 7, 5), (1, 50, 6), (2, 333, 1), (1, 1000, 10), (4, 65, 64), (1, 3, 700), (2, 129, 130), (1, 40_000, 1),
    (300, 2, 3), (0, 5, 3), (2, 0, 3), (2, 5, 0), (1, 4099, 16),
]  # fmt: skip


def wide(storage):
    return "float64" if storage == "float64" else "float32"


def run_sum(version, shape, x, y, storage, accumulate=0, is_wide=0, divisor=1.0):
    """False where the version refuses the shape (more columns than a block has threads)."""
    try:
        run("sum", version, (*shape, accumulate, is_wide, divisor), storage, x, y)
    except NotSupported as refusal:
        assert "more columns" in str(refusal) or "16 bytes" in str(refusal)
        return False
    return True


@pytest.mark.parametrize("version, storage", versions("sum"))
def test_small_integers_are_summed_exactly(version, storage):
    for shape in SHAPES:
        x = integers(shape, storage, 1, -1, 2)
        for accumulate, is_wide in ((0, 1), (1, 1), (0, 0)):
            y = integers((shape[0], shape[2]), wide(storage) if is_wide else storage, 2)
            expected = reference.sum(x) + (y.astype(np.float64) if accumulate else 0)
            if run_sum(version, shape, x, y, storage, accumulate, is_wide):
                assert bits(y) == bits(expected.astype(y.dtype)), shape


@pytest.mark.parametrize("version, storage", versions("sum"))
def test_sum_error_bound(version, storage):
    for shape in ((3, 700, 5), (1, 100_000, 1), (2, 1000, 20)):
        x, y = normal(shape, storage), np.empty((shape[0], shape[2]), DTYPES[wide(storage)])
        if run_sum(version, shape, x, y, storage, is_wide=1, divisor=3.0):
            squares = reference.sum(x.astype(np.float64) ** 2) / 9
            assert_close(y, reference.sum(x, 3.0), squares, shape[1] + 1, wide(storage))


@pytest.mark.parametrize("version, storage", versions("bias_backward"))
def test_bias_backward(version, storage):
    for rows, channels in ((1, 1), (64, 10), (777, 6), (513, 84), (100, 16), (5, 120), (0, 4), (9, 0)):
        dy = integers((rows, channels), storage, 1, -1, 2)
        for accumulate in (0, 1):
            dbias = integers(channels, wide(storage), 2)
            expected = reference.sum(dy[None])[0] + accumulate * dbias
            run("bias_backward", version, (rows, channels, accumulate), storage, dy, dbias)
            assert bits(dbias) == bits(expected.astype(dbias.dtype)), (rows, channels)


@pytest.mark.parametrize("version, storage", versions("sum_backward"))
def test_sum_backward(version, storage):
    for outer, reduced, inner in SHAPES[:6] + SHAPES[9:13]:
        dy, dx = integers((outer, inner), storage, 1), integers((outer, reduced, inner), storage, 2)
        expected = reference.sum_backward(dy, reduced, 2.0)
        run("sum_backward", version, (outer, reduced, inner, 0, 0, 2.0), storage, dy, dx)
        np.testing.assert_array_equal(dx.astype(np.float64), expected)
        run("sum_backward", version, (outer, reduced, inner, 1, 0, 1.0), storage, dy, dx)
        np.testing.assert_array_equal(dx.astype(np.float64), 3 * expected)


@pytest.mark.parametrize("version, storage", versions("max"))
def test_max_and_its_gradient(version, storage):
    for outer, reduced, inner in ((1, 1, 1), (3, 7, 5), (1, 1000, 1), (2, 513, 3), (0, 4, 2), (40, 2, 9)):
        x = integers((outer, reduced, inner), storage, 1)
        if reduced > 500:
            x[:, [300, 450], 0] = np.nan
        y, index = np.empty((outer, inner), x.dtype), np.empty((outer, inner), np.int64)
        run("max", version, (outer, reduced, inner), storage, x, y, index)
        expected, place = reference.max(x.astype(np.float64))
        np.testing.assert_array_equal(y.astype(np.float64), expected)
        np.testing.assert_array_equal(index, place)
        dx, dy = integers(x.shape, storage, 3), integers(y.shape, storage, 2)
        expected = dx.astype(np.float64) + reference.max_backward(dy, index, reduced)
        backward = version if version != "strips" else "split"
        run("max_backward", backward, (outer, reduced, inner, 1), storage, dy, index, dx)
        np.testing.assert_array_equal(dx.astype(np.float64), expected)


@on_cpu
@pytest.mark.parametrize("version, storage", versions("sum"))
def test_bits_do_not_depend_on_threads(version, storage):
    x, y = normal((2, 1500, 6), storage), np.empty((2, 6), DTYPES[storage])

    def compute():
        run_sum(version, x.shape, x, y, storage)
        return y

    assert_same_bits_in_any_order(compute)


@pytest.mark.parametrize("version, storage", versions("sum"))
def test_nan_and_infinity_reach_their_sum_alone(version, storage):
    x, y = normal((2, 600, 5), storage), np.empty((2, 5), DTYPES[storage])
    x[0, 77, 1], x[1, 599, 4], x[0, 0, 0] = np.nan, np.inf, -np.inf
    run_sum(version, x.shape, x, y, storage)
    y = y.astype(np.float64)
    assert np.isnan(y[0, 1]) and y[1, 4] == np.inf and y[0, 0] == -np.inf
    assert np.isfinite(np.delete(y.reshape(-1), [0, 1, 9])).all()


# ---- the ops ----

DIMS = [None, 0, 1, -1, (2, 3), (0, 2, 3), (1, 3), (0, 2), (), (0, 1, 2, 3)]


@pytest.mark.parametrize("layout", ["plain", "image"])
@pytest.mark.parametrize("dim", DIMS, ids=str)
@pytest.mark.parametrize("keepdim", [False, True])
def test_sum_and_mean_over_any_axes(layout, dim, keepdim):
    x = integers((3, 5, 4, 2), "float32", 1)
    axis = None if dim in (None, ()) else dim
    for op, expected in ((ops.sum, x.sum(axis, keepdims=keepdim)), (ops.mean, x.mean(axis, keepdims=keepdim))):
        y = op(Tensor(x, layout=layout), dim, keepdim)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)


@on_cpu
@pytest.mark.parametrize("layout", ["plain", "image"])
def test_gradients(layout):
    x = Tensor(normal((2, 3, 2, 4), "float64"), requires_grad=True, layout=layout)
    for dim in DIMS[1:8]:
        assert pycnn.gradcheck(lambda x, dim=dim: ops.sum(x, dim) + ops.mean(x * x, dim), (x,))
    for dim in range(4):
        assert pycnn.gradcheck(lambda x, dim=dim: ops.max(x, dim).values + ops.max(x, dim, keepdim=False).values, (x,))
    assert pycnn.gradcheck(lambda x: ops.max(x) + ops.sum(x), (x,))


def test_max_follows_pytorch():
    x = Tensor(np.array([[1.0, 3.0, 3.0], [np.nan, 9.0, np.nan]], np.float32), requires_grad=True)
    values, indices = ops.max(x, 1)
    np.testing.assert_array_equal(values.numpy(), [3.0, np.nan])
    np.testing.assert_array_equal(indices.numpy(), [1, 0])
    np.testing.assert_array_equal(ops.argmax(x, 0).numpy(), [1, 1, 1])
    assert ops.argmax(Tensor(x.numpy()[:1])).item() == 1
    x = Tensor(np.array([1.0, 3.0, 3.0], np.float32), requires_grad=True)
    ops.max(x).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0.5, 0.5])


def test_bad_axes_are_refused():
    x = Tensor(np.zeros((2, 3, 0), np.float32))
    with pytest.raises(ShapeError, match="sum: dim 3 is not between -3 and 2"):
        ops.sum(x, 3)
    with pytest.raises(ShapeError, match="mean: dim .* names an axis twice"):
        ops.mean(x, (0, -3))
    with pytest.raises(ShapeError, match="no element to take the maximum of"):
        ops.max(x, 2)
    assert np.isnan(ops.mean(x, 2).numpy()).all() and ops.sum(x).item() == 0


@on_cpu
def test_plans_state_their_workspace():
    module = backends.cpu().module
    plan = module.plan("sum", (1, 1 << 20, 1, 0, 0, 1.0), "float32", "strips", False, 0, 64 << 20, 16)
    assert 0 < plan.workspace <= 64 << 10
