"""Random geometries, drawn by hypothesis: every version of an op that takes one must equal the float64 reference bit for bit on
small integers. What fails is shrunk to the smallest shape that does."""

import numpy as np
import pytest
import reference
from helpers import DTYPES, integers, normal, run, versions
from hypothesis import given, settings
from hypothesis import strategies as st

from pycnn import Tensor, ops
from pycnn.errors import NotSupported

EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)
OPS = ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")


@st.composite
def convolutions(draw):
    """A convolution whose output has at least one pixel."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    R, S = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pad = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    extents = []
    for kernel, p, d in zip((R, S), pad, dilation, strict=True):
        extents.append(draw(st.integers(max(1, d * (kernel - 1) + 1 - 2 * p), 14)))
    P, Q = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(extents, pad, dilation, (R, S), stride, strict=True))
    C, K = groups * draw(st.sampled_from([1, 1, 3, 4, 17])), groups * draw(st.sampled_from([1, 1, 2, 5, 33]))
    return reference.ConvShape(draw(st.integers(0, 3)), *extents, C, K, R, S, P, Q, *stride, *pad, *dilation, groups)


def agree(op, version, problem, storage, inputs, out, expected):
    """Run a version; where it takes the problem its result is exact."""
    try:
        run(op, version, tuple(problem), storage, *inputs, out)
    except NotSupported as refusal:
        assert f"{version}: " in str(refusal)
        return
    np.testing.assert_array_equal(out.astype(np.float64), expected, err_msg=f"{problem}")


@pytest.mark.parametrize("op", OPS)
@given(sh=convolutions(), add=st.booleans())
@EXAMPLES
def test_convolution(op, sh, add):
    sh = sh._replace(accumulate=int(add))
    for version, storage in versions(op):
        low, high = (-1, 2) if storage in ("float16", "bfloat16") else (-3, 4)
        x, dy = (
            integers(shape, storage, seed, low, high)
            for seed, shape in enumerate([(sh.N, sh.H, sh.W, sh.C), (sh.N, sh.P, sh.Q, sh.K)])
        )
        weight = integers((sh.K, sh.R, sh.S, sh.C // sh.groups), storage, 2, low, high)
        inputs, expected = {
            "conv2d_forward": ((x, weight, None), reference.conv2d_forward(x, weight, None, sh)),
            "conv2d_backward_data": ((dy, weight, None), reference.conv2d_backward_data(dy, weight, None, sh)),
            "conv2d_backward_weight": ((dy, x), reference.conv2d_backward_weight(dy, x, sh)),
        }[op]
        kind = {"float64": "float64"}.get(storage, "float32") if op.endswith("weight") else storage
        before = integers(expected.shape, kind, 3)
        expected = expected + add * before.astype(np.float64)
        agree(op, version, sh, storage, inputs, before, expected.astype(DTYPES[kind]).astype(np.float64))


@given(
    M=st.integers(0, 40),
    N=st.integers(0, 40),
    K=st.integers(0, 40),
    flags=st.tuples(*[st.integers(0, 1)] * 3),
    bias=st.booleans(),
)
@EXAMPLES
def test_gemm(M, N, K, flags, bias):
    trans_a, trans_b, add = flags
    for version, storage in versions("gemm"):
        a = integers((K, M) if trans_a else (M, K), storage, 1, -1, 2)
        b = integers((N, K) if trans_b else (K, N), storage, 2, -1, 2)
        shift, out = integers((N,), storage, 3) if bias else None, integers((M, N), storage, 4)
        expected = reference.gemm(a, b, shift, trans_a, trans_b) + add * out.astype(np.float64)
        agree("gemm", version, (M, N, K, trans_a, trans_b, add, 0), storage, (a, b, shift), out, expected)


@given(outer=st.integers(0, 12), reduced=st.integers(1, 70), inner=st.integers(1, 40), add=st.integers(0, 1))
@EXAMPLES
def test_sum(outer, reduced, inner, add):
    for version, storage in versions("sum"):
        x, y = integers((outer, reduced, inner), storage, 1, -1, 2), integers((outer, inner), storage, 2)
        expected = reference.sum(x) + add * y.astype(np.float64)
        agree("sum", version, (outer, reduced, inner, add, 0, 1.0), storage, (x,), y, expected)


@given(rows=st.integers(1, 60), channels=st.integers(1, 70))
@EXAMPLES
def test_bias_backward(rows, channels):
    for version, storage in versions("bias_backward"):
        dy = integers((rows, channels), storage)
        dbias = np.empty(channels, np.float64 if storage == "float64" else np.float32)
        agree("bias_backward", version, (rows, channels, 0), storage, (dy,), dbias, dy.astype(np.float64).sum(0))


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=5), data=st.data())
@EXAMPLES
def test_broadcasting(shape, data):
    """a is cut and shrunk as NumPy allows; gradients are sums over what was repeated."""
    kept = data.draw(st.integers(0, len(shape)))
    narrow = [n if data.draw(st.booleans()) else 1 for n in shape[len(shape) - kept :]]
    a, b = integers(narrow, "float64", 1), integers(shape, "float64", 2)
    layout = data.draw(st.sampled_from(["plain", "image"])) if len(shape) == 4 else "plain"
    x, y = Tensor(a, True), Tensor(b, True, layout=layout)
    out = ops.mul(x, y)
    np.testing.assert_array_equal(out.numpy(), a * b)
    dy = integers(shape, "float64", 3)
    out.backward(Tensor(dy))
    axes = tuple(range(len(shape) - kept))
    expected = (dy * b).sum(axes) if axes else dy * b
    expected = expected.sum(tuple(i for i, n in enumerate(narrow) if n == 1 and expected.shape[i] != 1), keepdims=True)
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    np.testing.assert_array_equal(y.grad.numpy(), np.broadcast_to(dy * a, shape))


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=5), data=st.data())
@EXAMPLES
def test_permute_and_reshape(shape, data):
    x = normal(shape)
    layout = data.draw(st.sampled_from(["plain", "image"])) if len(shape) == 4 else "plain"
    dims = data.draw(st.permutations(range(len(shape))))
    moved = ops.permute(Tensor(x, layout=layout), dims)
    np.testing.assert_array_equal(moved.numpy(), x.transpose(dims))
    np.testing.assert_array_equal(moved.reshape(-1).numpy(), x.transpose(dims).reshape(-1))


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), data=st.data())
@EXAMPLES
def test_reductions(shape, data):
    x = integers(shape, "float32")
    layout = data.draw(st.sampled_from(["plain", "image"])) if len(shape) == 4 else "plain"
    axes = data.draw(st.sets(st.sampled_from(range(len(shape))), min_size=1))
    keepdim = data.draw(st.booleans())
    t = Tensor(x, layout=layout)
    np.testing.assert_array_equal(ops.sum(t, tuple(axes), keepdim).numpy(), x.sum(tuple(axes), keepdims=keepdim))
    axis = min(axes)
    values, places = ops.max(t, axis, keepdim)
    np.testing.assert_array_equal(values.numpy(), x.max(axis, keepdims=keepdim))
    np.testing.assert_array_equal(places.numpy(), np.argmax(x, axis, keepdims=keepdim))
