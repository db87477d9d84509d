"""Adaptive pooling and max_unpool2d: all versions and types against tests/reference.py, random geometries against PyTorch."""

import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, assert_close, assert_same_bits_in_any_order, bits, integers, normal, run, versions
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.errors import DTypeError, NotSupported, ShapeError

SHAPES = [  # N, H, W, C, P, Q
    (2, 7, 11, 3, 3, 4), (2, 8, 8, 16, 4, 2), (1, 5, 3, 37, 7, 5), (3, 6, 9, 8, 1, 1), (2, 1, 1, 6, 2, 3), (0, 4, 4, 5, 2, 2),
    (1, 2, 90, 5, 2, 41), (2, 13, 6, 1, 13, 6),
]  # fmt: skip


def every(op):
    return pytest.mark.parametrize("version, storage", versions(op), ids=lambda v: v)


def arrays_for(sh, storage, seed=0):
    """An image and an upstream gradient of small integers."""
    N, H, W, C, P, Q = sh
    return integers((N, H, W, C), storage, seed), integers((N, P, Q, C), storage, seed + 1)


@every("adaptive_avg_pool2d_forward")
def test_avg_forward(version, storage):
    for sh in SHAPES:
        x, y = arrays_for(sh, storage)
        run("adaptive_avg_pool2d_forward", version, (*sh, 0), storage, x, y)
        rounded = reference.adaptive_avg_pool2d(x, sh[4:]).astype(np.float64 if storage == "float64" else np.float32)
        assert bits(y + 0) == bits(rounded.astype(y.dtype) + 0), sh


@every("adaptive_avg_pool2d_backward")
def test_avg_backward(version, storage):
    for sh, accumulate in itertools.product(SHAPES, (0, 1)):
        dx, dy = arrays_for(sh, storage)
        before = dx.astype(np.float64)
        expected = reference.adaptive_avg_pool2d_backward(dy, sh[1:3])
        run("adaptive_avg_pool2d_backward", version, (*sh, accumulate), storage, dy, dx)
        squares = reference.adaptive_avg_pool2d_backward(dy.astype(np.float64) ** 2, sh[1:3]) + accumulate * before**2
        assert_close(dx, expected + accumulate * before, squares, 8, storage)


@every("adaptive_max_pool2d_forward")
def test_max_forward(version, storage):
    for sh in SHAPES:
        x, y = arrays_for(sh, storage)  # full of ties
        indices = np.empty(y.shape, np.int64)
        run("adaptive_max_pool2d_forward", version, (*sh, 0), storage, x, y, indices)
        expected, places = reference.adaptive_max_pool2d(x, sh[4:])
        assert bits(y) == bits(expected.astype(y.dtype)) and np.array_equal(indices, places), sh
        alone = np.empty_like(y)
        run("adaptive_max_pool2d_forward", version, (*sh, 0), storage, x, alone, None)
        assert bits(alone) == bits(y)


@every("adaptive_max_pool2d_forward")
def test_max_of_nan_and_infinity(version, storage):
    choices, odds = [np.nan, -np.inf, np.inf, 0.0, 1.0], [0.1, 0.6, 0.05, 0.15, 0.1]
    x = np.random.default_rng(0).choice(choices, (2, 9, 9, 7), p=odds)
    x[0, :4, :4], x[1, :4, :4] = np.nan, -np.inf
    x = x.astype(DTYPES[storage])
    y, indices = np.empty((2, 4, 4, 7), DTYPES[storage]), np.empty((2, 4, 4, 7), np.int64)
    run("adaptive_max_pool2d_forward", version, (2, 9, 9, 7, 4, 4, 0), storage, x, y, indices)
    expected, places = reference.adaptive_max_pool2d(x, (4, 4))
    assert np.array_equal(y.astype(np.float64), expected, equal_nan=True) and np.array_equal(indices, places)


@every("adaptive_max_pool2d_backward")
def test_max_backward(version, storage):
    for sh, accumulate in itertools.product(SHAPES, (0, 1)):
        dx, dy = arrays_for(sh, storage)
        _, places = reference.adaptive_max_pool2d(integers(dx.shape, storage, 7), sh[4:])
        expected = reference.at_places(dy, places, sh[1:3]) + accumulate * dx.astype(np.float64)
        overlap = sh[1] % sh[4] or sh[2] % sh[5]
        if version == "scatter" and dx.itemsize == 2 and overlap:
            with pytest.raises(NotSupported, match="overlap would be rounded to 16 bits each"):
                run("adaptive_max_pool2d_backward", version, (*sh, accumulate), storage, dy, places, dx)
            continue
        run("adaptive_max_pool2d_backward", version, (*sh, accumulate), storage, dy, places, dx)
        assert bits(dx + 0) == bits(expected.astype(dx.dtype) + 0), sh


UNPOOLED = [
    (2, 3, 4, 5, 6, 8),
    (1, 2, 2, 37, 5, 4),
    (3, 4, 3, 16, 3, 4),
    (0, 2, 2, 3, 4, 4),
    (2, 1, 1, 1, 1, 1),
    (1, 2, 60, 4, 4, 120),
]


def places_for(sh, seed=5):
    """Indices into an H x W image, many of them twice."""
    N, P, Q, C, H, W = sh
    return np.random.default_rng(seed).integers(0, H * W, (N, P, Q, C))


@every("max_unpool2d_forward")
def test_unpool_forward(version, storage):
    for sh in UNPOOLED:
        N, P, Q, C, H, W = sh
        x, places, y = integers((N, P, Q, C), storage), places_for(sh), normal((N, H, W, C), storage)
        run("max_unpool2d_forward", version, (*sh, 0), storage, x, places, y)
        assert bits(y) == bits(reference.max_unpool2d(x, places, (H, W)).astype(y.dtype)), sh


@pytest.mark.parametrize("version", [v for v, storage in versions("max_unpool2d_forward") if storage == "float32"])
def test_unpool_passes_over_what_lies_outside(version):
    x, y = np.ones((1, 2, 2, 3), np.float32), np.empty((1, 3, 3, 3), np.float32)
    places = np.array([-1, 9, 2**40, -(2**40)]).reshape(1, 2, 2, 1) + np.zeros((1, 2, 2, 3), np.int64)
    run("max_unpool2d_forward", version, (1, 2, 2, 3, 3, 3, 0), "float32", x, places, y)
    assert not y.any()


@every("max_unpool2d_backward")
def test_unpool_backward(version, storage):
    for sh, accumulate in itertools.product(UNPOOLED, (0, 1)):
        N, P, Q, C, H, W = sh
        dy, dx, places = integers((N, H, W, C), storage), integers((N, P, Q, C), storage, 1), places_for(sh)
        taken = np.take_along_axis(dy.reshape(N, H * W, C), places.reshape(N, P * Q, C), 1).reshape(dx.shape).astype(np.float64)
        expected = taken + accumulate * dx.astype(np.float64)
        run("max_unpool2d_backward", version, (*sh, accumulate), storage, dy, places, dx)
        assert bits(dx + 0) == bits(expected.astype(dx.dtype) + 0), sh


PASSES = [
    (f"{family}_{direction}", version)
    for family in ("adaptive_avg_pool2d", "adaptive_max_pool2d", "max_unpool2d")
    for direction in ("forward", "backward")
    for version, storage in versions(f"{family}_{direction}")
    if storage == "float32"
]


def one_pass(op, version, sources=lambda a: a):
    """Run an op between images of 9 x 10 and 4 x 5; returns what it has written. `sources` may replace an array by a slice."""
    large, small = sources(normal((2, 9, 10, 16))), sources(normal((2, 4, 5, 16), seed=1))
    places = np.random.default_rng(3).integers(0, 90, small.shape)
    unpool, backward = op.startswith("max_unpool"), op.endswith("backward")
    reads_large = unpool == backward
    source, target = (large, small) if reads_large else (small, large)
    problem = (2, 4, 5, 16, 9, 10, 0) if unpool else (2, 9, 10, 16, 4, 5, 0)
    if op == "adaptive_max_pool2d_forward":
        run(op, version, problem, "float32", source, target, places)
        return np.concatenate([np.array(target), places], dtype=np.float64)
    run(op, version, problem, "float32", *((source, target) if "avg" in op else (source, places, target)))
    return np.array(target)


@pytest.mark.parametrize("op, version", PASSES)
def test_slices_of_channels(op, version):
    """Images may be slices of wider ones; what lies beside them stays as it is."""
    if DEVICE != "cpu":
        pytest.skip("slices are made with NumPy")
    wide = []

    def sliced(array):
        wide.append(np.full((*array.shape[:3], 48), 7, np.float32))
        wide[-1][..., 16:32] = array
        return wide[-1][..., 16:32]

    assert bits(one_pass(op, version, sliced)) == bits(one_pass(op, version))
    assert all((array[..., :16] == 7).all() and (array[..., 32:] == 7).all() for array in wide)


@pytest.mark.parametrize("op, version", PASSES)
def test_threads_do_not_change_bits(op, version):
    if DEVICE != "cpu":
        pytest.skip("thread counts and orders belong to the CPU")
    assert_same_bits_in_any_order(lambda: one_pass(op, version))


@pytest.mark.parametrize("layout", ["image", "plain"])
def test_gradients(layout):
    distinct = np.random.default_rng(0).permutation(2 * 3 * 5 * 6).reshape(2, 3, 5, 6).astype(np.float64)
    for size in (1, (2, 4), (None, 7), 3):
        x = Tensor(distinct, requires_grad=True, layout=layout)
        assert pycnn.gradcheck(lambda x, s=size: ops.adaptive_avg_pool2d(x, s), (x,))
        assert pycnn.gradcheck(lambda x, s=size: ops.adaptive_max_pool2d(x, s), (x,))
    _, indices = ops.max_pool2d(Tensor(distinct, layout=layout), 2, return_indices=True)
    x = Tensor(distinct[:, :, :2, :3], requires_grad=True, layout=layout)
    assert pycnn.gradcheck(lambda x: ops.max_unpool2d(x, indices, 2, output_size=(5, 6)), (x,))


def test_large_half_averages_stay_finite():
    x = np.full((1, 1, 256, 256), 256, np.float16)
    assert ops.adaptive_avg_pool2d(Tensor(x), 1).item() == 256
    x[..., ::2, :] *= -1
    assert ops.adaptive_avg_pool2d(Tensor(x), 1).item() == 0


def test_unpooling_undoes_pooling():
    x = Tensor(integers((2, 5, 8, 10), low=1, high=9))
    pooled, indices = ops.max_pool2d(x, 2, return_indices=True)
    back = nn.MaxUnpool2d(2)(pooled, indices)
    assert np.array_equal(ops.max_pool2d(back, 2).numpy(), pooled.numpy())
    assert np.array_equal(back.numpy()[back.numpy() != 0], x.numpy()[back.numpy() != 0])
    assert nn.MaxUnpool2d(2)(pooled, indices, output_size=(2, 5, 9, 11)).shape == (2, 5, 9, 11)


def test_layers():
    x = Tensor(normal((2, 3, 7, 9)))
    assert nn.AdaptiveAvgPool2d((None, 2))(x).shape == (2, 3, 7, 2)
    y, indices = nn.AdaptiveMaxPool2d(3, return_indices=True)(x)
    assert np.array_equal(
        np.take_along_axis(x.numpy().reshape(2, 3, 63), indices.numpy().reshape(2, 3, 9), 2), y.numpy().reshape(2, 3, 9)
    )
    assert "output_size=3" in repr(nn.AdaptiveMaxPool2d(3)) and "kernel_size=2, stride=2" in repr(nn.MaxUnpool2d(2))


def zeros(*shape, dtype=np.float32):
    return Tensor(np.zeros(shape, dtype))


BAD = [
    (lambda: ops.adaptive_avg_pool2d(zeros(1, 2, 4, 4), 0), ValueError, "output_size must be at least 1 along each axis, got 0"),
    (lambda: ops.adaptive_avg_pool2d(zeros(1, 2, 4, 4), (1, 2, 3)), ValueError, r"one integer or None, or two, got \(1, 2, 3\)"),
    (lambda: ops.adaptive_max_pool2d(zeros(1, 2, 4, 4), 2.5), ValueError, "one integer or None, or two, got 2.5"),
    (lambda: ops.adaptive_max_pool2d(zeros(4, 4), 2), ShapeError, r"4 axes \(N, C, H, W\)"),
    (lambda: ops.adaptive_avg_pool2d(zeros(1, 2, 0, 4), 2), ShapeError, "only N may be empty"),
    (lambda: ops.max_unpool2d(zeros(1, 2, 4, 4), zeros(1, 2, 4, 3, dtype=np.int64), 2), ShapeError, "must have the input's"),
    (lambda: ops.max_unpool2d(zeros(1, 2, 4, 4), zeros(1, 2, 4, 4), 2), DTypeError, "indices must be int64, got float32"),
    (lambda: ops.max_unpool2d(zeros(1, 2, 4, 4), zeros(1, 2, 4, 4, dtype=np.int64), 2, 0), ValueError, "stride must be at least"),
    (lambda: ops.max_unpool2d(zeros(1, 2, 4, 4), zeros(1, 2, 4, 4, dtype=np.int64), 2, output_size=(8, 10)), ValueError,
     r"width 10; .* must be between 7 and 9"),
    (lambda: ops.max_unpool2d(zeros(1, 2, 4, 4), zeros(1, 2, 4, 4, dtype=np.int64), 2, output_size=(8, 8, 8)), ValueError,
     r"\(H, W\) or \(N, C, H, W\)"),
    (lambda: ops.max_unpool2d(zeros(1, 2, 1, 1), zeros(1, 2, 1, 1, dtype=np.int64), 2, 2, 1), ShapeError, "would be 0 x 0"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, message", BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("index", [-1, 64, 2**33])
def test_an_index_out_of_range_is_named(index):
    indices = np.zeros((2, 3, 4, 4), np.int64)
    indices[1, 2, 3, 0] = index
    with pytest.raises(ShapeError, match=rf"indices\[1, 2, 3, 0\] is {index}, but an output of 8 x 8 has the places 0 to 63"):
        ops.max_unpool2d(zeros(2, 3, 4, 4), Tensor(indices), 2)


sizes = st.integers(1, 12)


@st.composite
def windows(draw):
    """Arguments of max_pool2d for an image it admits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)  # PyTorch's backward pass takes no more
    size = tuple(draw(st.integers(max(1, r - 2 * p), 14)) for r, p in zip(reach, padding, strict=True))
    return size, kernel, draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), padding, dilation, draw(st.booleans())


def image(size, seed):
    """Ties, NaN and infinities."""
    values = np.random.default_rng(seed).choice(
        [-np.inf, np.nan, np.inf, -1, 0, 1, 2], (2, 3, *size), p=[0.3, 0.02, 0.02] + [0.165] * 4
    )
    return values.astype(np.float32)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(windows(), st.integers(0, 2**31), st.booleans())
def test_windows_agree_with_torch(window, seed, include):
    """ceil_mode's last window, the divisor of padding, ties, NaN, windows of -inf: values, places and gradients are PyTorch's."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the stored comparison ran)")
    size, kernel, stride, padding, dilation, ceil_mode = window
    x = image(size, seed)
    theirs, mine = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    y, places = torch.nn.functional.max_pool2d(theirs, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    ours, ours_places = ops.max_pool2d(mine, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    np.testing.assert_array_equal(ours.numpy(), y.detach().numpy())
    starts = [np.arange(n)[:, None] * s - pad for n, s, pad in zip(y.shape[2:], stride, padding, strict=True)]
    taps = [start + d * np.arange(k) for start, d, k in zip(starts, dilation, kernel, strict=True)]
    rows, columns = (((0 <= at) & (at < n)).any(1) for at, n in zip(taps, size, strict=True))
    met = rows[:, None] & columns  # dilation leads other windows past the image; PyTorch names a place there, and we -1
    np.testing.assert_array_equal(ours_places.numpy(), np.where(met, places.numpy(), -1))
    if met.all():
        dy = integers(tuple(y.shape), seed=seed)
        y.backward(torch.tensor(dy))
        ours.backward(Tensor(dy))
        np.testing.assert_array_equal(mine.grad.numpy(), theirs.grad.numpy())
    if max(dilation) == 1:
        x = integers((2, 3, *size), seed=seed)
        theirs, mine = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
        y = torch.nn.functional.avg_pool2d(theirs, kernel, stride, padding, ceil_mode, include)
        ours = ops.avg_pool2d(mine, kernel, stride, padding, ceil_mode, include)
        np.testing.assert_array_equal(ours.numpy(), y.detach().numpy())
        dy = integers(tuple(y.shape), seed=seed)
        y.backward(torch.tensor(dy))
        ours.backward(Tensor(dy))
        np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), atol=1e-5)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.integers(0, 2**31))
def test_adaptive_agrees_with_torch(size, output_size, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the stored comparison ran)")
    x = image(size, seed)
    theirs, mine = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    y, places = torch.nn.functional.adaptive_max_pool2d(theirs, output_size, return_indices=True)
    ours, ours_places = ops.adaptive_max_pool2d(mine, output_size, return_indices=True)
    np.testing.assert_array_equal(ours.numpy(), y.detach().numpy())
    np.testing.assert_array_equal(ours_places.numpy(), places.numpy())
    dy = integers(tuple(y.shape), seed=seed)
    y.backward(torch.tensor(dy))
    ours.backward(Tensor(dy))
    np.testing.assert_array_equal(mine.grad.numpy(), theirs.grad.numpy())
    x = integers((2, 3, *size), seed=seed)
    theirs, mine = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    y, ours = torch.nn.functional.adaptive_avg_pool2d(theirs, output_size), ops.adaptive_avg_pool2d(mine, output_size)
    np.testing.assert_allclose(ours.numpy(), y.detach().numpy(), rtol=3e-7)
    y.backward(torch.tensor(dy))
    ours.backward(Tensor(dy))
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), atol=1e-5)
