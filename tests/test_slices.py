"""cat, split, chunk, narrow, stack, indexing, and slices of channels as memory of Tensors and gradients."""

import numpy as np
import pytest
from helpers import DEVICE, DTYPES, assert_same_bits_in_any_order, bits, integers, normal, run, versions
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import Tensor, nn, ops, optim
from pycnn.errors import DTypeError, NotSupported, ShapeError
from pycnn.ops.shape import as_image

on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="float64, thread counts and thread orders are tested on the CPU")
ROWS = [(1, 1), (5, 3), (7, 16), (4, 37), (1, 9001), (300, 33), (2, 4097), (0, 5), (5, 0)]


# ---- the kernel ----


@pytest.mark.parametrize("version, storage", versions("copy_rows"))
def test_copy_rows(version, storage):
    draw = (lambda *a: integers(*a, 0, 9)) if storage == "uint8" else normal
    for rows, channels in ROWS:
        for x_extra, y_extra in ((0, 0), (3, 0), (0, 5), (16, 1)):
            wide_x, wide_y = draw((rows, channels + x_extra), storage, 1), draw((rows, channels + y_extra), storage, 2)
            x, y = wide_x[:, x_extra:], wide_y[:, :channels]
            for accumulate in (0, 1):
                expected = wide_y.copy()
                sum_type = np.float64 if storage == "float64" else np.float32
                total = (y.astype(sum_type) + x.astype(sum_type)).astype(y.dtype) if accumulate else x
                expected[:, :channels] = total
                run("copy_rows", version, (rows, channels, accumulate), storage, x, y)
                assert bits(wide_y) == bits(expected), (rows, channels, x_extra, y_extra, accumulate)


@on_cpu
@pytest.mark.parametrize("version", ["plain", "vectorized"])
def test_copies_keep_every_bit_pattern(version):
    for storage, word in (("float32", np.uint32), ("float64", np.uint64), ("float16", np.uint16), ("bfloat16", np.uint16)):
        patterns = np.random.default_rng(0).integers(0, np.iinfo(word).max, (33, 40), word, endpoint=True)
        top = np.finfo(storage).nexp if storage != "bfloat16" else 8
        exponent = ((1 << top) - 1) << (np.iinfo(word).bits - 1 - top)
        patterns[::2] |= word(exponent)  # NaNs, signaling ones among them
        y = np.zeros((33, 33), DTYPES[storage])
        run("copy_rows", version, (33, 33, 0), storage, patterns.view(DTYPES[storage])[:, 7:], y)
        assert bits(y) == bits(patterns[:, 7:])


@on_cpu
@pytest.mark.parametrize("version, storage", versions("copy_rows"))
def test_bits_do_not_depend_on_threads(version, storage):
    x = integers((301, 70), storage, 0, 0, 9)[:, 3:]

    def compute():
        y = integers((301, 67), storage, 1, 0, 9)
        run("copy_rows", version, (301, 67, 1), storage, x, y)
        return y

    assert_same_bits_in_any_order(compute)


def test_copy_rows_refuses_what_is_no_matrix():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError, match="negative sizes"):
        run("copy_rows", "plain", (-1, 3, 0), "float32", x, x.copy())
    with pytest.raises(ShapeError, match="argument 'x' has shape"):
        run("copy_rows", "plain", (3, 2, 0), "float32", x, x.copy())


# ---- cat and split against NumPy ----


def tensor(array, layout, requires_grad=False):
    return Tensor(array, requires_grad, DEVICE, layout=layout if array.ndim == 4 else "plain")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cat_and_split_of_any_shape(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    layouts = data.draw(st.lists(st.sampled_from(("plain", "image")), min_size=len(sizes), max_size=len(sizes)))
    dtype = data.draw(st.sampled_from((np.float32, np.float16, np.int64, np.int32, np.uint8)))
    whole = list(shape)
    whole[dim] = sum(sizes)
    x = np.random.default_rng(0).integers(0, 200, whole).astype(dtype)
    parts = np.split(x, np.cumsum(sizes)[:-1], dim)

    floating = x.dtype.kind == "f"
    tensors = [tensor(part, layout, floating) for part, layout in zip(parts, layouts, strict=True)]
    y = ops.cat(tensors, dim)
    np.testing.assert_array_equal(y.numpy(), x)
    assert y.dtype == x.dtype and (y.layout == "image") == (x.ndim == 4 and "image" in layouts)

    leaf = tensor(x, layouts[0], floating)
    cut = ops.split(leaf, sizes, dim)
    for part, expected in zip(cut, parts, strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)
    if not floating:
        return
    dy = np.random.default_rng(1).integers(-9, 9, x.shape).astype(dtype)
    y.backward(tensor(dy, layouts[-1]))
    for t, expected in zip(tensors, np.split(dy, np.cumsum(sizes)[:-1], dim), strict=True):
        np.testing.assert_array_equal(t.grad.numpy(), expected)
    ops.cat([part * 2.0 for part in cut], dim).backward(tensor(dy, layouts[0]))
    np.testing.assert_array_equal(leaf.grad.numpy(), 2 * dy)


@pytest.mark.parametrize("layout", ["plain", "image"])
def test_indexing_is_numpys(layout):
    x = np.arange(2 * 6 * 4 * 5, dtype=np.float32).reshape(2, 6, 4, 5)
    t = tensor(x, layout)
    for key in (0, -1, slice(1, None), (slice(None), slice(2, 5)), (1, 2), (0, slice(1, 3), -1), (..., 3), (..., slice(1, 4), 2),
                (1, ..., 2), (1, 5, 3, 4), ..., (), (slice(None),) * 4, (slice(4, 2),), 
                (slice(-100, 100), slice(-3, -1))):  # fmt: skip
        np.testing.assert_array_equal(t[key].numpy(), x[key], err_msg=str(key))
    assert [row.shape for row in t] == [(6, 4, 5)] * 2  # iteration ends with an IndexError
    labels = Tensor(np.array([-100, 3, -1, 2**62 + 1]), device=DEVICE)
    assert labels[1].item() == 3 and labels[2:].numpy().tolist() == [-1, 2**62 + 1] and labels[0].item() == -100


def test_chunk_narrow_and_stack():
    x = Tensor(np.arange(14.0).reshape(7, 2), device=DEVICE)
    assert [part.shape[0] for part in x.chunk(3)] == [3, 3, 1] and [part.shape[0] for part in ops.chunk(x, 9)] == [1] * 7
    assert [part.shape[0] for part in ops.split(x, 4)] == [4, 3] and [p.shape for p in ops.split(x, 5, -1)] == [(7, 2)]
    np.testing.assert_array_equal(x.narrow(0, -3, 2).numpy(), x.numpy()[4:6])
    assert ops.narrow(x, 1, 0, 2) is x
    empty = Tensor(np.zeros((0, 3)), device=DEVICE)
    assert [p.shape for p in ops.split(empty, 2)] == [(0, 3)] and [p.shape for p in empty.chunk(2)] == [(0, 3)] * 2
    for dim in (0, 1, -1):
        np.testing.assert_array_equal(ops.stack([x, x + 1.0], dim).numpy(), np.stack([x.numpy(), x.numpy() + 1], dim))
    assert ops.stack([Tensor(1.0), Tensor(2.0)]).numpy().tolist() == [1.0, 2.0]


@on_cpu
def test_integers_keep_their_bits():
    for dtype in (np.int64, np.int32):
        limits = np.iinfo(dtype)
        x = np.array([[-1, -100, limits.min, limits.max], [0x7FA00000, 1, 0, -2]], dtype)  # signaling NaNs, read as floats
        t = Tensor(x)
        assert bits(ops.cat([t[:, 1:], t[:, :1]], 1).numpy()) == bits(np.roll(x, -1, 1))
        assert bits(ops.cat([part for part in ops.split(t, 1)]).numpy()) == bits(x)
        assert bits(ops.pad(t, (1, 0), value=-100).numpy()) == bits(np.pad(x, ((0, 0), (1, 0)), constant_values=-100))


# ---- slices as memory ----


def wide_image(shape=(2, 7, 4, 5), dtype=np.float64, **options):
    return Tensor(normal(shape, np.dtype(dtype).name), layout="image", device=DEVICE, **options)


@on_cpu
def test_channels_and_leading_axes_are_views():
    x = wide_image()
    for part in (*ops.split(x, [3, 4], 1), x[:, 2:4], x[1:], x[:1, 1:2]):
        assert np.shares_memory(part.data, x.data)
    matrix = Tensor(normal((5, 8)))
    assert np.shares_memory(matrix[:, 2:5].data, matrix.data) and np.shares_memory(matrix[3].data, matrix.data)
    y = x[:, 1:4][:, 1:][:1]  # a slice of a slice of a slice
    assert np.shares_memory(y.data, x.data)
    np.testing.assert_array_equal(y.numpy(), x.numpy()[:1, 2:4])
    assert not np.shares_memory(x[:, :, 1:3].data, x.data)
    np.testing.assert_array_equal(x[:, 2:5][:, :, 1:3].numpy(), x.numpy()[:, 2:5, 1:3])


@on_cpu
def test_the_gradients_of_cat_are_slices_of_one_array():
    a, b = (wide_image(requires_grad=True) for _ in range(2))
    dy = wide_image((2, 14, 4, 5))
    ops.cat([a, b], 1).backward(dy)
    assert np.shares_memory(a.grad.data, dy.data) and np.shares_memory(b.grad.data, dy.data)
    before = dy.numpy().copy()
    (a * 3.0).backward(wide_image(requires_grad=False))  # adding to a gradient must not write into the slice
    np.testing.assert_array_equal(dy.numpy(), before)
    np.testing.assert_allclose(a.grad.numpy(), before[:, :7] + 3 * wide_image().numpy())
    np.testing.assert_array_equal(b.grad.numpy(), before[:, 7:])


def test_a_slice_is_a_tensor_like_any_other():
    x = wide_image(dtype=np.float32)
    part, expected = x[:, 2:5], x.numpy()[:, 2:5]
    np.testing.assert_array_equal(part.detach().numpy(), expected)
    np.testing.assert_array_equal(part.to("cpu").numpy(), expected)
    np.testing.assert_array_equal(np.asarray(part), expected)
    np.testing.assert_array_equal(Tensor(part).numpy(), expected)
    assert part.shape == expected.shape and part.size == expected.size and part[0, 0, 0, 0].item() == expected[0, 0, 0, 0]
    assert ops.argmax(part).item() == expected.argmax()
    leaf = part.detach()
    leaf.requires_grad = True
    ops.sum(leaf * leaf).backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), 2 * expected)
    leaf.grad = part
    np.testing.assert_array_equal(leaf.grad.numpy(), expected)


LAYERS = {
    "conv2d": lambda x, w: ops.conv2d(x, w, padding=1),
    "strided conv2d": lambda x, w: ops.conv2d(x, w, stride=2),
    "max_pool2d": lambda x, w: ops.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x, w: ops.avg_pool2d(x, 2),
    "batch_norm": lambda x, w: ops.batch_norm(x, None, None, training=True),
    "relu": lambda x, w: ops.relu(x),
    "add": lambda x, w: x + x,
    "broadcast": lambda x, w: x * w[:1, :, :1, :1],
    "flatten": lambda x, w: ops.flatten(x, 1),
    "mean": lambda x, w: ops.mean(x, (2, 3), keepdim=True),
    "channel_shuffle": lambda x, w: ops.channel_shuffle(x, 2),
    "pad": lambda x, w: ops.pad(x, (1, -1, 2, 0)),
    "permute": lambda x, w: ops.permute(x, (0, 2, 3, 1)),
    "softmax": lambda x, w: ops.softmax(x, 1),
    "cat": lambda x, w: ops.cat([x, x], 2),
}


@on_cpu
@pytest.mark.parametrize("name", LAYERS)
def test_ops_take_slices_and_their_gradients(name):
    """A slice gives the bits of its dense copy, forward and backward, also where the gradient that arrives is a slice."""
    layer = LAYERS[name]
    wide, w = normal((2, 9, 6, 5)), Tensor(normal((4, 4, 3, 3), seed=1), True, layout="image")
    results = []
    for sliced in (False, True):
        w.zero_grad()
        x = Tensor(wide, True, layout="image")
        part = x[:, 3:7] if sliced else Tensor(wide[:, 3:7], True, layout="image")
        y = layer(part, w)
        if sliced and y.ndim == 4:
            upstream = normal((2, y.shape[1] + 2, *y.shape[2:]), seed=2)
            other = Tensor(normal((2, 2, *y.shape[2:])), layout=y.layout)
            joined = ops.cat([as_image(y), as_image(other)], 1)
            joined.backward(Tensor(upstream, layout="image"))
        else:
            upstream = normal((2, y.shape[1] + 2, *y.shape[2:]), seed=2)[:, : y.shape[1]]
            y.backward(Tensor(upstream, layout=y.layout))
        dx = x.grad.numpy()[:, 3:7] if sliced else part.grad.numpy()
        results.append([bits(a) for a in (y.numpy(), dx, *([w.grad.numpy()] if w.grad is not None else []))])
        if sliced:
            assert not x.grad.numpy()[:, [0, 1, 2, 7, 8]].any()
    assert results[0] == results[1]


@on_cpu
@pytest.mark.parametrize("order", ["conv_bn", "bn_conv"])
def test_fused_ops_take_slices(order):
    pycnn.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    bn = nn.BatchNorm2d(4)
    wide, upstream = normal((2, 9, 6, 5)), normal((2, 6, 6, 5), seed=2)
    results = []
    for sliced in (False, True):
        x = Tensor(wide, True, layout="image")
        part = x[:, 3:7] if sliced else Tensor(wide[:, 3:7], True, layout="image")
        y = ops.conv_bn(conv, bn, part, add=part) if order == "conv_bn" else ops.bn_conv(bn, conv, part)
        for p in (*conv.parameters(), *bn.parameters()):
            p.zero_grad()
        if sliced:
            other = Tensor(normal((2, 2, 6, 5)), layout="image")
            ops.cat([y, other], 1).backward(Tensor(upstream, layout="image"))
        else:
            y.backward(Tensor(upstream[:, :4], layout="image"))
        dx = x.grad.numpy()[:, 3:7] if sliced else part.grad.numpy()
        results.append(
            [bits(a) for a in (y.numpy(), dx, conv.weight.grad.numpy(), conv.bias.grad.numpy(), bn.weight.grad.numpy())]
        )
    assert results[0] == results[1]


@on_cpu
def test_slices_reach_parameters_hooks_optimizers_and_checkpoints():
    class Two(nn.Module):
        """Its parameters are joined, so that their gradients are slices of one array."""

        def __init__(self):
            self.a, self.b = nn.Parameter(normal((3, 2))), nn.Parameter(normal((3, 4), seed=1))

        def forward(self, x):
            return ops.linear(x, ops.cat([self.a, self.b], 1))

    for flat in (False, True):
        net, x, seen = Two(), normal((5, 6), seed=2), []
        optimizer = optim.SGD(net.parameters(), lr=0.5) if flat else None
        for p in net.parameters():
            p.register_hook(lambda p, seen=seen: seen.append(p.grad.numpy().copy()))
        start = {name: value.copy() for name, value in net.state_dict().items()}
        for turn in (1, 2):  # the second backward adds
            ops.sum(net(Tensor(x))).backward()
            expected = np.tile(x.sum(0), (3, 1)) * turn
            np.testing.assert_allclose(net.a.grad.numpy(), expected[:, :2], rtol=1e-5)
            np.testing.assert_allclose(net.b.grad.numpy(), expected[:, 2:], rtol=1e-5)
        assert len(seen) == 4
        if flat:
            optimizer.step()
            np.testing.assert_allclose(net.a.numpy(), start["a"] - 0.5 * expected[:, :2], rtol=1e-4)
            np.testing.assert_allclose(net.b.numpy(), start["b"] - 0.5 * expected[:, 2:], rtol=1e-4)
        else:
            net.load_state_dict({"a": Tensor(normal((3, 5)))[:, 1:3], "b": start["b"]})
            np.testing.assert_array_equal(net.a.numpy(), normal((3, 5))[:, 1:3])


@on_cpu
def test_unused_parts_get_zeros_and_used_ones_add_up():
    x = Tensor(normal((2, 6, 3, 3)), True, layout="image")
    first, _, last = ops.split(x, [1, 2, 3], 1)
    ops.sum(first * 2.0 + ops.sum(last, 1, keepdim=True)).backward()
    expected = np.broadcast_to(np.array([2, 0, 0, 1, 1, 1], np.float32)[:, None, None], (2, 6, 3, 3))
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    x.zero_grad()
    ops.sum(ops.cat([x[:, 1:3], x[:, 2:4], x[0, :2].reshape(2, 1, 3, 3)], 1)).backward()
    expected = np.zeros((2, 6, 3, 3), np.float32)
    expected[:, 1:3] += 1
    expected[:, 2:4] += 1
    expected[0, :2] += 1
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@on_cpu
@pytest.mark.parametrize("layout", ["plain", "image"])
def test_gradients(layout):
    x = Tensor(normal((2, 4, 3, 2), "float64"), True, layout=layout)
    z = Tensor(normal((2, 3, 3, 2), "float64", 1), True)
    for f in (
        lambda x, z: ops.cat([x, z, x], 1) * ops.cat([z, x, x], 1),
        lambda x, z: ops.cat([x[:, :3], z], 2),
        lambda x, z: ops.stack([x[:, 1:], z], 2) * 2.0,
        lambda x, z: x[0, :, 1:] * z[1, 1:2, :2],
        lambda x, z: ops.cat([part * part for part in ops.split(x, [1, 3], 1)], 1) + ops.sum(z),
        lambda x, z: ops.relu(x[:, 1:3]) + ops.chunk(z, 2, 1)[0],
    ):
        assert pycnn.gradcheck(f, (x, z))


@on_cpu
def test_backward_twice_with_slices():
    x = Tensor(normal((2, 4, 3, 2)), True, layout="image")
    y = ops.cat([x, x[:, 1:3]], 1)
    dy = Tensor(integers((2, 6, 3, 2)), layout="image")
    y.backward(dy, retain_graph=True)
    once = x.grad.numpy().copy()
    y.backward(dy)
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)


def test_bad_input_is_refused():
    x, y = Tensor(np.zeros((2, 3), np.float32)), Tensor(np.zeros((2, 4), np.float32))
    with pytest.raises(ShapeError, match=r"cat: input 1 has shape \(2, 4\) and input 0 has \(2, 3\); only axis 0 may differ"):
        ops.cat([x, y])
    with pytest.raises(ShapeError, match="cat: dim 2 is not between -2 and 1"):
        ops.cat([x, x], 2)
    with pytest.raises(DTypeError, match="cat: input 1 is int64 and input 0 is float32"):
        ops.cat([x, Tensor(np.zeros((2, 3), np.int64))])
    with pytest.raises(DTypeError, match="cat: input 1 is a ndarray"):
        ops.cat([x, np.zeros((2, 3), np.float32)])
    with pytest.raises(ValueError, match="cat: expected at least one Tensor"):
        ops.cat([])
    with pytest.raises(ShapeError, match="no axis to join"):
        ops.cat([Tensor(1.0)])
    with pytest.raises(ShapeError, match="stack: input 1 has shape"):
        ops.stack([x, y])
    with pytest.raises(ValueError, match="stack: expected at least one"):
        ops.stack([])
    with pytest.raises(ShapeError, match=r"split: sizes \[1, 1\] must add up to 3"):
        ops.split(x, [1, 1], 1)
    with pytest.raises(ValueError, match="split: sizes must not be negative"):
        ops.split(x, [4, -1], 1)
    with pytest.raises(ValueError, match="split: split_size must be positive, got 0"):
        ops.split(x, 0)
    with pytest.raises(ValueError, match="chunk: chunks must be at least 1"):
        ops.chunk(x, 0)
    for op in (lambda t: ops.split(t, 1), lambda t: ops.chunk(t, 1), lambda t: ops.narrow(t, 0, 0, 1)):
        with pytest.raises(ShapeError, match="no axis to cut"):
            op(Tensor(1.0))
    with pytest.raises(ShapeError, match="narrow: start 2 and length 2 do not fit axis 1 of extent 3"):
        ops.narrow(x, 1, 2, 2)
    with pytest.raises(IndexError, match="index 2 is out of range for axis 0 of extent 2"):
        x[2]
    with pytest.raises(IndexError, match="too many entries"):
        x[0, 0, 0]
    with pytest.raises(NotSupported, match="only slices of step 1"):
        x[::2]
    with pytest.raises(NotSupported, match="only integers, slices and ... are supported"):
        x[[0, 1]]
