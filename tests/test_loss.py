"""Cross entropy: every version and storage type against tests/reference.py, then the op."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, integers, normal, rng, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn.errors import DTypeError, ShapeError

every_version = pytest.mark.parametrize("version, storage", versions("cross_entropy_forward"))
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="thread counts, thread orders and float64 are tested on the CPU")


def case(rows, classes, storage, weighted):
    wide = DTYPES["float64" if storage == "float64" else "float32"]
    target = rng(3).integers(0, classes, rows)
    target[1::5] = -100
    weight = (rng(4).random(classes) + 0.5).astype(wide) if weighted else None
    return (normal((rows, classes), storage).astype(np.float64) * 3).astype(DTYPES[storage]), target, weight, wide


@every_version
@pytest.mark.parametrize("weighted, smoothing", [(False, 0.0), (True, 0.0), (False, 0.1), (True, 0.3)])
def test_forward_and_backward(version, storage, weighted, smoothing):
    for rows, classes in ((1, 1), (64, 10), (7, 33), (3, 1000), (131, 21), (0, 4)):
        x, target, weight, wide = case(rows, classes, storage, weighted)
        terms, log_sum = np.empty((2, rows), wide), np.empty((2, rows), wide)
        problem = (rows, classes, -100, 0, smoothing, 0)
        run("cross_entropy_forward", version, problem, storage, x, target, weight, terms, log_sum)
        unit = EPS[wide.name]
        expected = reference.cross_entropy_forward(x, target, weight, -100, smoothing)
        np.testing.assert_allclose(terms, expected, 60 * unit, 60 * unit)

        for rowwise in (0, 1):
            dloss = normal(rows if rowwise else 1, wide.name, 5)
            totals = None if rowwise else np.array([0, 2.5], wide)
            factors = np.broadcast_to(dloss if rowwise else dloss / totals[1], rows).astype(np.float64)
            expected = reference.cross_entropy_backward(factors, x, target, weight, -100, smoothing)
            for accumulate in (0, 1):
                dx = np.ones_like(x)
                problem = (rows, classes, -100, accumulate, smoothing, 0, rowwise)
                run("cross_entropy_backward", version, problem, storage, dloss, x, target, weight, log_sum, totals, dx)
                error = np.abs(dx.astype(np.float64) - accumulate - expected)
                assert (error <= 60 * unit * np.abs(factors)[:, None] + EPS[storage] * np.abs(accumulate + expected) + 1e-7).all()


@every_version
def test_a_label_out_of_range_reads_nothing(version, storage):
    x, _, _, wide = case(3, 5, storage, False)
    target, terms, log_sum = np.array([1, 5, -7]), np.empty((2, 3), wide), np.empty((2, 3), wide)
    run("cross_entropy_forward", version, (3, 5, -100, 0, 0.0, 0), storage, x, target, None, terms, log_sum)
    assert np.isfinite(terms[0, 0]) and np.isnan(terms[0, 1:]).all()


@every_version
@pytest.mark.parametrize("weighted", [False, True])
def test_log_probabilities(version, storage, weighted):
    """What nll_loss asks for: only the label's element is looked at, whatever the others are."""
    for rows, classes in ((1, 1), (7, 33), (131, 21), (0, 4)):
        x, target, weight, wide = case(rows, classes, storage, weighted)
        labels = np.where(target == -100, 0, target)
        x[np.arange(classes) != labels[:, None]] = np.inf
        terms, log_sum = np.empty((2, rows), wide), np.empty((2, rows), wide)
        run("cross_entropy_forward", version, (rows, classes, -100, 0, 0.0, 1), storage, x, target, weight, terms, log_sum)
        w = np.where(target == -100, 0, 1 if weight is None else weight[labels])
        expected = -w * x[np.arange(rows), labels].astype(wide)
        np.testing.assert_allclose(terms, [expected, w], 2 * EPS[wide.name])

        dloss, gradient, dx = np.array([1.5], wide), np.zeros(x.shape), integers(x.shape, storage)
        gradient[np.arange(rows), labels] = -1.5 * w
        before = dx.astype(np.float64)
        problem = (rows, classes, -100, 1, 0.0, 1, 0)
        run("cross_entropy_backward", version, problem, storage, dloss, x, target, weight, log_sum, None, dx)
        np.testing.assert_allclose(dx.astype(np.float64), before + gradient, EPS[storage] + 2 * EPS[wide.name], 1e-6)


@every_version
def test_logits_far_from_zero(version, storage):
    """The maximum and the logarithm are not added: log 4 would be rounded away by all of these."""
    offset = {"float16": 2.0**15, "float64": 1e16}.get(storage, 1e10)
    x = np.full((3, 4), offset).astype(DTYPES[storage])
    wide = DTYPES["float64" if storage == "float64" else "float32"]
    target, t = np.array([0, 3, 2]), np.full((3, 4), 0.25).astype(DTYPES[storage])
    one, dx, dt = np.ones(1, wide), np.empty_like(x), np.empty_like(x)
    loss, log_sum, mass = np.empty((2, 3), wide), np.empty((2, 3), wide), np.empty(3, wide)
    run("cross_entropy_forward", version, (3, 4, -100, 0, 0.5, 0), storage, x, target, None, loss, log_sum)
    np.testing.assert_allclose(loss[0], np.log(4), 1e-6)
    run("cross_entropy_backward", version, (3, 4, -100, 0, 0.0, 0, 0), storage, one, x, target, None, log_sum, None, dx)
    np.testing.assert_allclose(dx.astype(np.float64), 0.25 - np.eye(4)[target], 1e-6)
    run("soft_cross_entropy_forward", version, (3, 4, 0.5), storage, x, t, None, loss[0], log_sum, mass)
    np.testing.assert_allclose(loss[0], np.log(4), 1e-6)
    run("soft_cross_entropy_backward", version, (3, 4, 0, 0, 0, 0.0, 1.0), storage, one, x, t, None, log_sum, mass, dx, dt)
    np.testing.assert_allclose(dx.astype(np.float64), 0, atol=1e-7)
    np.testing.assert_allclose(dt.astype(np.float64), np.log(4), 2 * EPS[storage])


@on_cpu
@every_version
def test_bits_do_not_depend_on_threads(version, storage):
    x, target, weight, wide = case(150, 37, storage, True)
    terms, log_sum = np.empty((2, 150), wide), np.empty((2, 150), wide)

    def compute():
        run("cross_entropy_forward", version, (150, 37, -100, 0, 0.1, 0), storage, x, target, weight, terms, log_sum)
        return terms

    assert_same_bits_in_any_order(compute)


@pytest.mark.parametrize("version, storage", versions("check_labels"))
def test_check_labels(version, storage):
    for n in (0, 1, 63, 1000, 20_000):
        target, bad = rng(1).integers(0, 7, n), np.empty(1, np.int64)
        target[::3] = -100
        run("check_labels", version, (n, 7, -100, 0), storage, target, bad)
        assert bad[0] == -1
        for place in {0, n // 2, n - 1} if n else ():
            wrong = target.copy()
            wrong[place], wrong[-1] = 7, -1
            run("check_labels", version, (n, 7, -100, 0), storage, wrong, bad)
            assert bad[0] == place
            run("check_labels", version, (n, 7, -100, 1), storage, target, bad)
            assert bad[0] == place
            bad[0] = -1
            run("check_labels", version, (n, 7, -100, 1), storage, wrong, bad)
            assert bad[0] == place


# ---- the op ----


@on_cpu
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 4), (4,), (2, 3, 2, 4), (2, 3, 5)], ids=str)
def test_op_and_its_gradient(reduction, shape):
    axis = min(len(shape) - 1, 1)
    target = rng(1).integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    if target.size > 1:
        target.reshape(-1)[1] = -100
    for layout in ("plain", "image") if len(shape) == 4 else ("plain",):
        x = Tensor(normal(shape, "float64"), requires_grad=True, layout=layout)
        weight = Tensor(rng(2).random(shape[axis]) + 0.5)
        for w, smoothing in ((None, 0.0), (weight, 0.2)):

            def loss(x, w=w, smoothing=smoothing):
                return ops.cross_entropy(x, target, w, reduction=reduction, label_smoothing=smoothing)

            rows = np.moveaxis(x.numpy(), axis, -1).reshape(-1, shape[axis])
            weights = None if w is None else w.numpy()
            losses, row_weights = reference.cross_entropy_forward(rows, target.reshape(-1), weights, -100, smoothing)
            total = losses.sum()
            expected = {"none": losses.reshape(target.shape), "sum": total, "mean": total / row_weights.sum()}[reduction]
            np.testing.assert_allclose(loss(x).numpy(), expected, rtol=1e-12)
            assert pycnn.gradcheck(loss, (x,))


@on_cpu
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss_of_log_softmax_is_cross_entropy(reduction):
    for shape in ((5, 4), (4,), (2, 3, 2, 4), (2, 3, 5)):
        axis = min(len(shape) - 1, 1)
        target = rng(1).integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
        if target.size > 1:
            target.reshape(-1)[1] = 255
        x, weight = Tensor(normal(shape, "float64"), requires_grad=True), Tensor(rng(2).random(shape[axis]) + 0.5)
        options = dict(ignore_index=255, reduction=reduction)
        composed = lambda x: ops.nll_loss(ops.log_softmax(x, axis), target, weight, **options)  # noqa: B023
        expected = ops.cross_entropy(x, target, weight, **options)
        np.testing.assert_allclose(composed(x).numpy(), expected.numpy(), rtol=1e-12)
        assert pycnn.gradcheck(composed, (x,))


def test_everything_ignored_is_nan_as_in_pytorch():
    x = Tensor(np.zeros((2, 3), np.float32))
    assert np.isnan(ops.cross_entropy(x, np.array([-100, -100])).item())
    assert ops.cross_entropy(x, np.array([-100, -100]), reduction="sum").item() == 0


def test_sixteen_bit_logits_have_a_float32_loss():
    x = Tensor(normal((4, 3), "float16"), requires_grad=True)
    loss = ops.cross_entropy(x, np.array([0, 1, 2, 0]))
    assert loss.dtype == np.float32
    loss.backward()
    assert x.grad.dtype == np.float16


def test_bad_input_is_refused():
    x = Tensor(np.zeros((4, 3), np.float32))
    with pytest.raises(ShapeError, match=r"target\[2\] is 3, but there are 3 classes; labels must be between 0 and 2"):
        ops.cross_entropy(x, np.array([0, 1, 3, -1]))
    with pytest.raises(ShapeError, match=r"input \(4, 3\) needs a target of shape \(4,\), got \(3,\)"):
        ops.cross_entropy(x, np.array([0, 1, 2]))
    with pytest.raises(ShapeError, match=r"needs a target of shape \(4, 3\), got \(4,\)"):
        ops.cross_entropy(x, np.zeros(4, np.float32))
    with pytest.raises(DTypeError, match="int64 class indices or probabilities of the input's type, got int32"):
        ops.cross_entropy(x, Tensor(np.zeros(4, np.int32)))
    with pytest.raises(ValueError, match="reduction must be"):
        ops.cross_entropy(x, np.zeros(4, int), reduction="average")
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        ops.cross_entropy(x, np.zeros(4, int), label_smoothing=1.5)
    with pytest.raises(ShapeError, match=r"weight must have shape \(3,\), got \(4,\)"):
        ops.cross_entropy(x, np.zeros(4, int), Tensor(np.ones(4, np.float32)))


# ---- class probabilities ----


def soft_case(rows, classes, storage, weighted):
    x, _, weight, wide = case(rows, classes, storage, weighted)
    t = rng(5).random((rows, classes))
    return x, (t / t.sum(1, keepdims=True)).astype(DTYPES[storage]), weight, wide


@pytest.mark.parametrize("version, storage", versions("soft_cross_entropy_forward"))
@pytest.mark.parametrize("weighted, smoothing", [(False, 0.0), (True, 0.3)])
def test_probabilities_forward_and_backward(version, storage, weighted, smoothing):
    for rows, classes in ((1, 1), (7, 33), (3, 1000), (131, 21), (0, 4)):
        x, t, weight, wide = soft_case(rows, classes, storage, weighted)
        loss, log_sum, mass = (np.full(extents, np.nan, wide) for extents in (rows, (2, rows), rows))
        arrays = (x, t, weight)
        run("soft_cross_entropy_forward", version, (rows, classes, smoothing), storage, *arrays, loss, log_sum, mass)
        unit = 60 * EPS[wide.name]
        np.testing.assert_allclose(loss, reference.soft_cross_entropy(x, t, weight, smoothing), unit, unit)
        for rowwise, accumulate in ((0, 0), (1, 1)):
            dloss = normal(rows if rowwise else 1, wide.name, 5)
            g = np.broadcast_to(dloss / 2.5, rows).astype(np.float64)
            gradients = [np.ones_like(x), np.ones_like(x)]
            numbers = (rows, classes, accumulate, accumulate, rowwise, smoothing, 2.5)
            arrays = (dloss, x, t, weight, log_sum, mass, *gradients)
            run("soft_cross_entropy_backward", version, numbers, storage, *arrays)
            for d, e in zip(gradients, reference.soft_cross_entropy_backward(g, x, t, weight, smoothing), strict=True):
                bound = unit * (np.abs(g)[:, None] + np.abs(e)) + EPS[storage] * np.abs(accumulate + e) + 1e-7
                assert (np.abs(d.astype(np.float64) - accumulate - e) <= bound).all()


@on_cpu
@pytest.mark.parametrize("version, storage", versions("soft_cross_entropy_forward"))
def test_bits_with_probabilities_do_not_depend_on_threads(version, storage):
    x, t, weight, wide = soft_case(150, 37, storage, True)
    loss = np.empty((4, 150), wide)

    def compute():
        run("soft_cross_entropy_forward", version, (150, 37, 0.1), storage, x, t, weight, loss[0], loss[1:3], loss[3])
        return loss

    assert_same_bits_in_any_order(compute)


@on_cpu
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 3, 1, 2), (2, 3, 2)], ids=str)
def test_probabilities_and_their_gradients(reduction, shape):
    axis = min(len(shape) - 1, 1)
    x = Tensor(normal(shape, "float64"), True, layout="image" if len(shape) == 4 else "plain")
    t = Tensor(rng(1).random(shape), requires_grad=True)
    weight = Tensor(rng(2).random(shape[axis]) + 0.5)

    def loss(x, t):
        return ops.cross_entropy(x, t, weight, reduction=reduction, label_smoothing=0.2)

    rows, targets = (np.moveaxis(a.numpy(), axis, -1).reshape(-1, shape[axis]) for a in (x, t))
    losses = reference.soft_cross_entropy(rows, targets, weight.numpy(), 0.2)
    expected = {"none": losses.reshape(shape[:axis] + shape[axis + 1 :]), "sum": losses.sum(), "mean": losses.mean()}[reduction]
    np.testing.assert_allclose(loss(x, t).numpy(), expected, rtol=1e-12)
    assert pycnn.gradcheck(loss, (x, t))


@on_cpu
def test_labels_on_a_device_are_checked_when_a_result_is_read(monkeypatch):
    """The CPU stands in for a GPU: it is told that reading has to wait."""
    backend = backends.cpu()
    monkeypatch.setattr(backends.Backend, "reads_are_free", False)
    monkeypatch.setattr(backend, "checks", {})
    x = Tensor(np.zeros((4, 3), np.float32), requires_grad=True)
    loss = ops.cross_entropy(x, Tensor(np.array([0, 1, 3, 2])))
    loss.backward()
    ops.cross_entropy(x, Tensor(np.array([0, 1, 2, -100])))  # a later good one does not hide it
    with pytest.raises(ShapeError, match="label that is no class, at place 2"):
        loss.item()
    assert np.isnan(loss.item()) and (x.grad.numpy()[2] == 0).all()  # reported once
