"""Copies, casts, fills and the ops that change shapes."""

import numpy as np
import pytest
from helpers import DEVICE, DTYPES, assert_same_bits_in_any_order, bits, integers, normal, run, versions
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.errors import DTypeError, NotSupported, ShapeError
from pycnn.ops.shape import as_image, as_plain, dense_strides

on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="thread counts, thread orders and float64 are tested on the CPU")
PERMUTED = [
    ((3, 4, 5, 7), (0, 3, 1, 2)), ((2, 28, 28, 6), (0, 3, 1, 2)), ((3, 6, 5, 4), (0, 2, 3, 1)), ((40, 70), (1, 0)),
    ((2, 3, 4, 5, 6, 7), (5, 3, 1, 0, 2, 4)), ((33, 2, 65), (2, 1, 0)), ((6,), (0,)), ((4, 1, 9), (2, 1, 0)),
    ((0, 3, 2), (2, 0, 1)), ((500, 3), (1, 0)), ((2, 3, 300), (1, 0, 2)),
]  # fmt: skip


def copy_problem(extents, x_strides, y_strides, x, y, x_offset=0, y_offset=0, accumulate=0):
    pad = 6 - len(extents)
    walks = ((1,) * pad, (0,) * pad, (0,) * pad)
    walks = tuple(front + tuple(rest) for front, rest in zip(walks, (extents, x_strides, y_strides), strict=True))
    return (*walks[0], *walks[1], *walks[2], x_offset, y_offset, x.size, y.size, accumulate)


def run_copy(version, problem, storage, x, y):
    """False where the version refuses (nothing to transpose)."""
    try:
        run("strided_copy", version, problem, storage, x, y)
    except NotSupported as refusal:
        assert "no axes change places" in str(refusal)
        return False
    return True


@pytest.mark.parametrize("version, storage", versions("strided_copy"))
def test_permutations(version, storage):
    for shape, axes in PERMUTED:
        x = normal(shape, storage)
        strides, extents = dense_strides(shape), [shape[a] for a in axes]
        for accumulate in (0, 1):
            y = integers(extents, storage, 1)
            expected = x.transpose(axes)
            if accumulate:
                wide = np.float64 if storage == "float64" else np.float32
                expected = (y.astype(wide) + expected.astype(wide)).astype(y.dtype)
            problem = copy_problem(extents, [strides[a] for a in axes], dense_strides(extents), x, y, accumulate=accumulate)
            if run_copy(version, problem, storage, x, y):
                assert bits(y) == bits(expected), (shape, axes)


@pytest.mark.parametrize("version, storage", versions("strided_copy"))
def test_slices_into_slices(version, storage):
    x, y = normal((5, 6, 7), storage), normal((4, 9, 5), storage, 1)
    expected = y.copy()
    expected[1:4, 2:8:2, 0:4] = x[2:5, 1:4, 3:7]
    problem = copy_problem((3, 3, 4), (42, 7, 1), (45, 10, 1), x, y, 2 * 42 + 7 + 3, 45 + 10)
    if run_copy(version, problem, storage, x, y):
        assert bits(y) == bits(expected)
    expected[1:4, 2:8:2, 0:4] = x[2:5, 1:4, 3:7].transpose(1, 0, 2)
    problem = copy_problem((3, 3, 4), (7, 42, 1), (45, 10, 1), x, y, 2 * 42 + 7 + 3, 45 + 10)
    if run_copy(version, problem, storage, x, y):
        assert bits(y) == bits(expected)


@on_cpu
@pytest.mark.parametrize("version, storage", versions("strided_copy"))
def test_bits_do_not_depend_on_threads(version, storage):
    x, y = normal((3, 35, 67), storage), np.empty((67, 35, 3), DTYPES[storage])
    problem = copy_problem((67, 35, 3), (1, 67, 35 * 67), dense_strides((67, 35, 3)), x, y)

    def compute():
        run_copy(version, problem, storage, x, y)
        return y

    assert_same_bits_in_any_order(compute)


def test_copies_outside_an_array_are_refused():
    x = np.zeros(4, np.float32)
    with pytest.raises(ShapeError, match="lead outside an array"):
        run("strided_copy", "plain", copy_problem((5,), (1,), (1,), x, x), "float32", x, np.zeros(4, np.float32))


@pytest.mark.parametrize("version, storage", versions("fill"))
def test_fill(version, storage):
    for n in (0, 1, 255, 257, 5000):
        for value in (0.0, -1.5, np.inf, np.nan):
            y = np.ones(n, DTYPES[storage])
            run("fill", version, (n, value), storage, y)
            np.testing.assert_array_equal(y.astype(np.float64), np.full(n, value))


@pytest.mark.parametrize("version, storage", versions("cast"))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_cast(version, storage):
    names = ("float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8")
    for code, name in enumerate(names):
        if name.startswith(("int", "uint")):
            x = integers(1003, "float64", 1, 0 if name == "uint8" else -200, 200).astype(name)
        else:
            x = (normal(1003, "float64") * 100).astype(DTYPES[name])
            x[:4] = [np.nan, np.inf, -np.inf, -0.0]
        y = np.empty(x.size, DTYPES[storage])
        run("cast", version, (x.size, code), storage, x, y)
        through = x if x.dtype == y.dtype or storage in ("float32", "float64") else x.astype(np.float32)
        np.testing.assert_array_equal(y.astype(np.float64), through.astype(y.dtype).astype(np.float64))


# ---- the ops ----


@pytest.mark.parametrize("layout", ["plain", "image"])
def test_pad_and_crop(layout):
    x = normal((2, 3, 4, 5), "float32")
    t = Tensor(x, layout=layout, device=DEVICE)
    for pads in ((1, 2, 3, 0), (0, 1), (0, 0, 0, 0, 2, 1), (1, 0, 0, 2, 0, 1, 3, 0)):
        pairs = [(0, 0)] * (4 - len(pads) // 2) + [*zip(pads[::2], pads[1::2], strict=True)][::-1]
        for value in (0.0, -1.5, np.inf):
            y = ops.pad(t, pads, value=value)
            np.testing.assert_array_equal(y.numpy(), np.pad(x, pairs, constant_values=value))
            assert y.layout == layout
    np.testing.assert_array_equal(ops.pad(t, (-1, -2, 1, -1)).numpy(), np.pad(x[:, :, :3, 1:3], ((0, 0), (0, 0), (1, 0), (0, 0))))
    assert ops.pad(t, (-3, -2)).shape == (2, 3, 4, 0) and not ops.pad(t, (-7, 9)).numpy().any()
    assert ops.pad(t, (0, 0)) is t
    np.testing.assert_array_equal(ops.crop(t, 1, 2, 3, 2).numpy(), x[:, :, 1:4, 2:4])
    np.testing.assert_array_equal(ops.crop(t, -1, 4, 3, 2).numpy(), np.pad(x[:, :, :2, 4:], ((0, 0), (0, 0), (1, 0), (0, 1))))
    np.testing.assert_array_equal(ops.center_crop(t, 2).numpy(), x[:, :, 1:3, 2:4])  # round(1.5) is 2
    np.testing.assert_array_equal(ops.center_crop(t, (7, 1)).numpy(), np.pad(x[..., 2:3], ((0, 0), (0, 0), (1, 2), (0, 0))))
    np.testing.assert_array_equal(nn.ZeroPad2d(1)(t).numpy(), np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))))
    np.testing.assert_array_equal(nn.ZeroPad2d((1, 0, 0, 2))(t).numpy(), np.pad(x, ((0, 0), (0, 0), (0, 2), (1, 0))))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pad_of_any_shape_and_its_gradient(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    pads = [(data.draw(st.integers(-n, 3)), data.draw(st.integers(0, 3))) for n in shape]
    x = integers(shape)
    t = Tensor(x, True, DEVICE, layout="image" if len(shape) == 4 else "plain")
    y = ops.pad(t, [n for pair in reversed(pads) for n in pair], value=7)
    common = tuple(slice(max(-before, 0), None) for before, _ in pads)
    expected = np.pad(x[common], [(max(before, 0), after) for before, after in pads], constant_values=7)
    np.testing.assert_array_equal(y.numpy(), expected)
    if y is t:
        return
    dy, dx = integers(y.shape, seed=1), np.zeros(shape, np.float32)
    dx[common] = dy[tuple(slice(max(before, 0), dy.shape[d] - after) for d, (before, after) in enumerate(pads))]
    for times in (1, 2):
        y.backward(Tensor(dy, device=DEVICE), retain_graph=True)
        np.testing.assert_array_equal(t.grad.numpy(), times * dx)


def test_channel_shuffle():
    for layout, channels, groups in (("image", 12, 3), ("plain", 12, 4), ("image", 5, 5), ("image", 5, 1)):
        x = normal((2, channels, 3, 4), "float32")
        expected = x.reshape(2, groups, channels // groups, 3, 4).swapaxes(1, 2).reshape(x.shape)
        t = Tensor(x, layout=layout, device=DEVICE)
        np.testing.assert_array_equal(ops.channel_shuffle(t, groups).numpy(), expected)
        np.testing.assert_array_equal(nn.ChannelShuffle(groups)(t).numpy(), expected)


def test_flatten_is_in_c_h_w_order():
    x = normal((2, 3, 4, 5), "float32")
    for layout in ("plain", "image"):
        t = Tensor(x, layout=layout)
        np.testing.assert_array_equal(ops.flatten(t, 1).numpy(), x.reshape(2, -1))
        np.testing.assert_array_equal(ops.flatten(t).numpy(), x.reshape(-1))
        np.testing.assert_array_equal(ops.flatten(t, -2, -1).numpy(), x.reshape(2, 3, 20))
        np.testing.assert_array_equal(ops.reshape(t, (6, -1)).numpy(), x.reshape(6, 20))
        np.testing.assert_array_equal(ops.permute(t, (2, 0, 3, 1)).numpy(), x.transpose(2, 0, 3, 1))
        np.testing.assert_array_equal(ops.transpose(t, 0, -1).numpy(), x.swapaxes(0, -1))
        assert as_image(t).layout == "image" and as_plain(t).layout == "plain"
        np.testing.assert_array_equal(as_image(t).numpy(), as_plain(t).numpy())
    assert ops.flatten(Tensor(np.float32(3.0))).shape == (1,)


def test_layout_changes_are_free_where_memory_agrees():
    for shape in ((4, 1, 5, 6), (4, 7, 1, 1)):
        x = Tensor(normal(shape, "float32"), layout="image")
        assert np.shares_memory(as_plain(x).data, x.data) and np.shares_memory(ops.flatten(x, 1).data, x.data)
    x = Tensor(normal((2, 3), "float32"))
    assert ops.reshape(x, (2, 3)) is x and ops.permute(x, (0, 1)) is x and ops.cast(x, "float32") is x


def test_integers_move_too():
    x = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(ops.permute(Tensor(x), (2, 0, 1)).numpy(), x.transpose(2, 0, 1))


@on_cpu
@pytest.mark.parametrize("layout", ["plain", "image"])
def test_gradients(layout):
    x = Tensor(normal((2, 3, 2, 4), "float64"), requires_grad=True, layout=layout)
    for f in (
        lambda x: ops.flatten(x, 1), lambda x: ops.permute(x, (3, 1, 0, 2)), lambda x: ops.transpose(x, 1, 3),
        lambda x: ops.pad(x, (1, -1, 0, 2)) * 2.0, lambda x: ops.center_crop(x, (1, 6)), lambda x: ops.channel_shuffle(x, 3),
        lambda x: ops.reshape(x, (4, -1)) + ops.reshape(as_plain(x), (4, 12)), lambda x: as_image(x) * 2.0 + as_plain(x),
    ):  # fmt: skip
        assert pycnn.gradcheck(f, (x,))


@on_cpu
def test_cast_and_its_gradient():
    x = Tensor(np.array([1.0, 1 + 2**-9, 300.0, np.nan]), requires_grad=True)
    for name in ("float32", "float16", "bfloat16"):
        y = ops.cast(x, name)
        assert y.dtype.name == name
        np.testing.assert_array_equal(y.numpy().astype(np.float64), x.numpy().astype(y.dtype).astype(np.float64))
    x.zero_grad()
    ops.sum(ops.cast(ops.cast(x, "float32"), "float64") * 3.0).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3.0] * 4)


def test_bad_shapes_are_refused():
    x = Tensor(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ShapeError, match=r"reshape: shape \(5, -1\) does not fit the 24 elements of shape \(2, 3, 4\)"):
        ops.reshape(x, (5, -1))
    with pytest.raises(ShapeError, match="flatten: start_dim 2 comes after end_dim 0"):
        ops.flatten(x, 2, 0)
    with pytest.raises(ShapeError, match="permute: dims .* must name each of the 3 axes"):
        ops.permute(x, (0, 1, 1))
    with pytest.raises(ShapeError, match="transpose: dim 3 is not between -3 and 2"):
        ops.transpose(x, 0, 3)
    with pytest.raises(ShapeError, match="expected an image"):
        as_image(x)
    with pytest.raises(ValueError, match="pad: pad must be pairs of numbers"):
        ops.pad(x, (1, 2, 3))
    with pytest.raises(ShapeError, match=r"pad: 4 pairs of numbers are too many for shape \(2, 3, 4\)"):
        ops.pad(x, (1,) * 8)
    with pytest.raises(ShapeError, match=r"pad: \[-3, -2\] leaves shape \(2, 3, -1\)"):
        ops.pad(x, (-3, -2))
    with pytest.raises(NotSupported, match="pad: mode 'reflect' is not supported"):
        ops.pad(x, (1, 1), mode="reflect")
    with pytest.raises(ShapeError, match="crop: a rectangle of -1 x 2"):
        ops.crop(x, 0, 0, -1, 2)
    with pytest.raises(ShapeError, match="channel_shuffle: input must be .* a multiple of groups = 2"):
        ops.channel_shuffle(Tensor(np.zeros((1, 3, 2, 2), np.float32)), 2)
    with pytest.raises(ValueError, match="groups must be at least 1"):
        ops.channel_shuffle(x, 0)
    with pytest.raises(ValueError, match="padding must be one number or four"):
        nn.ZeroPad2d((1, 2))
    with pytest.raises(DTypeError, match="cast: int32 is not one of"):
        ops.cast(x, "int32")
    with pytest.raises(DTypeError, match="there is no type 'float31'"):
        ops.cast(x, "float31")
