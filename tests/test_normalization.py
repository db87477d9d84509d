"""batch_norm: every version and storage type against tests/reference.py."""

import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, bits, integers, normal, rng, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn.errors import DTypeError, NotSupported, ShapeError

SHAPES = [(2, 1), (7, 3), (33, 6), (64, 16), (100, 37), (513, 64), (1100, 5)]  # rows, channels; ragged against pieces and vectors
EPSILON = 1e-3


def every(op):
    return pytest.mark.parametrize("version, storage", versions(op), ids=lambda v: v)


def accumulator(storage):
    return np.dtype(np.float64 if storage == "float64" else np.float32)


def problem(rows, channels, relu=0, of_batch=1, accumulate=0, accumulate_residual=0, momentum=0.25):
    return (rows, channels, relu, of_batch, accumulate, accumulate_residual, EPSILON, momentum)


def statistics(channels, storage):
    """mean and variance, in the accumulator type."""
    mean, variance = normal((channels,), "float64", 8), rng(9).random(channels) + 0.5
    return mean.astype(accumulator(storage)), variance.astype(accumulator(storage))


def tolerance(storage, terms=1):
    return 4 * EPS["float64" if storage == "float64" else "float32"] * np.sqrt(terms)


def assert_near(actual, expected, storage, scale, terms=1):
    """|error| <= 4 u sqrt(K) scale + one rounding to the storage type."""
    error = np.abs(np.asarray(actual).astype(np.float64) - expected)
    assert (error <= tolerance(storage, terms) * scale + EPS[storage] * np.abs(expected)).all(), error.max()


@every("batch_norm_statistics")
def test_statistics(version, storage):
    A = accumulator(storage)
    for rows, channels in SHAPES:
        x = (normal((rows, channels), "float64") * 3 + np.arange(channels)).astype(DTYPES[storage])
        mean, variance = np.empty(channels, A), np.empty(channels, A)
        running = [np.full(channels, 2, A), np.full(channels, 5, A)]
        run("batch_norm_statistics", version, problem(rows, channels), storage, x, mean, variance, *running)
        exact = x.astype(np.float64)
        scale = np.sqrt((exact**2).mean(0))
        wide = "float64" if storage == "float64" else "float32"
        assert_near(mean, exact.mean(0), wide, scale, rows)
        assert_near(variance, exact.var(0), wide, exact.var(0) + scale**2 * 2**-10, rows)
        assert_near(running[0], 0.75 * 2 + 0.25 * exact.mean(0), wide, scale + 2, rows)
        assert_near(running[1], 0.75 * 5 + 0.25 * exact.var(0, ddof=1), wide, exact.var(0, ddof=1) + 5 + scale**2 * 2**-10, rows)
        again = np.empty(channels, A), np.empty(channels, A)
        run("batch_norm_statistics", version, problem(rows, channels), storage, x, *again, None, None)
        assert bits(again[0]) == bits(mean) and bits(again[1]) == bits(variance)


@pytest.mark.parametrize("version, storage", [v for v in versions("batch_norm_statistics") if v[1] in ("float32", "float64")])
def test_variance_of_values_far_from_zero(version, storage):
    """The mean is 1000 deviations away: sum of squares minus squared sum would keep no digit."""
    A, x = accumulator(storage), (1000 + normal((640, 8), "float64")).astype(DTYPES[storage])
    mean, variance = np.empty(8, A), np.empty(8, A)
    run("batch_norm_statistics", version, problem(640, 8), storage, x, mean, variance, None, None)
    assert np.allclose(variance, x.astype(np.float64).var(0), rtol=1e-3)


@every("batch_norm_statistics")
def test_statistics_of_constant_and_nan_channels(version, storage):
    A, x = accumulator(storage), np.full((70, 5), 3.0).astype(DTYPES[storage])
    x[40, 1], x[41, 2] = np.nan, np.inf
    mean, variance = np.empty(5, A), np.empty(5, A)
    run("batch_norm_statistics", version, problem(70, 5), storage, x, mean, variance, None, None)
    assert (mean[[0, 3, 4]] == 3).all() and (variance[[0, 3, 4]] == 0).all()
    assert np.isnan(mean[1]) and np.isnan(variance[1:3]).all() and not np.isfinite(mean[2])


@every("batch_norm_forward")
def test_forward(version, storage):
    for (rows, channels), relu, affine, shortcut in itertools.product([*SHAPES, (0, 3)], (0, 1), (0, 1), (0, 1)):
        x, y = normal((rows, channels), storage), np.empty((rows, channels), DTYPES[storage])
        mean, variance = statistics(channels, storage)
        weight, bias = (normal((channels,), storage, 2), normal((channels,), storage, 3)) if affine else (None, None)
        residual = normal((rows, channels), storage, 4) if shortcut else None
        run("batch_norm_forward", version, problem(rows, channels, relu), storage, x, mean, variance, weight, bias, residual, y)
        numbers = [default if a is None else a.astype(np.float64) for a, default in ((weight, 1.0), (bias, 0.0), (residual, 0.0))]
        expected = reference.batch_norm(x, mean.astype(np.float64), variance, *numbers[:2], EPSILON, numbers[2], relu)
        scale = (np.abs(x.astype(np.float64)) + np.abs(mean)) / np.sqrt(variance + EPSILON) * np.abs(numbers[0])
        assert_near(y, expected, storage, scale + np.abs(numbers[1]) + np.abs(numbers[2]), 4)


@every("batch_norm_forward")
def test_nan_passes_relu(version, storage):
    x = np.array([[np.nan, 1], [-1, np.inf]], DTYPES[storage])
    y, zero, one = np.empty_like(x), np.zeros(2, accumulator(storage)), np.ones(2, accumulator(storage))
    run("batch_norm_forward", version, problem(2, 2, 1), storage, x, zero, one, None, None, None, y)
    y = y.astype(np.float64)
    assert np.isnan(y[0, 0]) and y[1, 0] == 0 and y[1, 1] == np.inf


@every("batch_norm_backward_sums")
def test_backward_sums(version, storage):
    A = accumulator(storage)
    for (rows, channels), relu in itertools.product([*SHAPES, (0, 3)], (0, 1)):
        dy, x, y = (normal((rows, channels), storage, seed) for seed in (1, 2, 3))
        mean, variance = statistics(channels, storage)
        dweight, dbias = np.empty(channels, A), np.empty(channels, A)
        run("batch_norm_backward_sums", version if rows else "plain", problem(rows, channels, relu), storage, dy, x,
            y if relu else None, mean, variance, dweight, dbias)  # fmt: skip
        masked = np.where(y.astype(np.float64) > 0, dy.astype(np.float64), 0) if relu else dy.astype(np.float64)
        xhat = (x.astype(np.float64) - mean) / np.sqrt(variance.astype(np.float64) + EPSILON)
        wide = "float64" if storage == "float64" else "float32"
        assert_near(dbias, masked.sum(0), wide, np.sqrt((masked**2).sum(0)), rows + 4)
        assert_near(dweight, (masked * xhat).sum(0), wide, np.sqrt(((masked * xhat) ** 2).sum(0)), rows + 4)


@every("batch_norm_backward_sums")
def test_sums_of_small_integers_are_exact(version, storage):
    A = accumulator(storage)
    for rows, channels in SHAPES:
        dy, x = integers((rows, channels), storage, 1), integers((rows, channels), storage, 2)
        dweight, dbias, mean, variance = np.empty(channels, A), np.empty(channels, A), np.ones(channels, A), np.ones(channels, A)
        fields = (*problem(rows, channels)[:6], 3.0, 0.0)  # 1 / sqrt(1 + 3) = 1/2
        run("batch_norm_backward_sums", version, fields, storage, dy, x, None, mean, variance, dweight, dbias)
        exact = dy.astype(np.float64), x.astype(np.float64)
        assert np.array_equal(dbias, exact[0].sum(0)) and np.array_equal(dweight, (exact[0] * (exact[1] - 1)).sum(0) / 2)


@every("batch_norm_backward")
def test_backward(version, storage):
    A = accumulator(storage)
    for (rows, channels), relu, of_batch, accumulate in itertools.product([*SHAPES, (0, 3)], (0, 1), (0, 1), (0, 1)):
        dy, x, y, weight = (normal(s, storage, i) for i, s in enumerate([(rows, channels)] * 3 + [(channels,)]))
        mean, variance = statistics(channels, storage)
        masked = np.where(y.astype(np.float64) > 0, dy.astype(np.float64), 0) if relu else dy.astype(np.float64)
        expected, dweight, dbias = reference.batch_norm_backward(
            masked, x, mean.astype(np.float64), variance.astype(np.float64), weight.astype(np.float64), EPSILON, of_batch
        )
        dx, dresidual = normal((rows, channels), storage, 5), normal((rows, channels), storage, 6)
        old = dx.astype(np.float64), dresidual.astype(np.float64)
        sums = (dweight.astype(A), dbias.astype(A)) if of_batch else (None, None)
        run("batch_norm_backward", version, problem(rows, channels, relu, of_batch, accumulate, 1 - accumulate), storage, dy, x,
            y if relu else None, mean, variance, weight, *sums, dx, dresidual)  # fmt: skip
        scale = np.abs(weight.astype(np.float64)) / np.sqrt(variance + EPSILON) * 20 + np.abs(old[0])
        assert_near(dx, expected + accumulate * old[0], storage, scale, 8)
        assert_near(dresidual, masked + (1 - accumulate) * old[1], storage, np.abs(old[1]) + 1)


def test_threads_do_not_change_bits():
    if DEVICE != "cpu":
        pytest.skip("thread counts and orders belong to the CPU")
    module, results = backends.cpu().module, {}
    try:
        for threads, order in ((1, "forward"), (2, "forward"), (3, "reverse"), (2, "random")):
            module.set_num_threads(threads)
            module.set_thread_order(order, 7)
            for version in ({"*_statistics": "plain", "batch_norm_*ward": "plain", "*_sums": "plain"}, {}):
                with pycnn.kernels(**version):
                    arrays = normal((5, 37, 9, 11)), normal((37,), seed=1), normal((37,), seed=2)
                    x, weight, bias = (Tensor(a, requires_grad=True) for a in arrays)
                    y = ops.batch_norm(x, None, None, weight, bias, training=True)
                    y.backward(Tensor(normal(y.shape, seed=4)))
                outputs = b"".join(bits(t.numpy()) for t in (y, x.grad, weight.grad, bias.grad))
                results.setdefault(bool(version), set()).add(outputs)
    finally:
        module.set_thread_order("forward")
        module.set_num_threads(2)
    assert [len(outputs) for outputs in results.values()] == [1, 1]


@pytest.mark.parametrize("shape, layout", [((3, 4, 2, 3), "image"), ((3, 4, 2, 3), "plain"), ((6, 4), "plain")])
def test_gradients(shape, layout):
    x, weight, bias = (
        Tensor(normal(s, "float64", i), requires_grad=True, layout=p)
        for i, (s, p) in enumerate(((shape, layout), ((4,), "plain"), ((4,), "plain")))
    )
    running = Tensor(normal((4,), "float64", 5)), Tensor(rng(6).random(4) + 0.5)
    assert pycnn.gradcheck(lambda *t: ops.batch_norm(t[0], None, None, *t[1:], training=True), (x, weight, bias))
    assert pycnn.gradcheck(lambda *t: ops.batch_norm(t[0], *running, *t[1:]), (x, weight, bias))
    assert pycnn.gradcheck(lambda t: ops.batch_norm(t, None, None, training=True), (x,))


def test_only_what_is_needed_gets_a_gradient():
    for needs in itertools.product((False, True), repeat=3):
        if any(needs):
            arrays = normal((4, 3, 2, 2)), normal((3,), seed=1), normal((3,), seed=2)
            inputs = [Tensor(a, requires_grad=needed) for a, needed in zip(arrays, needs, strict=True)]
            ops.batch_norm(inputs[0], None, None, *inputs[1:], training=True).backward(Tensor(normal((4, 3, 2, 2))))
            assert [t.grad is not None for t in inputs] == list(needs)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_16_bit_inputs_keep_float32_statistics(storage):
    x, weight, bias = (Tensor(normal(s, storage, i), requires_grad=True) for i, s in enumerate(((4, 3, 5, 5), (3,), (3,))))
    running = Tensor(np.zeros(3, np.float32)), Tensor(np.ones(3, np.float32))
    y = ops.batch_norm(x, *running, weight, bias, training=True)
    y.backward(Tensor(normal(y.shape, storage, 3)))
    assert y.dtype == x.grad.dtype == weight.grad.dtype == bias.grad.dtype == DTYPES[storage]
    mean = x.numpy().astype(np.float64).mean((0, 2, 3))
    assert np.allclose(running[0].numpy(), 0.1 * mean, atol=1e-6)


def vector(n, dtype=np.float32):
    return Tensor(np.ones(n, dtype))


BAD = [
    ((1, 3, 1, 1), dict(training=True), ShapeError, r"more than 1 value per channel when training, got .* \(1, 3, 1, 1\)"),
    ((0, 3, 2, 2), dict(training=True), ShapeError, "expected more than 1 value per channel"),
    ((2, 3, 2, 2), dict(training=True, weight=vector(4)), ShapeError, r"weight has shape \(4,\), must be \(3,\)"),
    ((2, 3, 2, 2), dict(training=True, bias=vector(2)), ShapeError, r"bias has shape \(2,\), must be \(3,\)"),
    ((2, 3, 2, 2), dict(running_mean=vector(4), running_var=vector(4)), ShapeError, r"running_mean has shape \(4,\)"),
    ((2, 3, 2, 2), dict(running_mean=vector(3), running_var=vector(2)), ShapeError, r"running_var has shape \(2,\)"),
    ((2, 3, 2, 2), dict(running_mean=vector(3)), ValueError, "both be given or both be None"),
    ((2, 3, 2, 2), dict(), ValueError, "needed when training=False"),
    ((2, 3, 2, 2), dict(training=True, eps=-1), ValueError, "eps must not be negative, got -1"),
    ((2, 3, 2, 2), dict(training=True, weight=vector(3, np.float64)), DTypeError, "weight is float64, must be float32"),
    ((2, 3, 2), dict(training=True), ShapeError, r"must be \(N, C, H, W\) or \(N, C\), got shape \(2, 3, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize("shape, options, error, message", BAD)
def test_bad_input(shape, options, error, message):
    with pytest.raises(error, match=message):
        ops.batch_norm(Tensor(np.zeros(shape, np.float32)), **{"running_mean": None, "running_var": None, **options})


def test_refused_versions_say_why():
    x, out = np.zeros((0, 3), np.float32), np.empty(3, np.float32)
    with pytest.raises(NotSupported, match="no rows to cut"):
        run("batch_norm_backward_sums", "split_rows", problem(0, 3), "float32", x, x, None, out, out, out.copy(), out.copy())


def test_agrees_with_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the stored comparison ran)")
    for shape, training in itertools.product(((4, 5, 6, 7), (9, 5)), (True, False)):
        arrays = [normal(shape), normal((5,), seed=1), normal((5,), seed=2)]
        running = normal((5,), seed=3), (rng(4).random(5) + 0.5).astype(np.float32)
        theirs, mine = [torch.tensor(a, requires_grad=True) for a in arrays], [Tensor(a, requires_grad=True) for a in arrays]
        their_running, my_running = [torch.tensor(r) for r in running], [Tensor(r.copy()) for r in running]
        y = torch.nn.functional.batch_norm(theirs[0], *their_running, *theirs[1:], training, 0.3)
        ours = ops.batch_norm(mine[0], *my_running, *mine[1:], training, 0.3)
        dy = normal(shape, seed=5)
        y.backward(torch.tensor(dy))
        ours.backward(Tensor(dy))
        pairs = [(ours, y.detach()), *zip(my_running, their_running, strict=True)]
        pairs += [(m.grad, t.grad) for m, t in zip(mine, theirs, strict=True)]
        for m, t in pairs:
            assert np.allclose(m.numpy(), t.numpy(), rtol=1e-5, atol=1e-5)
