"""Element-wise maps and broadcasting: every version and storage type against tests/reference.py, then the ops."""

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, bits, integers, normal, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn.errors import DTypeError, ShapeError

PARAMETERS = {"leaky_relu": (0.125, 0.0), "clamp": (-0.5, 1.25), "pow": (3.0, 0.0)}  # p, q
PARAMETERS |= {f"{op}_backward": numbers for op, numbers in PARAMETERS.items()}
UNARY = ("copy", "neg", "exp", "log", "sqrt", "relu", "relu6", "sigmoid", "tanh", "abs", "square", "rsqrt", "reciprocal",
         "leaky_relu", "clamp", "pow")  # fmt: skip
BACKWARD = ("relu_backward", "relu6_backward", "sigmoid_backward", "tanh_backward", "sqrt_backward", "rsqrt_backward",
            "reciprocal_backward", "abs_backward", "square_backward", "leaky_relu_backward", "clamp_backward",
            "pow_backward")  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "not_less", "share", *BACKWARD)
MAPS = [(op, *record) for op in UNARY + BINARY for record in versions(op)]
BROADCAST = ("add", "sub", "mul", "div", "equal", "maximum", "minimum", "not_less")
BROADCASTS = [(op, *record) for op in BROADCAST for record in versions(f"broadcast_{op}")]
SIZES = (0, 1, 255, 256, 257, 16661)
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="slices, thread counts and thread orders are tested on the CPU")


def inputs(op, n, storage):
    count = 1 if op in UNARY else 2
    arrays = [normal(n, storage, seed) for seed in range(count)]
    if op in ("log", "sqrt", "sqrt_backward", "div", "rsqrt", "reciprocal"):
        arrays[-1] = (np.abs(arrays[-1].astype(np.float64)) + 0.1).astype(DTYPES[storage])
    if op == "relu6":
        arrays[0] = (arrays[0].astype(np.float64) * 5).astype(DTYPES[storage])
    return arrays


@pytest.mark.parametrize("op, version, storage", MAPS)
def test_map(op, version, storage):
    for n in SIZES:
        for accumulate in (0, 1):
            arrays = inputs(op, n, storage)
            y = integers(n, storage, 9) if accumulate else np.full(n, np.nan, DTYPES[storage])
            value = reference.MAPS[op](*[a.astype(np.float64) for a in arrays], *PARAMETERS.get(op, ()))
            expected = value + y.astype(np.float64) if accumulate else value
            run(op, version, (n, accumulate, *PARAMETERS.get(op, ())), storage, *arrays, y)
            wide = np.abs(value) + np.abs(expected)
            if op in BACKWARD:  # 1 - y and 1 - y * y may cancel
                dy, saved = (a.astype(np.float64) for a in arrays)
                wide += np.abs(dy) * (1 + saved * saved)
            error = np.abs(y.astype(np.float64) - expected)
            accumulator = 2.0**-53 if storage == "float64" else 2.0**-24
            assert (error <= 8 * accumulator * wide + EPS[storage] * np.abs(expected) + 2.0**-24 * (storage == "float16")).all()


@pytest.mark.parametrize("op, version, storage", MAPS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity(op, version, storage):
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0], DTYPES[storage])
    arrays = [special] if op in UNARY else [a.reshape(-1).copy() for a in np.meshgrid(special, special)]
    y = np.empty_like(arrays[0])
    run(op, version, (y.size, 0, *PARAMETERS.get(op, ())), storage, *arrays, y)
    value = reference.MAPS[op](*[a.astype(np.float64) for a in arrays], *PARAMETERS.get(op, ()))
    expected = value.astype(DTYPES[storage]).astype(np.float64)
    actual = y.astype(np.float64)
    np.testing.assert_allclose(actual, expected, rtol=4 * EPS[storage])


@on_cpu
@pytest.mark.parametrize("op, version, storage", [record for record in MAPS if record[0] in ("tanh", "add", "relu_backward")])
def test_aliases_slices_and_thread_orders(op, version, storage):
    arrays = inputs(op, 3001, storage)
    y = np.empty_like(arrays[0])
    run(op, version, (y.size, 0), storage, *arrays, y)
    in_place = [a.copy() for a in arrays]
    run(op, version, (y.size, 0), storage, *in_place, in_place[0])
    assert bits(in_place[0]) == bits(y)
    unaligned = np.empty_like(y)[1:]
    run(op, version, (y.size - 1, 0), storage, *[a[1:] for a in arrays], unaligned)
    np.testing.assert_allclose(unaligned.astype(np.float64), y[1:].astype(np.float64), rtol=4 * EPS[storage])

    def compute():
        run(op, version, (y.size, 0), storage, *arrays, y)
        return y

    assert_same_bits_in_any_order(compute)


def strides_along(shape, target):
    """The strides of a dense array of `shape` along the axes of `target`, padded to 6."""
    dense = np.empty(shape, np.int8).strides
    strides = [0] * (6 - len(shape)) + [0 if extent == 1 else stride for extent, stride in zip(shape, dense, strict=True)]
    return tuple(strides), (1,) * (6 - len(target)) + tuple(target)


PAIRS = [
    ((), ()), ((5,), ()), ((), (3, 4)), ((7, 1), (1, 9)), ((3, 5, 4, 7), (5, 1, 1)), ((2, 1, 4, 1, 3, 1), (1, 5, 1, 2, 1, 6)),
    ((300,), (4, 300)), ((3, 700), (3, 1)), ((500, 6), (6,)), ((0, 3), (1, 3)), ((4, 1, 3), (4, 5, 3)),
]  # fmt: skip


@pytest.mark.parametrize("op, version, storage", BROADCASTS)
def test_broadcast(op, version, storage):
    for a_shape, b_shape in PAIRS:
        shape = np.broadcast_shapes(a_shape, b_shape)
        a, b, y = integers(a_shape, storage, 1), integers(b_shape, storage, 2), np.empty(shape, DTYPES[storage])
        if op == "div":
            b = np.where(b == 0, 1, b).astype(b.dtype)
        (a_strides, extents), (b_strides, _) = strides_along(a_shape, shape), strides_along(b_shape, shape)
        run(f"broadcast_{op}", version, (*extents, *a_strides, *b_strides, a.size, b.size), storage, a, b, y)
        expected = reference.MAPS[op](a.astype(np.float64), b.astype(np.float64)).astype(y.dtype)
        np.testing.assert_allclose(y.astype(np.float64), expected.astype(np.float64), rtol=EPS[storage] * 2 * (op == "div"))


@on_cpu
def test_strides_beyond_the_end_are_refused():
    a, y = np.zeros(4, np.float32), np.zeros(8, np.float32)
    with pytest.raises(ShapeError, match="beyond the end"):
        run("broadcast_add", "strips", (1, 1, 1, 1, 1, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 4), "float32", a, a, y)
    with pytest.raises(ShapeError, match="argument 'y' has shape"):
        run("relu", "plain", (5, 0), "float32", np.zeros(5, np.float32), y)


# ---- the ops ----


def leaf(shape, layout="plain", seed=0, positive=False):
    x = normal(shape, "float64", seed)
    return Tensor(np.abs(x) + 0.5 if positive else x, requires_grad=True, layout=layout if len(shape) == 4 else "plain")


@on_cpu
@pytest.mark.parametrize("op", [ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum])
@pytest.mark.parametrize("layout", ["plain", "image"])
def test_gradients_with_broadcasting(op, layout):
    for shape in ((1, 3, 2, 2), (3, 1, 1), (1, 3, 1, 1), (1, 1, 2, 1), (2,), (), (2, 1, 3, 1, 2)):
        a, b = leaf((1, 3, 2, 2), layout), leaf(shape, "image", 1, positive=True)
        expected = reference.MAPS[op.__name__](a.numpy(), b.numpy())
        np.testing.assert_allclose(op(a, b).numpy(), expected, rtol=1e-14)
        assert pycnn.gradcheck(op, (a, b))


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
def test_an_infinite_gradient_reaches_the_winner_alone(op):
    a, b = (Tensor(np.array(v, np.float32), True) for v in ([1, 2, 3, 0], [2, 1, 3, np.nan]))
    op(a, b).backward(Tensor(np.full(4, np.inf, np.float32)))
    winner, loser = (b, a) if op is ops.maximum else (a, b)
    np.testing.assert_array_equal(winner.grad.numpy(), [np.inf, 0, np.inf, np.inf])
    np.testing.assert_array_equal(loser.grad.numpy(), [0, np.inf, np.inf, np.inf])  # at NaN both, as in PyTorch


FUNCTIONS = [ops.exp, ops.log, ops.sqrt, ops.neg, ops.rsqrt, ops.reciprocal, ops.square, lambda x: ops.abs(x - 0.9)]
FUNCTIONS += [lambda x: ops.pow(x, 1.7), lambda x: x**2, lambda x: ops.clamp(x, 0.7, 1.3), lambda x: ops.clamp(x, max=1.1)]


@on_cpu
@pytest.mark.parametrize("op", FUNCTIONS)
def test_gradients_of_functions(op):
    assert pycnn.gradcheck(op, (leaf((2, 3, 2, 2), "image", positive=True),))


@on_cpu
def test_one_tensor_used_twice_and_numbers():
    x = leaf((3, 4), positive=True)
    assert pycnn.gradcheck(lambda x: (x * x + x / (x + 1.0)) - 2.0 * x, (x,))
    np.testing.assert_allclose((1.0 - x).numpy(), 1 - x.numpy())
    np.testing.assert_allclose((2.0 / x).numpy(), 2 / x.numpy())
    half = Tensor(np.ones(3, np.float16)) * 2.5
    assert half.dtype == np.float16


def test_mixed_layouts_agree():
    a, b = normal((2, 3, 4, 5), "float32", 1), normal((2, 3, 4, 5), "float32", 2)
    for first in ("plain", "image"):
        for second in ("plain", "image"):
            y = Tensor(a, layout=first) * Tensor(b, layout=second)
            np.testing.assert_array_equal(y.numpy(), a * b)
            assert y.layout == ("image" if "image" in (first, second) else "plain")


def test_clamp_with_bounds_in_the_wrong_order_is_the_upper_one():
    x = Tensor(np.array([-1, 2, 5, np.nan], np.float32))
    np.testing.assert_array_equal(ops.clamp(x, 3, 1).numpy(), [1, 1, 1, np.nan])


def test_bad_operands_are_refused():
    with pytest.raises(DTypeError, match="pow: exponent must be a number, got a Tensor"):
        ops.pow(Tensor(np.zeros(3, np.float32)), Tensor(np.zeros(3, np.float32)))
    with pytest.raises(ValueError, match="at least one of min and max"):
        ops.clamp(Tensor(np.zeros(3, np.float32)))
    x = Tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ShapeError, match=r"add: shapes \(2, 3\) and \(2, 4\) do not fit together"):
        x + Tensor(np.zeros((2, 4), np.float32))
    with pytest.raises(DTypeError, match="mul: operands are float32 and float64; cast one of them"):
        x * Tensor(np.zeros((2, 3)))
    with pytest.raises(DTypeError, match="arithmetic is for floating-point"):
        Tensor(np.zeros(3, np.int64)) + 1
    with pytest.raises(ShapeError, match="at most 6 axes"):
        x + Tensor(np.zeros((1,) * 7, np.float32))
