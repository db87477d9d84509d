"""Losses of two arrays element by element: every version and storage type against tests/reference.py, then the ops."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, integers, normal, rng, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn.errors import DTypeError, ShapeError

KINDS = {"mse_loss": 0.0, "l1_loss": 0.0, "smooth_l1_loss": 0.75, "bce_with_logits": 0.0}  # beta
FORWARD = [(kind, *record) for kind in KINDS for record in versions(f"{kind}_forward")]
OPS = [ops.mse_loss, ops.l1_loss, ops.smooth_l1_loss, ops.binary_cross_entropy_with_logits]
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="thread counts, thread orders and float64 are tested on the CPU")


def case(kind, n, storage, weighted):
    x, t = (normal(n, storage, 1).astype(np.float64) * 2).astype(DTYPES[storage]), normal(n, storage, 2)
    if kind == "bce_with_logits":
        t = rng(2).random(n).astype(DTYPES[storage])
    t[::7] = x[::7]
    factors = [(rng(seed).random(n) + 0.5).astype(DTYPES[storage]) if weighted else None for seed in (3, 4)]
    arrays = [x, t, *factors]
    wide = [np.float64(1) if a is None else a.astype(np.float64) for a in arrays]
    values = reference.pointwise_loss(kind, wide[0], wide[1], wide[3], KINDS[kind])
    size = np.abs(wide[0]) + np.abs(wide[1]) + (wide[0] - wide[1]) ** 2 + 2  # terms may cancel
    return arrays, [v * wide[2] for v in values], size * wide[2] * wide[3]


@pytest.mark.parametrize("kind, version, storage", FORWARD)
@pytest.mark.parametrize("weighted", [False, True])
def test_forward_and_backward(kind, version, storage, weighted):
    accumulator = np.dtype(np.float64 if storage == "float64" else np.float32)
    unit = EPS[accumulator.name]
    for n in (0, 1, 256, 1031):
        arrays, (terms, by_input, by_target), size = case(kind, n, storage, weighted)
        for parts in {n, -(-n // 256), min(n, 3)}:
            y = np.full(parts, np.nan, accumulator)
            run(f"{kind}_forward", version, (n, parts, KINDS[kind]), storage, *arrays, y)
            if parts == n:
                assert (np.abs(y - terms) <= 8 * unit * size).all()
            assert abs(y.astype(np.float64).sum() - terms.sum()) <= 16 * unit * size.sum()
        for each, by, accumulate in ((0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 0)):
            dloss, divisor = normal(n if each else 1, accumulator.name, 5), 2.5
            d = integers(n, storage, 6)
            value = dloss.astype(np.float64) / divisor * (by_target if by else by_input)
            expected = value + accumulate * d.astype(np.float64)
            problem = (n, each, by, accumulate, divisor, KINDS[kind])
            run(f"{kind}_backward", version, problem, storage, dloss, *arrays, d)
            bound = 8 * unit * (size * np.abs(dloss) + np.abs(expected)) + EPS[storage] * np.abs(expected) + 1e-7
            assert (np.abs(d.astype(np.float64) - expected) <= bound).all()


@pytest.mark.parametrize("version, storage", versions("mse_loss_forward"))
def test_sums_of_small_integers_are_exact(version, storage):
    x, t = integers(5000, storage, 1), integers(5000, storage, 2)
    expected = ((x.astype(np.float64) - t.astype(np.float64)) ** 2).sum()
    y = np.empty(20, np.float64 if storage == "float64" else np.float32)
    run("mse_loss_forward", version, (5000, 20, 0.0), storage, x, t, None, None, y)
    assert y.sum() == expected


@on_cpu
@pytest.mark.parametrize("kind, version, storage", FORWARD)
def test_bits_do_not_depend_on_threads(kind, version, storage):
    arrays, _, _ = case(kind, 70_001, storage, False)
    y = np.empty(274, np.float64 if storage == "float64" else np.float32)

    def compute():
        run(f"{kind}_forward", version, (70_001, 274, KINDS[kind]), storage, *arrays, y)
        return y

    assert_same_bits_in_any_order(compute)


# ---- the ops ----


@on_cpu
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_op_and_its_gradients(op, reduction):
    kind = "bce_with_logits" if "binary" in op.__name__ else op.__name__
    for shape, layouts in (((), ("plain", "plain")), ((2, 3), ("plain", "plain")), ((1, 3, 2, 2), ("image", "plain"))):
        x, t = (Tensor(normal(shape, "float64", i) * 2 + 0.01, True, layout=layouts[i]) for i in range(2))
        terms = reference.pointwise_loss(kind, x.numpy(), t.numpy(), 1.0, 1.0)[0]
        expected = {"mean": terms.mean(), "sum": terms.sum(), "none": terms}[reduction]
        np.testing.assert_allclose(op(x, t, reduction=reduction).numpy(), expected, rtol=1e-12)
        assert pycnn.gradcheck(lambda x, t: op(x, t, reduction=reduction), (x, t))


@on_cpu
def test_weights_are_broadcast():
    x, t = (Tensor(normal((2, 3, 1, 2), "float64", i), True, layout="image") for i in range(2))
    for shape in ((), (3, 1, 1), (2, 1, 1, 2), (2, 3, 1, 2)):
        weight, positive = (Tensor(rng(i).random(shape) + 0.5) for i in range(2))
        terms = reference.pointwise_loss("bce", x.numpy(), t.numpy(), positive.numpy())[0] * weight.numpy()

        def loss(x, t, weight=weight, positive=positive):
            return ops.binary_cross_entropy_with_logits(x, t, weight, pos_weight=positive)

        np.testing.assert_allclose(loss(x, t).item(), terms.mean(), rtol=1e-12)
        assert pycnn.gradcheck(loss, (x, t))


def test_large_logits_do_not_overflow():
    x = Tensor(np.array([1000, -1000, 1000, -1000, np.inf], np.float32), requires_grad=True)
    loss = ops.binary_cross_entropy_with_logits(x, Tensor(np.array([0, 1, 1, 0, 0], np.float32)), reduction="none")
    loss.backward(Tensor(np.ones(5, np.float32)))
    np.testing.assert_array_equal(loss.numpy(), [1000, 1000, 0, 0, np.inf])
    np.testing.assert_array_equal(x.grad.numpy(), [1, -1, 0, 0, 1])


def test_nothing_and_sixteen_bits():
    nothing = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
    assert np.isnan(ops.mse_loss(nothing, nothing.detach()).item())
    assert ops.mse_loss(nothing, nothing.detach(), reduction="sum").item() == 0
    x = Tensor(normal((4, 3), "float16"), requires_grad=True)
    loss = ops.l1_loss(x, Tensor(np.zeros((4, 3), np.float16)))
    loss.backward()
    assert loss.dtype == np.float32 and x.grad.dtype == np.float16


def test_bad_input_is_refused():
    x = Tensor(np.zeros((4, 3), np.float32))
    for op in OPS:
        with pytest.raises(ShapeError, match=r"target must have the input's shape \(4, 3\), got \(3,\)"):
            op(x, Tensor(np.zeros(3, np.float32)))
        with pytest.raises(DTypeError, match="one floating-point type, got float32 and float64"):
            op(x, Tensor(np.zeros((4, 3))))
        with pytest.raises(ValueError, match="reduction must be"):
            op(x, x, reduction="average")
    with pytest.raises(ValueError, match="beta must not be negative, got -1"):
        ops.smooth_l1_loss(x, x, beta=-1)
    with pytest.raises(ShapeError, match=r"weight of shape \(2, 4, 3\) does not broadcast to the input's \(4, 3\)"):
        ops.binary_cross_entropy_with_logits(x, x, Tensor(np.zeros((2, 4, 3), np.float32)))
