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
        assert_near(mean, exact.mean(0) - exact[0], wide, scale + np.abs(exact[0]), rows)
        assert_near(variance, exact.var(0), wide, exact.var(0) + scale**2 * 2**-10, rows)
        assert_near(running[0], 0.75 * 2 + 0.25 * exact.mean(0), wide, scale + 2, rows)
        assert_near(running[1], 0.75 * 5 + 0.25 * exact.var(0, ddof=1), wide, exact.var(0, ddof=1) + 5 + scale**2 * 2**-10, rows)
        again = np.empty(channels, A), np.empty(channels, A)
        run("batch_norm_statistics", version, problem(rows, channels), storage, x, *again, None, None)
        assert bits(again[0]) == bits(mean) and bits(again[1]) == bits(variance)


@pytest.mark.parametrize("version, storage", [v for v in versions("batch_norm_statistics") if v[1] == "float32"])
@pytest.mark.parametrize("first", ["like the others", "0"])
@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5, 1e6])
def test_statistics_of_values_far_from_zero(version, storage, first, offset):
    """Sum of squares minus squared sum would keep no digit, and a mean of absolute values too few. The sums are of differences
    from a first row; where that one is far away, it dominates the variance."""
    A, rows = accumulator(storage), 2000
    x = (offset + normal((rows, 8), "float64") * np.geomspace(1e-3, 1, 8)).astype(DTYPES[storage])
    if first == "0":
        x[0] = 0
    mean, variance, running = np.empty(8, A), np.empty(8, A), [np.zeros(8, A), np.zeros(8, A)]
    fields = (*problem(rows, 8)[:7], 1.0)
    run("batch_norm_statistics", version, fields, storage, x, mean, variance, *running)
    exact = x.astype(np.float64)
    distances = exact - exact[0]
    assert_near(mean, distances.mean(0), storage, np.sqrt((distances**2).mean(0)), rows)
    squares = (distances[:32] ** 2).sum(0) / rows + exact.var(0)  # what is summed: of the first 32 rows about the first of all
    assert_near(variance, exact.var(0), storage, squares, rows)
    assert_near(running[0], exact.mean(0), storage, np.sqrt((distances**2).mean(0)), rows)
    assert_near(running[1], exact.var(0, ddof=1), storage, squares, rows)


@pytest.mark.parametrize(
    "names", [("plain", "plain", "plain", "plain"), ("split_rows", "vectorized", "split_rows", "vectorized")]
)
@pytest.mark.parametrize("relu", [False, True])
def test_channels_far_from_zero_keep_their_digits(names, relu):
    """The whole op forward and backward, mean 10,000 and deviation 0.01: as exact as around zero."""
    x = (1e4 + 1e-2 * normal((4, 6, 9, 11), "float64")).astype(np.float32)
    weight, bias, dy = normal((6,), seed=1), normal((6,), seed=2), normal(x.shape, seed=3)
    ops_of = ("batch_norm_statistics", "batch_norm_forward", "batch_norm_backward_sums", "batch_norm_backward")
    with pycnn.kernels(**dict(zip(ops_of, names, strict=True))):
        bn = pycnn.nn.BatchNorm2d(6)
        bn.weight.data[...], bn.bias.data[...] = weight, bias
        one = pycnn.nn.Conv2d(6, 6, 1, bias=False)
        one.weight.data[...] = np.eye(6).reshape(6, 1, 1, 6)
        t = Tensor(x, requires_grad=True, layout="image")
        y = ops.conv_bn(one, bn, t, relu=relu)
        y.backward(Tensor(dy))
    rows, dy = (a.transpose(0, 2, 3, 1).reshape(-1, 6).astype(np.float64) for a in (x, dy))
    mean, variance, wide = rows.mean(0), rows.var(0), (weight.astype(np.float64), bias.astype(np.float64))
    expected = reference.batch_norm(rows, mean, variance, *wide, 1e-5, 0.0, relu)
    xhat = np.abs(rows - mean) / np.sqrt(variance)
    y = y.numpy().transpose(0, 2, 3, 1).reshape(-1, 6)
    assert_near(y, expected, "float32", np.abs(wide[0]) * (xhat + 1) + np.abs(wide[1]), 4)
    masked = np.where(y > 0, dy, 0) if relu else dy
    dx, dweight, _ = reference.batch_norm_backward(masked, rows, mean, variance, wide[0], 1e-5)
    got = t.grad.numpy().transpose(0, 2, 3, 1).reshape(-1, 6)
    assert_near(got, dx, "float32", np.abs(wide[0]) / np.sqrt(variance) * (np.abs(dy) + xhat + 1), 4)
    assert_near(bn.weight.grad.numpy(), dweight, "float32", np.sqrt(((masked * xhat) ** 2).sum(0)), len(rows))


@every("batch_norm_statistics")
def test_statistics_of_constant_and_nan_channels(version, storage):
    A, x = accumulator(storage), np.full((70, 5), 3.0).astype(DTYPES[storage])
    x[40, 1], x[41, 2] = np.nan, np.inf
    mean, variance = np.empty(5, A), np.empty(5, A)
    run("batch_norm_statistics", version, problem(70, 5), storage, x, mean, variance, None, None)
    assert (mean[[0, 3, 4]] == 0).all() and (variance[[0, 3, 4]] == 0).all()
    assert np.isnan(mean[1]) and np.isnan(variance[1:3]).all() and not np.isfinite(mean[2])


@every("batch_norm_forward")
def test_forward(version, storage):
    for (rows, channels), relu, affine, shortcut in itertools.product([*SHAPES, (0, 3)], (0, 1), (0, 1), (0, 1)):
        of_batch = relu
        x, y = normal((rows, channels), storage), np.empty((rows, channels), DTYPES[storage])
        mean, variance = statistics(channels, storage)
        weight, bias = (normal((channels,), storage, 2), normal((channels,), storage, 3)) if affine else (None, None)
        residual = normal((rows, channels), storage, 4) if shortcut else None
        fields = problem(rows, channels, relu, of_batch)
        run("batch_norm_forward", version, fields, storage, x, mean, variance, weight, bias, residual, y)
        origin = x[:1].astype(np.float64).sum(0) * of_batch
        mean = mean.astype(np.float64) + origin
        numbers = [default if a is None else a.astype(np.float64) for a, default in ((weight, 1.0), (bias, 0.0), (residual, 0.0))]
        expected = reference.batch_norm(x, mean, variance, *numbers[:2], EPSILON, numbers[2], relu)
        scale = (
            (np.abs(x.astype(np.float64)) + np.abs(origin) + np.abs(mean - origin))
            / np.sqrt(variance + EPSILON)
            * np.abs(numbers[0])
        )
        assert_near(y, expected, storage, scale + np.abs(numbers[1]) + np.abs(numbers[2]), 4)


@every("batch_norm_forward")
def test_nan_passes_relu(version, storage):
    x = np.array([[np.nan, 1], [-1, np.inf]], DTYPES[storage])
    y, zero, one = np.empty_like(x), np.zeros(2, accumulator(storage)), np.ones(2, accumulator(storage))
    run("batch_norm_forward", version, problem(2, 2, 1, 0), storage, x, zero, one, None, None, None, y)
    y = y.astype(np.float64)
    assert np.isnan(y[0, 0]) and y[1, 0] == 0 and y[1, 1] == np.inf


def masked_gradient(dy, x, y, mean, variance, weight, bias):
    """dy where relu(batch norm) let it through: where y is positive, computed again from x if it is None."""
    if y is None:
        y = reference.batch_norm(x, mean, variance, weight, bias, EPSILON)
        assert (np.abs(y) > 1e-4).all()  # no rounding decides
    return np.where(y.astype(np.float64) > 0, dy.astype(np.float64), 0)


def backward_inputs(rows, channels, storage, mode, of_batch):
    """Arrays of a backward pass (dy, x, y, mean, variance, weight, bias), the masked gradient, and the mean itself, in fp64.
    `mode`: 0 no ReLU, 1 y is given, 2 y is computed again."""
    dy, x, y = (normal((rows, channels), storage, seed) for seed in (1, 2, 3))
    mean, variance = statistics(channels, storage)
    weight, bias = normal((channels,), storage, 4), normal((channels,), storage, 5)
    origin = x[:1].astype(np.float64).sum(0) if of_batch else 0.0
    wide = mean.astype(np.float64) + origin, variance.astype(np.float64), weight.astype(np.float64), bias.astype(np.float64)
    if mode == 2:  # keep away from where ReLU switches
        value = reference.batch_norm(x, *wide, EPSILON)
        x[1:] = np.where(
            np.abs(value[1:]) < 0.05, x[1:] + DTYPES[storage].type(0.5) / (np.abs(weight) + DTYPES[storage].type(1)), x[1:]
        )
    y = y if mode == 1 else None
    masked = masked_gradient(dy, x, y, *wide) if mode else dy.astype(np.float64)
    return (dy, x, y, mean, variance, weight, bias), masked, wide


@every("batch_norm_backward_sums")
def test_backward_sums(version, storage):
    A = accumulator(storage)
    for (rows, channels), mode, of_batch in itertools.product([*SHAPES, (0, 3)], (0, 1, 2), (0, 1)):
        arrays, masked, (mean, variance, _, _) = backward_inputs(rows, channels, storage, mode, of_batch)
        dweight, dbias = np.empty(channels, A), np.empty(channels, A)
        fields = problem(rows, channels, int(mode > 0), of_batch)
        run("batch_norm_backward_sums", version if rows else "plain", fields, storage, *arrays, dweight, dbias)
        xhat = (arrays[1].astype(np.float64) - mean) / np.sqrt(variance + EPSILON)
        wide = "float64" if storage == "float64" else "float32"
        assert_near(dbias, masked.sum(0), wide, np.sqrt((masked**2).sum(0)), rows + 4)
        assert_near(dweight, (masked * xhat).sum(0), wide, np.sqrt(((masked * (np.abs(xhat) + 1)) ** 2).sum(0)), rows + 4)


@every("batch_norm_backward_sums")
def test_sums_of_small_integers_are_exact(version, storage):
    A = accumulator(storage)
    for (rows, channels), of_batch in itertools.product(SHAPES, (0, 1)):
        dy, x = integers((rows, channels), storage, 1), integers((rows, channels), storage, 2)
        dweight, dbias, mean, variance = np.empty(channels, A), np.empty(channels, A), np.ones(channels, A), np.ones(channels, A)
        fields = (rows, channels, 0, of_batch, 0, 0, 3.0, 0.0)  # 1 / sqrt(1 + 3) = 1/2
        run("batch_norm_backward_sums", version, fields, storage, dy, x, None, mean, variance, None, None, dweight, dbias)
        exact = dy.astype(np.float64), x.astype(np.float64) - 1 - of_batch * x[0].astype(np.float64)
        assert np.array_equal(dbias, exact[0].sum(0)) and np.array_equal(dweight, (exact[0] * exact[1]).sum(0) / 2)


@every("batch_norm_backward")
def test_backward(version, storage):
    A = accumulator(storage)
    for (rows, channels), mode, of_batch, accumulate in itertools.product([*SHAPES, (0, 3)], (0, 1, 2), (0, 1), (0, 1)):
        arrays, masked, (mean, variance, weight, _) = backward_inputs(rows, channels, storage, mode, of_batch)
        expected, dweight, dbias = reference.batch_norm_backward(masked, arrays[1], mean, variance, weight, EPSILON, of_batch)
        dx, dresidual = normal((rows, channels), storage, 6), normal((rows, channels), storage, 7)
        old = dx.astype(np.float64), dresidual.astype(np.float64)
        sums = (dweight.astype(A), dbias.astype(A)) if of_batch else (None, None)
        fields = problem(rows, channels, int(mode > 0), of_batch, accumulate, 1 - accumulate)
        run("batch_norm_backward", version, fields, storage, *arrays, *sums, dx, dresidual)
        scale = np.abs(weight) / np.sqrt(variance + EPSILON) * 20 + np.abs(old[0])
        assert_near(dx, expected + accumulate * old[0], storage, scale, 8)
        assert_near(dresidual, masked + (1 - accumulate) * old[1], storage, np.abs(old[1]) + 1)


@every("batch_norm_forward")
def test_slices_of_channels(version, storage):
    """Every array of pixels may be a slice of a wider one: the results are those of whole arrays, and beside the slices nothing
    is touched. Slices start off and on 16 bytes."""
    A = accumulator(storage)
    split = {"plain": "plain", "vectorized": "split_rows"}[version]
    for start, channels, pitch in ((3, 5, 11), (16, 32, 64), (0, 7, 8)):
        rows, part = 70, np.s_[:, start : start + channels]
        mean, variance, dweight, dbias = (np.empty(channels, A) for _ in range(4))
        weight, bias = normal((channels,), storage, 1), normal((channels,), storage, 2)
        results = []
        for sliced in (False, True):
            x, residual, dy, y, dx, dresidual = (normal((rows, pitch), storage, seed) for seed in range(3, 9))
            before = [a.copy() for a in (y, dx, dresidual)]
            pixels = [a[part] if sliced else np.ascontiguousarray(a[part]) for a in (x, residual, dy, y, dx, dresidual)]
            fields = problem(rows, channels, 1, 1, 1, 1)
            run("batch_norm_statistics", split, fields, storage, pixels[0], mean, variance, None, None)
            channel = mean, variance, weight, bias
            run("batch_norm_forward", version, fields, storage, pixels[0], *channel, pixels[1], pixels[3])
            back = pixels[2], pixels[0], pixels[3], *channel
            run("batch_norm_backward_sums", split, fields, storage, *back, dweight, dbias)
            run("batch_norm_backward", version, fields, storage, *back, dweight, dbias, *pixels[4:])
            results.append([bits(a) for a in (mean, variance, dweight, dbias, *pixels[3:])])
        assert results[0] == results[1]
        for after, old in zip((y, dx, dresidual), before, strict=True):
            old[part] = after[part]
            assert bits(after) == bits(old)


def test_a_slice_of_channels_is_normalized_through_the_op():
    wide = np.asarray(normal((2, 5, 4, 9)))
    whole, part = Tensor(np.ascontiguousarray(wide[..., 2:6])), wide[..., 2:6]
    results = []
    for memory in (whole.data, part):
        x = Tensor.from_memory(memory, "image", requires_grad=True)
        y = ops.batch_norm(x, None, None, training=True)
        y.backward(Tensor(normal(y.shape, seed=1)))
        results.append(bits(y.numpy()) + bits(x.grad.numpy()))
    assert results[0] == results[1]


@every("batch_norm_fold")
def test_fold(version, storage):
    for (K, inner), affine in itertools.product([(1, 1), (5, 7), (33, 130), (0, 3), (3, 0)], (0, 1)):
        filters, (mean, variance) = normal((K, inner), storage), statistics(K, storage)
        own, weight, bias = (normal((K,), storage, seed) if affine else None for seed in (1, 2, 3))
        folded, folded_bias = np.empty((K, inner), DTYPES[storage]), np.empty(K, DTYPES[storage])
        run(
            "batch_norm_fold",
            version,
            (K, inner, EPSILON),
            storage,
            filters,
            own,
            mean,
            variance,
            weight,
            bias,
            folded,
            folded_bias,
        )
        own, weight, bias = (d if a is None else a.astype(np.float64) for a, d in ((own, 0.0), (weight, 1.0), (bias, 0.0)))
        scale = weight / np.sqrt(variance.astype(np.float64) + EPSILON) * np.ones(K)
        expected = filters.astype(np.float64) * scale[:, None]
        assert_near(folded, expected, storage, np.abs(expected))
        sizes = (np.abs(own) + np.abs(mean)) * np.abs(scale) + np.abs(bias)
        assert_near(folded_bias, (own - mean) * scale + bias, storage, sizes, 4)


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


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (4, 3, 0, 2), (0, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_empty_batch(shape, training):
    """As in PyTorch: nothing comes out, the running statistics stay, the gradients are zero."""
    x, weight, bias = (Tensor(np.ones(s, np.float32), requires_grad=True) for s in (shape, 3, 3))
    running = Tensor(np.full(3, 2, np.float32)), Tensor(np.full(3, 5, np.float32))
    y = ops.batch_norm(x, *running, weight, bias, training=training)
    y.backward(Tensor(np.ones(shape, np.float32)))
    assert y.shape == x.grad.shape == shape and not weight.grad.numpy().any() and not bias.grad.numpy().any()
    assert (running[0].numpy() == 2).all() and (running[1].numpy() == 5).all()


def test_running_statistics_may_move_before_backward():
    """What forward normalized with counts, as when a net is called in eval mode and trained before its backward."""
    x = Tensor(normal((4, 3)), requires_grad=True)
    running = Tensor(normal((3,), seed=1)), Tensor(np.ones(3, np.float32))
    gradients = []
    for move in (False, True):
        y = ops.batch_norm(x, *running, eps=0)
        if move:
            running[1].data[...] = 4
        x.zero_grad()
        y.backward(Tensor(np.ones((4, 3), np.float32)))
        gradients.append(x.grad.numpy().copy())
    assert (gradients[0] == 1).all() and (gradients[1] == 1).all()


def test_batch_norm_1d():
    bn = pycnn.nn.BatchNorm1d(5)
    x = normal((9, 5))
    assert np.allclose(bn(Tensor(x)).numpy(), reference.batch_norm(x, x.mean(0), x.var(0), 1.0, 0.0, 1e-5), atol=1e-5)
    assert sorted(bn.state_dict()) == ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"]
    with pytest.raises(ShapeError, match=r"takes \(N, num_features\), got shape \(2, 5, 3, 3\)"):
        bn(Tensor(normal((2, 5, 3, 3))))
    with pytest.raises(ShapeError, match=r"takes \(N, num_features, H, W\), got shape \(9, 5\)"):
        pycnn.nn.BatchNorm2d(5)(Tensor(x))


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
        arrays = (x, x, None, out, out, None, None, out.copy(), out.copy())
        run("batch_norm_backward_sums", "split_rows", problem(0, 3), "float32", *arrays)


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
