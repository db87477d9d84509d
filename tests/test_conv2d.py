"""conv2d: every version and storage type of the three passes against tests/reference.py."""

import contextlib
import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_close, assert_same_bits_in_any_order, bits, integers, normal, run, versions
from reference import ConvShape

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn.errors import DTypeError, NotSupported, ShapeError

PASSES = ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")
VERSIONS = [(op, *record) for op in PASSES for record in versions(op)]
every_version = pytest.mark.parametrize("op, version, storage", VERSIONS, ids=lambda v: v.removeprefix("conv2d_"))
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="slices, thread counts and thread orders are tested on the CPU")


def shape(N, H, W, C, K, R, S, stride=1, pad=0, dilation=1, groups=1):
    P, Q = ((extent + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for extent, kernel in ((H, R), (W, S)))
    return ConvShape(N, H, W, C, K, R, S, P, Q, stride, stride, pad, pad, dilation, dilation, groups)


SHAPES = {
    "one_pixel": shape(1, 1, 1, 1, 1, 1, 1),
    "ragged": shape(2, 7, 9, 3, 5, 3, 3),
    "lenet": shape(2, 12, 12, 1, 6, 5, 5, pad=2),
    "strided": shape(2, 11, 13, 8, 20, 3, 2, stride=2, pad=1),
    "depthwise": shape(2, 11, 10, 19, 19, 3, 3, pad=1, groups=19),
    "depthwise_strided": shape(2, 12, 9, 35, 35, 3, 3, stride=2, pad=1, groups=35),
    "depthwise_unpadded": shape(1, 9, 13, 8, 8, 3, 3, stride=2, groups=8),
    "depthwise_wide": shape(2, 5, 37, 19, 19, 3, 3, pad=1, groups=19),  # the CPU's weight gradient takes tiles of one row
    "depthwise_dilated": shape(3, 9, 8, 6, 6, 3, 3, pad=2, dilation=2, groups=6),
    "depthwise_uneven": ConvShape(1, 7, 6, 5, 5, 5, 2, 3, 6, 2, 1, 2, 1, 1, 1, 5),
    "multiplier": shape(2, 7, 6, 5, 15, 3, 3, stride=2, pad=1, groups=5),
    "grouped": shape(2, 6, 7, 8, 36, 3, 3, stride=2, pad=1, groups=2),
    "pairs": shape(2, 7, 9, 32, 32, 3, 3, pad=1, groups=16),  # groups of 2, 4, 8 ... channels share a vector on a CPU
    "fours": shape(2, 9, 19, 32, 32, 3, 3, stride=2, pad=1, groups=8),
    "eights": shape(1, 19, 7, 32, 32, 3, 2, pad=2, dilation=2, groups=4),
    "wide_groups": shape(2, 6, 11, 32, 64, 3, 3, stride=2, pad=1, groups=2),
    "grouped_pointwise": shape(2, 5, 6, 21, 12, 1, 1, groups=3),
    "grouped_sparse": shape(1, 9, 8, 32, 32, 2, 2, stride=3, groups=4),  # pixels of dx that no tap meets
    "pointwise": shape(2, 8, 8, 17, 65, 1, 1),
    "dilated": shape(1, 10, 7, 4, 70, 3, 3, stride=3, dilation=2),
    "larger_stride": shape(1, 9, 9, 3, 4, 2, 2, stride=4),
    "uneven": ConvShape(2, 6, 9, 3, 4, 2, 4, 6, 9, 1, 1, 0, 1, 1, 1),  # 'same': one more zero at the bottom and right
    "both_axes": ConvShape(1, 9, 14, 5, 7, 3, 2, 5, 4, 2, 3, 1, 0, 1, 2),
}
EMPTY = {
    "no_images": shape(0, 5, 5, 2, 3, 3, 3),
    "no_channels": ConvShape(2, 5, 5, 0, 3, 3, 3, 3, 3),
    "no_filters": ConvShape(2, 5, 5, 2, 0, 3, 3, 3, 3),
}


def problem(op, sh, storage, make=integers):
    """The arrays of a pass, output last, and its float64 reference."""
    x, weight = make((sh.N, sh.H, sh.W, sh.C), storage, 1), make((sh.K, sh.R, sh.S, sh.C // sh.groups), storage, 2)
    bias, dy = make((sh.K,), storage, 3), make((sh.N, sh.P, sh.Q, sh.K), storage, 4)
    if op == "conv2d_forward":
        return (x, weight, bias, make(dy.shape, storage, 5)), reference.conv2d_forward(x, weight, bias, sh)
    if op == "conv2d_backward_data":
        bias = make((sh.C,), storage, 3)
        return (dy, weight, bias, make(x.shape, storage, 5)), reference.conv2d_backward_data(dy, weight, bias, sh)
    sums = "float64" if storage == "float64" else "float32"
    return (dy, x, make(weight.shape, sums, 5)), reference.conv2d_backward_weight(dy, x, sh)


def plan(op, sh, version, limit=64 << 20, storage="float32", own=False):
    return backends.cpu().module.plan(op, sh, storage, version, own, 0, limit, 16)


def admitted(op, version, storage, shapes):
    """(name, shape) of those shapes the version does not refuse; it must do one of them."""
    done = []
    for name, sh in shapes.items():
        with contextlib.suppress(NotSupported):
            plan(op, sh, version, storage=storage)
            done.append((name, sh))
    assert done, f"{op}:{version} refuses them all"
    return done


@every_version
def test_small_integers_are_exact(op, version, storage):
    for name, sh in admitted(op, version, storage, SHAPES | EMPTY):
        for accumulate in (0, 1):
            arrays, expected = problem(op, sh, storage)
            out = arrays[-1]
            expected = (expected + accumulate * out.astype(np.float64)).astype(out.dtype)
            run(op, version, sh._replace(accumulate=accumulate), storage, *arrays)
            assert bits(out) == bits(expected), (name, accumulate)


@every_version
def test_error_bound(op, version, storage):
    candidates = {
        "3x3": shape(2, 9, 8, 19, 21, 3, 3, pad=1),
        "5x5_strided": shape(2, 14, 13, 6, 16, 5, 5, stride=2, pad=2),
        "1x1": shape(2, 19, 18, 37, 21, 1, 1),
        "depthwise": shape(2, 14, 13, 21, 21, 3, 3, pad=1, groups=21),
        "grouped": shape(2, 14, 13, 32, 32, 3, 3, stride=2, pad=1, groups=8),
    }
    for _, sh in admitted(op, version, storage, candidates):
        arrays, expected = problem(op, sh, storage, normal)
        squares = [None if a is None else a.astype(np.float64) ** 2 for a in arrays[:-1]]
        terms = {
            "conv2d_forward": sh.R * sh.S * sh.C // sh.groups + 1,
            "conv2d_backward_data": sh.R * sh.S * sh.K // sh.groups + 1,
            "conv2d_backward_weight": sh.N * sh.P * sh.Q,
        }[op]
        run(op, version, sh, storage, *arrays)
        stored = arrays[-1].dtype.name  # dweight of 16-bit storage is float32
        assert_close(arrays[-1], expected, getattr(reference, op)(*squares, sh), terms, stored)


@on_cpu
@every_version
def test_slices_of_channels(op, version, storage):
    """Images may be slices of wider ones: what lies beside is neither read nor written."""
    names = ("ragged", "strided", "depthwise", "depthwise_strided", "grouped", "fours", "wide_groups", "pointwise")
    for name, sh in admitted(op, version, storage, {name: SHAPES[name] for name in names}):
        for extra in (1, 8):  # pixels between 16-byte boundaries, and on them
            arrays, expected = problem(op, sh, storage)
            sliced, images = [], {"conv2d_forward": (0, 3), "conv2d_backward_data": (0, 3), "conv2d_backward_weight": (0, 1)}[op]
            for i, array in enumerate(arrays):
                if i in images:
                    wide = np.full((*array.shape[:3], array.shape[3] + extra), np.nan, array.dtype)
                    wide[..., : array.shape[3]] = array
                    array = wide[..., : array.shape[3]]
                sliced.append(array)
            run(op, version, sh, storage, *sliced)
            assert bits(sliced[-1]) == bits(expected.astype(sliced[-1].dtype)), (name, extra)
            if sliced[-1].base is not None and sliced[-1].ndim == 4 and op != "conv2d_backward_weight":
                assert np.isnan(sliced[-1].base[..., sliced[-1].shape[3] :].astype(np.float64)).all()


@on_cpu
@every_version
def test_threads_do_not_change_bits(op, version, storage):
    candidates = {
        "3x3": shape(3, 17, 15, 7, 18, 3, 3, pad=1),
        "3x3_strided": shape(2, 17, 15, 7, 18, 3, 3, stride=2, pad=1),
        "1x1": shape(3, 17, 15, 7, 18, 1, 1),
        "depthwise": shape(3, 17, 15, 21, 21, 3, 3, stride=2, pad=1, groups=21),
        "grouped": shape(3, 17, 15, 64, 64, 3, 3, pad=1, groups=16),
    }
    for _, sh in admitted(op, version, storage, candidates):
        arrays, _ = problem(op, sh, storage, normal)

        def compute(sh=sh, arrays=arrays):
            run(op, version, sh, storage, *arrays)
            return arrays[-1]

        assert_same_bits_in_any_order(compute)


@every_version
def test_nan_and_infinity(op, version, storage):
    """They reach exactly what depends on them: a zero in the padding is not multiplied, a zero in an array is."""
    names = ("strided", "pointwise", "depthwise_strided", "fours")
    for name, sh in admitted(op, version, storage, {name: SHAPES[name] for name in names}):
        arrays, _ = problem(op, sh, storage, normal)
        arrays[0][0, 2, 3, 1], arrays[0][1, 3, 3, 0], arrays[1].reshape(-1)[7] = np.nan, np.inf, 0
        inputs = arrays[:-1]
        with np.errstate(invalid="ignore"):
            expected = getattr(reference, op)(*inputs, sh)
        run(op, version, sh, storage, *arrays)
        result = arrays[-1].astype(np.float64)
        for kind in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(kind(result), kind(expected), name)


@pytest.mark.parametrize("name", ["strided", "grouped", "dilated", "larger_stride", "both_axes"])
def test_parity_multiplies_no_zero_between_the_pixels_of_a_stride(name):
    """A tap of NaN reaches every element of dx it is multiplied into, with a zero too: that counts the products."""
    sh, products = SHAPES[name], {"parity": 0, "implicit_gemm": 0}
    dy = np.ones((sh.N, sh.P, sh.Q, sh.K), np.float32)
    for version, r, s in itertools.product(products, range(sh.R), range(sh.S)):
        weight, dx = np.ones((sh.K, sh.R, sh.S, sh.C // sh.groups), np.float32), np.empty((sh.N, sh.H, sh.W, sh.C), np.float32)
        weight[:, r, s] = np.nan
        run("conv2d_backward_data", version, sh, "float32", dy, weight, None, dx)
        products[version] += np.isnan(dx).sum() * sh.K // sh.groups
    meet = {}  # pairs of a pixel and a tap of one class, along each axis
    for axis, extent, taps in (("h", sh.H, sh.R), ("w", sh.W, sh.S)):
        stride, pad, dilation = (getattr(sh, f"{what}_{axis}") for what in ("stride", "pad", "dilation"))
        meet[axis] = sum((pixel + pad - tap * dilation) % stride == 0 for pixel in range(extent) for tap in range(taps))
    of_a_pair = sh.N * sh.C * sh.K // sh.groups
    assert products["parity"] == meet["h"] * meet["w"] * of_a_pair
    assert products["implicit_gemm"] == sh.H * sh.R * sh.W * sh.S * of_a_pair


@pytest.mark.parametrize(
    "op, version, storage", [row for row in VERSIONS if "depthwise" in row[1] or row[1] in ("naive", "grouped")]
)
def test_taps_outside_are_not_multiplied(op, version, storage):
    """An infinite weight or gradient does not meet the zeros of the padding."""
    for name in ("depthwise", "depthwise_strided"):
        sh = SHAPES[name]
        arrays, _ = problem(op, sh, storage)
        for array in arrays[:-1]:
            array[...] = np.ones(1)
        infinite = arrays[0] if op == "conv2d_backward_weight" else arrays[1]
        infinite[...] = np.full(1, np.inf)
        run(op, version, sh, storage, *arrays)
        assert np.isposinf(arrays[-1].astype(np.float64)).all(), name


# ---- plans ----


def test_default_versions():
    sh = SHAPES["lenet"]
    for op in PASSES:
        assert plan(op, sh, "").version == "host"
        assert plan(op, sh, "", own=True).version == "implicit_gemm"
        assert plan(op, sh, "", own=True, storage="float64").version == "naive"
        assert plan(op, sh, "", storage="float16").version == "implicit_gemm"
        assert plan(op, SHAPES["pointwise"], "", own=True).version == "pointwise"
        for storage in EPS:
            assert plan(op, SHAPES["depthwise"], "", storage=storage).version == "depthwise_strips"
            assert plan(op, SHAPES["multiplier"], "", storage=storage).version == "depthwise"
        assert plan(op, SHAPES["fours"], "").version == "host"
        assert plan(op, SHAPES["fours"], "", own=True).version == "grouped"
        strided = "parity" if op == "conv2d_backward_data" else "implicit_gemm"
        assert plan(op, SHAPES["wide_groups"], "", own=True).version == strided
        assert plan(op, SHAPES["strided"], "", own=True).version == strided


@on_cpu
@pytest.mark.parametrize("op", PASSES)
def test_im2col_works_in_pieces(op):
    """The column matrix is cut to fit the workspace; forward and backward_data keep their bits however it is cut."""
    for name in ("strided", "dilated", "uneven", "grouped"):
        sh, seen = SHAPES[name], set()
        for limit in (64 << 20, 40_000, 14_000):
            made = plan(op, sh, "im2col", limit)
            assert made.workspace <= limit
            arrays, expected = problem(op, sh, "float32", integers if op == "conv2d_backward_weight" else normal)
            backends.cpu().module.run(made, 0, np.empty(made.workspace + 64, np.uint8), *arrays)
            seen.add(bits(arrays[-1]))
            np.testing.assert_allclose(arrays[-1], expected, rtol=1e-4, atol=1e-4)
        assert len(seen) == 1, name


@pytest.mark.parametrize("op", PASSES)
def test_refusals(op):
    with pytest.raises(NotSupported, match=f"{op}: no version for this problem; im2col: .* the workspace limit"):
        plan(op, SHAPES["strided"], "im2col", 100)
    with pytest.raises(NotSupported, match="im2col: not built for float64"):
        plan(op, SHAPES["strided"], "im2col", storage="float64")
    with pytest.raises(NotSupported, match="host: it is no CUDA kernel"):
        plan(op, SHAPES["strided"], "host", own=True)
    with pytest.raises(NotSupported, match="depthwise: it is depthwise: every channel must be a group of its own"):
        plan(op, SHAPES["grouped"], "depthwise")
    with pytest.raises(NotSupported, match=r"depthwise_strips: its lanes need one filter for each channel \(K = C\)"):
        plan(op, SHAPES["multiplier"], "depthwise_strips")
    with pytest.raises(NotSupported, match="grouped: it is grouped: there must be at least 2 groups"):
        plan(op, SHAPES["strided"], "grouped")
    with pytest.raises(NotSupported, match=f"{op} has no version 'winograd'; it has .*'naive'"):
        plan(op, SHAPES["strided"], "winograd")


@pytest.mark.parametrize("op", PASSES)
@pytest.mark.parametrize(
    "change, reason",
    [
        ({"S": 2, "Q": 7}, "its filters are 1x1"),
        ({"stride_h": 2, "P": 4}, "its stride is 1"),
        ({"pad_w": 1, "Q": 10}, "it pads nothing"),
        ({"H": 9}, "it pads nothing"),  # a last line that no tap sees
        ({"C": 20, "K": 60, "groups": 2}, "it has no groups"),
    ],
)
def test_what_pointwise_refuses(op, change, reason):
    with pytest.raises(NotSupported, match=f"{op}: no version for this problem; pointwise: {reason}"):
        plan(op, SHAPES["pointwise"]._replace(**change), "pointwise")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stride_h": 0}, "non-positive stride"),
        ({"pad_w": -1}, "negative padding"),
        ({"dilation_h": 0}, "dilation should be greater than zero"),
        ({"groups": 0}, "non-positive groups"),
        ({"groups": 3}, "C = 8 and K = 20 must be multiples of groups = 3"),
        ({"R": 0}, "at least one tap"),
        ({"P": -1}, "negative size"),
        ({"H": 1 << 31}, "more than 2\\^30 positions"),
        ({"dilation_w": 1 << 30}, "more than 2\\^30 positions"),
        ({"R": 1 << 14, "S": 1 << 14}, "more than 2\\^30 weights"),
    ],
)
def test_impossible_geometry(change, message):
    for op in PASSES:
        with pytest.raises(ShapeError, match=f"{op}: .*{message}"):
            plan(op, SHAPES["strided"]._replace(**change), "")


def test_every_version_has_a_shape():
    """No (version, storage) refuses everything."""
    for op, version, storage in VERSIONS:
        assert admitted(op, version, storage, SHAPES)


# ---- the op ----


def image(*extents, storage="float64", seed=0, requires_grad=True, make=normal):
    return Tensor(make(extents, storage, seed), requires_grad=requires_grad, layout="image")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (1, 2), "padding": (2, 0), "dilation": (1, 2)},
        {"groups": 2},
        {"groups": 4, "padding": 1},
        {"padding": "same", "dilation": (1, 3)},
        {"padding": "valid"},
    ],
    ids=str,
)
def test_gradients(options):
    x, weight = image(2, 4, 6, 5, seed=1), image(4, 4 // options.get("groups", 1), 3, 2, seed=2)
    bias = Tensor(normal((4,), "float64", 3), requires_grad=True)
    assert pycnn.gradcheck(lambda *inputs: ops.conv2d(*inputs, **options), (x, weight, bias))


def test_adjoint_identity():
    """<conv(x), g> = <x, backward_data(g)> = <weight, backward_weight(g)>: convolution is linear in both."""
    for sh in SHAPES.values():
        x, weight = normal((sh.N, sh.H, sh.W, sh.C), "float64", 1), normal((sh.K, sh.R, sh.S, sh.C // sh.groups), "float64", 2)
        y, dx, dweight = np.empty((sh.N, sh.P, sh.Q, sh.K)), np.empty_like(x), np.empty_like(weight)
        g = normal(y.shape, "float64", 3)
        backend = backends.cpu()
        backend.run("conv2d_forward", sh, y.dtype, x, weight, None, y)
        backend.run("conv2d_backward_data", sh, y.dtype, g, weight, None, dx)
        backend.run("conv2d_backward_weight", sh, y.dtype, g, x, dweight)
        np.testing.assert_allclose([np.vdot(x, dx), np.vdot(weight, dweight)], np.vdot(y, g), rtol=1e-11)


def test_shapes_are_nchw():
    x, weight = image(2, 3, 6, 5, requires_grad=False), image(4, 3, 3, 2, requires_grad=False)
    y = ops.conv2d(x, weight, padding=1)
    assert y.shape == (2, 4, 6, 6) and y.layout == "image"
    window = x.numpy()[1, :, 1:4, 2:4]
    np.testing.assert_allclose(y.numpy()[1, 2, 2, 3], (window * weight.numpy()[2]).sum(), rtol=1e-12)
    plain = ops.conv2d(Tensor(x.numpy()), Tensor(weight.numpy()), padding=1)
    np.testing.assert_array_equal(plain.numpy(), y.numpy())


def test_same_padding_puts_the_odd_zero_last():
    x, weight = Tensor(np.arange(1.0, 5.0).reshape(1, 1, 1, 4)), Tensor(np.ones((1, 1, 1, 2)))
    np.testing.assert_array_equal(ops.conv2d(x, weight, padding="same").numpy().ravel(), [3, 5, 7, 4])


def test_gradients_add_up():
    x, weight = image(2, 3, 5, 5, make=integers, seed=1), image(2, 3, 3, 3, make=integers, seed=2)
    g = Tensor(integers((2, 2, 3, 3), "float64", 3))
    ops.conv2d(x, weight).backward(g)
    once = x.grad.numpy().copy(), weight.grad.numpy().copy()
    (ops.conv2d(x, weight) + ops.conv2d(x, weight)).backward(g)
    np.testing.assert_array_equal(x.grad.numpy(), 3 * once[0])
    np.testing.assert_array_equal(weight.grad.numpy(), 3 * once[1])


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_16_bit_storage(storage):
    x, weight = (image(2, 3, size, size, storage=storage, make=integers) for size in (5, 3))
    bias = Tensor(integers((2,), storage, 3), requires_grad=True)
    y = ops.conv2d(x, weight, bias)
    y.backward(Tensor(np.ones(y.shape, DTYPES[storage])))
    sh = shape(2, 5, 5, 3, 2, 3, 3)
    dweight = reference.conv2d_backward_weight(np.ones((2, 3, 3, 2)), x.data, sh).astype(DTYPES[storage])
    assert y.dtype == weight.grad.dtype == bias.grad.dtype == DTYPES[storage]
    np.testing.assert_array_equal(weight.grad.data, dweight)
    np.testing.assert_array_equal(bias.grad.numpy().astype(float), [18, 18])


def test_empty_batch():
    x, weight, bias = image(0, 3, 5, 5), image(2, 3, 3, 3), Tensor(normal((2,), "float64"), requires_grad=True)
    y = ops.conv2d(x, weight, bias)
    assert y.shape == (0, 2, 3, 3)
    y.backward(Tensor(np.empty(y.shape)))
    assert x.grad.shape == (0, 3, 5, 5) and not weight.grad.numpy().any() and not bias.grad.numpy().any()


@pytest.mark.parametrize(
    "x_shape, weight_shape, options, error, message",
    [
        ((1, 3, 4, 9), (2, 3, 5, 3), {}, ShapeError, r"height .* = 4 is smaller than the kernel, .* = 5"),
        ((1, 3, 9, 4), (2, 3, 3, 3), {"dilation": 2}, ShapeError, r"width padded to 4 \+ 0 = 4 .* 2·\(3 - 1\) \+ 1 = 5"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"stride": 0}, ValueError, r"non-positive stride is not supported, got \(0, 0\)"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"stride": (1, -1)}, ValueError, "non-positive stride"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"padding": -1}, ValueError, "negative padding is not supported"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"dilation": -1}, ValueError, "dilation should be greater than zero"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"groups": 0}, ValueError, "non-positive groups is not supported"),
        ((1, 4, 9, 9), (3, 2, 3, 3), {"groups": 2}, ShapeError, "3 output channels, which groups = 2 must divide"),
        ((1, 4, 9, 9), (0, 4, 3, 3), {}, ShapeError, "0 output channels"),
        ((1, 4, 9, 9), (2, 3, 3, 3), {}, ShapeError, r"has 4 channels; weight of shape \(2, 3, 3, 3\) .* takes 3"),
        ((3, 9, 9), (2, 3, 3, 3), {}, ShapeError, r"input must have the 4 axes \(N, C, H, W\), got shape \(3, 9, 9\)"),
        ((1, 3, 9, 9), (2, 3, 3), {"padding": "same"}, ShapeError, r"weight must have the 4 axes .* got shape \(2, 3, 3\)"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"padding": "foo"}, ValueError, "invalid padding string 'foo'; .* 'same', 'valid'"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"padding": "same", "stride": 2}, ValueError, "padding='same' is not supported for strided"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"padding": (1, 1, 1)}, ValueError, r"padding must be one integer or two, got \(1, 1, 1\)"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"stride": 1.5}, ValueError, "stride must be one integer or two, got 1.5"),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"padding": 1 << 62}, ValueError, r"padding \(4611686018427387904, .* must be below 2\^30"),
    ],
)
def test_bad_input(x_shape, weight_shape, options, error, message):
    x, weight = Tensor(np.ones(x_shape, np.float32)), Tensor(np.ones(weight_shape, np.float32))
    with pytest.raises(error, match=message):
        ops.conv2d(x, weight, **options)


def test_bad_bias_and_types():
    x, weight = Tensor(np.ones((1, 3, 9, 9), np.float32)), Tensor(np.ones((2, 3, 3, 3), np.float32))
    with pytest.raises(ShapeError, match=r"bias has shape \(3,\), must be \(2,\)"):
        ops.conv2d(x, weight, Tensor(np.ones(3, np.float32)))
    with pytest.raises(DTypeError, match="bias is float64 and input is float32"):
        ops.conv2d(x, weight, Tensor(np.ones(2)))
    with pytest.raises(DTypeError, match="weight is float16 and input is float32"):
        ops.conv2d(x, Tensor(np.ones((2, 3, 3, 3), np.float16)))
