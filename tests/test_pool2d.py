"""max_pool2d and avg_pool2d: every version and storage type against tests/reference.py."""

import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, bits, integers, normal, run, versions
from reference import PoolShape

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn.errors import NotSupported, ShapeError

CHANNELS = (1, 3, 6, 16, 37)


def shapes(storage, dilations=(1, 2)):
    """Every kind of window on small ragged images, with other channels in turn; a part of them for types other than float32."""
    every = list(all_shapes(dilations))
    return every if storage == "float32" else every[::5] + every[-3:]


def all_shapes(dilations):
    channels = itertools.cycle(CHANNELS)
    for (R, S), stride, pad, dilation, ceil_mode in itertools.product(
        ((1, 1), (2, 2), (3, 3), (4, 2)), (1, 2, 3), (0, 1), dilations, (False, True)
    ):
        H, W = 9, 11
        if pad > min(R, S) // 2:
            continue
        P, Q = (reference.pooled_size(n, k, stride, pad, dilation, ceil_mode) for n, k in ((H, R), (W, S)))
        yield PoolShape(2, H, W, next(channels), R, S, P, Q, stride, stride, pad, pad, dilation, dilation)
    yield PoolShape(3, 7, 5, 6, 2, 3, 3, 5, 2, 1, 0, 1)
    yield PoolShape(0, 8, 8, 3, 2, 2, 4, 4, 2, 2)
    yield PoolShape(1, 2, 100, 5, 2, 2, 1, 50, 2, 2)  # a row longer than one thread's run


def maximum(problem):
    """The fields max_pool2d takes."""
    return tuple(problem[:15])


def every(op):
    return pytest.mark.parametrize("version, storage", versions(op), ids=lambda v: v)


def attempt(op, version, problem, storage, *arrays):
    """Whether the version can do it; if so it has run."""
    try:
        run(op, version, problem, storage, *arrays)
    except NotSupported as error:
        assert "written for" in str(error), error
        return False
    return True


@every("max_pool2d_forward")
def test_max_forward(version, storage):
    for sh in shapes(storage):
        x = integers((sh.N, sh.H, sh.W, sh.C), storage)  # full of ties
        y, argmax = np.empty((sh.N, sh.P, sh.Q, sh.C), DTYPES[storage]), np.empty((sh.N, sh.P, sh.Q, sh.C), np.uint8)
        assert attempt("max_pool2d_forward", version, maximum(sh), storage, x, y, argmax)
        expected, taken = reference.max_pool2d(x, sh)
        assert bits(y) == bits(expected.astype(y.dtype)) and np.array_equal(argmax, taken), sh
        alone = np.empty_like(y)
        run("max_pool2d_forward", version, maximum(sh), storage, x, alone, None)
        assert bits(alone) == bits(y)


@every("max_pool2d_forward")
def test_max_of_nan_and_infinity(version, storage):
    generator = np.random.default_rng(0)
    for sh in (PoolShape(2, 9, 9, 7, 3, 3, 5, 5, 2, 2, 1, 1), PoolShape(2, 8, 8, 16, 2, 2, 4, 4, 2, 2)):
        x = generator.choice([np.nan, -np.inf, np.inf, 0.0, 1.0], (sh.N, sh.H, sh.W, sh.C), p=[0.1, 0.6, 0.05, 0.15, 0.1])
        x[0, :4, :4] = np.nan
        x[1, :4, :4] = -np.inf
        x = x.astype(DTYPES[storage])
        y, argmax = np.empty((sh.N, sh.P, sh.Q, sh.C), DTYPES[storage]), np.empty((sh.N, sh.P, sh.Q, sh.C), np.uint8)
        run("max_pool2d_forward", version, maximum(sh), storage, x, y, argmax)
        with np.errstate(invalid="ignore"):
            expected, taken = reference.max_pool2d(x, sh)
        assert np.array_equal(y.astype(np.float64), expected, equal_nan=True) and np.array_equal(argmax, taken)


@every("max_pool2d_backward")
def test_max_backward(version, storage):
    done = 0
    for sh, accumulate in itertools.product(shapes(storage), (0, 1)):
        sh = sh._replace(accumulate=accumulate)
        dy, dx = integers((sh.N, sh.P, sh.Q, sh.C), storage, 1), integers((sh.N, sh.H, sh.W, sh.C), storage, 2)
        _, argmax = reference.max_pool2d(integers((sh.N, sh.H, sh.W, sh.C), storage), sh)
        expected = reference.max_pool2d_backward(dy, argmax, sh) + accumulate * dx.astype(np.float64)
        if attempt("max_pool2d_backward", version, maximum(sh), storage, dy, argmax.astype(np.uint8), dx):
            assert bits(dx + 0) == bits(expected.astype(dx.dtype) + 0), sh  # + 0: there is one zero
            done += 1
    assert done


@every("avg_pool2d_forward")
def test_avg_forward(version, storage):
    for sh, (include, divisor) in itertools.product(shapes(storage, (1,)), ((1, 0), (0, 0), (1, 3))):
        sh = sh._replace(count_include_pad=include, divisor=divisor)
        x, y = integers((sh.N, sh.H, sh.W, sh.C), storage), np.empty((sh.N, sh.P, sh.Q, sh.C), DTYPES[storage])
        run("avg_pool2d_forward", version, tuple(sh), storage, x, y)
        rounded = reference.avg_pool2d(x, sh).astype(np.float64 if storage == "float64" else np.float32)
        assert bits(y + 0) == bits(rounded.astype(y.dtype) + 0), sh


@every("avg_pool2d_backward")
def test_avg_backward(version, storage):
    done = 0
    for sh, accumulate, (include, divisor) in itertools.product(shapes(storage, (1,)), (0, 1), ((1, 0), (0, 0), (1, 4))):
        sh = sh._replace(accumulate=accumulate, count_include_pad=include, divisor=divisor)
        dy, dx = integers((sh.N, sh.P, sh.Q, sh.C), storage, 1), integers((sh.N, sh.H, sh.W, sh.C), storage, 2)
        expected = reference.avg_pool2d_backward(dy, sh) + accumulate * dx.astype(np.float64)
        if attempt("avg_pool2d_backward", version, tuple(sh), storage, dy, dx):
            if divisor:  # a power of two: exact
                assert bits(dx + 0) == bits(expected.astype(dx.dtype) + 0), sh
            else:
                error = np.abs(dx.astype(np.float64) - expected)
                assert (error <= EPS[storage] * np.abs(expected) + (2**-50 if storage == "float64" else 2**-20)).all(), sh
            done += 1
    assert done


@pytest.mark.parametrize("version", ["plain", "vectorized", "tiles"])
def test_slices_of_channels(version):
    """x, y, dy and dx may be slices of wider images; what lies beside them stays as it is."""
    if DEVICE != "cpu":
        pytest.skip("slices are made with NumPy")
    sh = PoolShape(2, 9, 10, 16, 3, 3, 5, 5, 2, 2, 1, 1)
    wide = {
        name: integers((*shape, 48), "float32", seed)
        for seed, (name, shape) in enumerate({"x": (2, 9, 10), "y": (2, 5, 5), "dy": (2, 5, 5), "dx": (2, 9, 10)}.items())
    }
    before = {name: array.copy() for name, array in wide.items()}
    x, y, dy, dx = (wide[name][..., 16:32] for name in ("x", "y", "dy", "dx"))
    argmax = np.empty((2, 5, 5, 16), np.uint8)
    forward = "vectorized" if version == "tiles" else version
    run("max_pool2d_forward", forward, maximum(sh), "float32", x, y, argmax)
    run("max_pool2d_backward", version, maximum(sh), "float32", dy, argmax, dx)
    expected, taken = reference.max_pool2d(x, sh)
    assert np.array_equal(y, expected) and np.array_equal(argmax, taken)
    assert np.array_equal(dx, reference.max_pool2d_backward(dy, argmax, sh))
    run("avg_pool2d_forward", forward, tuple(sh._replace(divisor=4)), "float32", x, y)
    run("avg_pool2d_backward", version, tuple(sh._replace(divisor=4)), "float32", dy, dx)
    assert np.array_equal(y, reference.avg_pool2d(x, sh._replace(divisor=4)))
    assert np.array_equal(dx, reference.avg_pool2d_backward(dy, sh._replace(divisor=4)))
    for name in wide:
        for beside in (slice(0, 16), slice(32, 48)):
            assert np.array_equal(wide[name][..., beside], before[name][..., beside])


@every("max_pool2d_backward")
def test_threads_do_not_change_bits(version, storage):
    if DEVICE != "cpu":
        pytest.skip("thread counts and orders belong to the CPU")
    sh = PoolShape(3, 13, 37, 6, 3, 3, 7, 19, 2, 2, 1, 1)
    x, dy = normal((3, 13, 37, 6), storage), normal((3, 7, 19, 6), storage, 1)
    forward = "vectorized" if version == "tiles" else version
    module, results = backends.cpu().module, set()
    try:
        for threads, order in ((1, "forward"), (2, "forward"), (3, "reverse"), (2, "random")):
            module.set_num_threads(threads)
            module.set_thread_order(order, 7)
            y, argmax, dx, mean, share = np.empty_like(dy), np.empty(dy.shape, np.uint8), *(np.empty_like(x) for _ in range(3))
            run("max_pool2d_forward", forward, maximum(sh), storage, x, y, argmax)
            run("max_pool2d_backward", version, maximum(sh), storage, dy, argmax, dx)
            mean = np.empty_like(dy)
            run("avg_pool2d_forward", forward, tuple(sh), storage, x, mean)
            run("avg_pool2d_backward", version, tuple(sh), storage, dy, share)
            results.add(b"".join(map(bits, (y, argmax, dx, mean, share))))
    finally:
        module.set_thread_order("forward")
        module.set_num_threads(2)
    assert len(results) == 1


def test_indices():
    x = Tensor(integers((2, 5, 9, 8)))
    for kernel, stride, padding, dilation in ((2, None, 0, 1), (3, 2, 1, 1), ((2, 3), 1, 1, 2)):
        y, indices = ops.max_pool2d(x, kernel, stride, padding, dilation, return_indices=True)
        assert indices.dtype == np.int64 and indices.shape == y.shape
        flat = x.numpy().reshape(2, 5, -1)
        taken = np.take_along_axis(flat, indices.numpy().reshape(2, 5, -1), 2)
        assert np.array_equal(taken.reshape(y.shape), y.numpy())


def test_window_that_misses_the_image():
    """Dilation can step over an image of one column: the maximum is -inf and nobody's."""
    x = Tensor(np.ones((1, 1, 1, 1), np.float32), requires_grad=True)
    y, indices = ops.max_pool2d(x, 2, 1, 1, dilation=2, return_indices=True)
    assert y.numpy() == -np.inf and indices.numpy() == -1
    y.backward(Tensor(np.ones(y.shape, np.float32)))
    assert x.grad.numpy() == 0


@pytest.mark.parametrize("layout", ["image", "plain"])
def test_gradients(layout):
    distinct = np.random.default_rng(0).permutation(2 * 3 * 7 * 6).reshape(2, 3, 7, 6).astype(np.float64)
    windows = dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True), dict(kernel_size=(2, 3), stride=1)
    for options in windows:
        x = Tensor(distinct, requires_grad=True, layout=layout)
        assert pycnn.gradcheck(lambda x, o=options: ops.max_pool2d(x, **o), (x,))
        assert pycnn.gradcheck(lambda x, o=options: ops.max_pool2d(x, dilation=2, **{**o, "padding": 0}), (x,))
        for more in (dict(), dict(count_include_pad=False), dict(divisor_override=3)):
            assert pycnn.gradcheck(lambda x, o=options, m=more: ops.avg_pool2d(x, **o, **m), (x,))


def test_large_half_averages_do_not_overflow():
    x = np.full((1, 1, 256, 256), 256, np.float16)
    x[..., ::2, :] *= -1
    assert ops.avg_pool2d(Tensor(x), 256).item() == 0
    assert ops.avg_pool2d(Tensor(np.abs(x)), 256).item() == 256


BAD = [
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=2, stride=0), ValueError, "stride should not be zero"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=2, stride=-1), ValueError, "stride should not be zero or negative, got -1"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=2, padding=-1), ValueError, "pad must be non-negative, got padding = -1"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=2, padding=2), ValueError, "at most half of the effective kernel size.*= 2"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=2, dilation=0), ValueError, "dilation should be greater than zero"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=0), ValueError, "kernel_size must be at least 1"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=(2, 2, 2)), ValueError, "kernel_size must be one integer or two"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=2.5), ValueError, "kernel_size must be one integer or two"),
    ("max_pool2d", (1, 1, 4, 4), dict(kernel_size=5), ShapeError, r"4 is too small.*4 \+ 2·0 - 1·\(5 - 1\) - 1\) / 5\) \+ 1 = 0"),
    ("max_pool2d", (1, 1, 40, 40), dict(kernel_size=17), NotSupported, "17 x 17 has 289 positions; at most 256"),
    ("max_pool2d", (4, 4), dict(kernel_size=2), ShapeError, r"4 axes \(N, C, H, W\)"),
    ("max_pool2d", (1, 0, 4, 4), dict(kernel_size=2), ShapeError, "at least one channel"),
    ("avg_pool2d", (1, 1, 4, 4), dict(kernel_size=2, divisor_override=0), ValueError, "divisor must be not zero"),
    ("avg_pool2d", (1, 1, 4, 4), dict(kernel_size=2, padding=2), ValueError, "at most half"),
    ("avg_pool2d", (1, 1, 4, 0), dict(kernel_size=1), ShapeError, "width 0 is too small"),
    ("avg_pool2d", (1, 1, 4, 4), dict(kernel_size=2, stride=(1, 0)), ValueError, "stride should not be zero"),
]  # fmt: skip


@pytest.mark.parametrize("op, shape, options, error, message", BAD)
def test_bad_input(op, shape, options, error, message):
    with pytest.raises(error, match=message):
        getattr(ops, op)(Tensor(np.zeros(shape, np.float32)), **options)


def test_kernels_refuse_bad_problems():
    plan = backends.get(DEVICE).module.plan
    good = PoolShape(1, 4, 4, 1, 2, 2, 2, 2, 2, 2)
    for change, message in (
        (dict(stride_h=0), "stride"), (dict(pad_w=-1), "non-negative"), (dict(pad_w=2), "at most half"),
        (dict(dilation_h=0), "dilation"), (dict(P=4), "must start inside"), (dict(H=0), "empty"), (dict(C=0), "channels"),
        (dict(accumulate=1), "does not accumulate"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=message):
            plan("max_pool2d_forward", maximum(good._replace(**change)), "float32", "", False, 0, 0, 16)
    with pytest.raises(NotSupported, match="256 positions"):
        plan("max_pool2d_forward", maximum(PoolShape(1, 40, 40, 1, 17, 17, 1, 1)), "float32", "", False, 0, 0, 16)


def test_sizes_are_integers():
    """2^24 + 1 is not a float32."""
    x = Tensor(np.zeros((1, 1, 1, 2**24 + 1), np.float16))
    assert ops.max_pool2d(x, 1, stride=(1, 2**24)).shape == (1, 1, 1, 2)
    assert ops.avg_pool2d(x, (1, 2), stride=(1, 2**23), ceil_mode=True).shape == (1, 1, 1, 3)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the stored comparison ran)")
    for size, kernel, stride, pad, dilation, ceil_mode in itertools.product(
        ((8, 9),), (2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True)
    ):
        x = integers((2, 3, *size))
        theirs, mine = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
        y, indices = torch.nn.functional.max_pool2d(theirs, kernel, stride, pad, dilation, ceil_mode, return_indices=True)
        ours, ours_indices = ops.max_pool2d(mine, kernel, stride, pad, dilation, ceil_mode, return_indices=True)
        dy = integers(ours.shape, seed=1)
        ours.backward(Tensor(dy))
        y.backward(torch.tensor(dy))
        assert np.array_equal(ours.numpy(), y.detach().numpy()) and np.array_equal(ours_indices.numpy(), indices.numpy())
        assert np.array_equal(mine.grad.numpy(), theirs.grad.numpy())
        if dilation == 1:
            for include in (True, False):
                mean = torch.nn.functional.avg_pool2d(theirs, kernel, stride, pad, ceil_mode, include).detach().numpy()
                assert np.array_equal(ops.avg_pool2d(mine, kernel, stride, pad, ceil_mode, include).numpy(), mean)
