"""The CPU's `host` versions: GEMM and the three passes of a convolution on one micro-kernel (kernels/common/host_tile.h)."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import DEVICE, assert_close, bits, integers, normal, run

import pycnn

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason="host versions run on the CPU")
STORAGE = ["float32", "float64"]


def shape(N, H, W, C, K, R, S, stride=(1, 1), pad=(0, 0), dilation=(1, 1), groups=1):
    P = (H + 2 * pad[0] - dilation[0] * (R - 1) - 1) // stride[0] + 1
    Q = (W + 2 * pad[1] - dilation[1] * (S - 1) - 1) // stride[1] + 1
    return reference.ConvShape(N, H, W, C, K, R, S, P, Q, *stride, *pad, *dilation, groups)


SHAPES = {
    "one": shape(1, 1, 1, 1, 1, 1, 1),
    "lenet_conv1": shape(3, 32, 32, 1, 6, 5, 5),
    "lenet_conv2": shape(2, 14, 14, 6, 16, 5, 5),
    "lenet_conv3": shape(2, 5, 5, 16, 60, 5, 5),  # most taps of a pixel of dx fall outside dy
    "stem": shape(2, 37, 41, 3, 33, 7, 7, stride=(2, 2), pad=(3, 3)),
    "deep": shape(1, 7, 7, 130, 67, 3, 3, pad=(1, 1)),  # more terms than a block, rows and columns of several tiles
    "pointwise": shape(2, 9, 11, 70, 31, 1, 1),  # x and dy are read in place
    "pointwise_deep": shape(1, 13, 12, 300, 24, 1, 1),  # in place, in several blocks of terms
    "pointwise_wide": shape(2, 9, 11, 20, 130, 1, 1),  # so many filters that x is copied
    "pointwise_padded": shape(1, 6, 5, 9, 4, 1, 1, pad=(1, 1)),  # visits more than x
    "pointwise_strided": shape(1, 9, 8, 20, 5, 1, 1, stride=(2, 3)),  # pixels of x that no tap sees
    "strided": shape(2, 11, 13, 17, 9, 3, 4, stride=(2, 3), pad=(1, 2)),
    "dilated": shape(1, 15, 14, 18, 7, 3, 3, pad=(3, 2), dilation=(3, 2)),
    "dilated_strided": shape(1, 16, 17, 19, 7, 3, 5, stride=(4, 2), pad=(2, 3), dilation=(2, 3)),
    "few_channels_dilated": shape(2, 13, 12, 3, 8, 3, 2, stride=(1, 2), pad=(2, 1), dilation=(2, 3)),
    "wide_padding": shape(1, 3, 2, 5, 4, 3, 3, pad=(5, 4)),  # lines and pixels of y that see nothing
    "grouped": shape(2, 8, 9, 12, 10, 3, 3, pad=(1, 1), groups=2),
    "wide_groups": shape(1, 9, 11, 120, 99, 3, 3, pad=(1, 1), groups=3),  # each in several blocks of terms
    "grouped_many_pixels": shape(2, 33, 47, 6, 10, 3, 3, pad=(1, 1), groups=2),
    "narrow_groups": shape(2, 8, 19, 32, 32, 3, 3, stride=(2, 1), pad=(1, 1), groups=8),
    "narrow_groups_far": shape(1, 25, 26, 32, 32, 3, 3, pad=(11, 11), dilation=(11, 11), groups=8),  # two do not fit
    "groups_narrow": shape(1, 19, 30, 128, 16, 3, 3, stride=(2, 2), pad=(1, 1), groups=2),  # too wide side by side
    "groups_widen": shape(1, 19, 30, 16, 128, 3, 3, stride=(2, 2), pad=(1, 1), groups=2),
    "groups_heavy": shape(2, 7, 7, 512, 512, 3, 3, pad=(1, 1), groups=32),  # their weights are packed where they are used
    "depthwise": shape(2, 8, 9, 5, 5, 3, 3, stride=(2, 1), pad=(1, 1), groups=5),
    "depthwise_strips": shape(2, 9, 7, 29, 29, 3, 3, pad=(1, 1), groups=29),  # 16 channels, 8, and 5 by themselves
    "patches": shape(2, 6, 8, 17, 9, 2, 2, stride=(2, 2)),  # backward_data joins the two taps of a line
    "patches_tall": shape(2, 7, 12, 19, 20, 3, 4, stride=(2, 4), pad=(1, 0)),
    "empty": shape(0, 8, 8, 3, 4, 3, 3),
    "many_pixels": shape(2, 33, 47, 4, 5, 3, 3, pad=(1, 1)),  # backward_weight cuts them into chunks
}


def arrays(sh, make, storage):
    """x, weight, the biases of y and of x, dy."""
    x, weight = make((sh.N, sh.H, sh.W, sh.C), storage, 1), make((sh.K, sh.R, sh.S, sh.C // sh.groups), storage, 2)
    return x, weight, (make((sh.K,), storage, 3), make((sh.C,), storage, 6)), make((sh.N, sh.P, sh.Q, sh.K), storage, 4)


def passes(sh, x, weight, bias, dy):
    """(op, inputs, expected result) of each pass."""
    y_bias, x_bias = bias
    yield "conv2d_forward", (x, weight, y_bias), reference.conv2d_forward(x, weight, y_bias, sh)
    yield "conv2d_backward_data", (dy, weight, x_bias), reference.conv2d_backward_data(dy, weight, x_bias, sh)
    yield "conv2d_backward_weight", (dy, x), reference.conv2d_backward_weight(dy, x, sh)


def sliced(array):
    """The same numbers as a slice of channels of a wider array."""
    wide = np.full((*array.shape[:-1], array.shape[-1] + 5), np.nan, array.dtype)
    wide[..., 2:-3] = array
    return wide, wide[..., 2:-3]


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("name", SHAPES)
def test_exact_on_integers(name, storage):
    sh = SHAPES[name]
    for op, inputs, expected in passes(sh, *arrays(sh, integers, storage)):
        for accumulate in 0, 1:
            old = integers(expected.shape, storage, 5)
            got = old.copy()
            run(op, "host", sh._replace(accumulate=accumulate), storage, *inputs, got)
            np.testing.assert_array_equal(got, expected + accumulate * old, err_msg=op)


@pytest.mark.parametrize(
    "name", ["lenet_conv2", "lenet_conv3", "pointwise", "strided", "grouped", "few_channels_dilated", "patches", "patches_tall"]
)
def test_slices_of_channels(name):
    sh = SHAPES[name]
    x, weight, bias, dy = arrays(sh, integers, "float32")
    x_slice, dy_slice = sliced(x)[1], sliced(dy)[1]
    for op, inputs, expected in passes(sh, x_slice, weight, bias, dy_slice):
        wide, got = sliced(np.zeros(expected.shape, np.float32))
        if op == "conv2d_backward_weight":
            got = np.zeros(expected.shape, np.float32)
        run(op, "host", sh, "float32", *inputs, got)
        np.testing.assert_array_equal(got, expected, err_msg=op)
        assert np.isnan(wide[..., :2]).all() and np.isnan(wide[..., -3:]).all()  # the neighbors are untouched


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize(
    "name", ["lenet_conv1", "lenet_conv2", "lenet_conv3", "stem", "deep", "pointwise_deep", "dilated_strided", "many_pixels"]
)
def test_error_bound(name, storage):
    sh = SHAPES[name]
    inputs = arrays(sh, normal, storage)
    x, weight, bias, dy = inputs
    square = lambda a: a.astype(np.float64) ** 2
    squares = passes(sh, square(x), square(weight), tuple(map(square, bias)), square(dy))
    terms = {
        "conv2d_forward": sh.R * sh.S * sh.C + 1,
        "conv2d_backward_data": sh.R * sh.S * sh.K + 1,
        "conv2d_backward_weight": sh.N * sh.P * sh.Q,
    }
    for (op, arguments, expected), (_, _, sum_of_squares) in zip(passes(sh, *inputs), squares, strict=True):
        got = np.empty(expected.shape, storage)
        run(op, "host", sh, storage, *arguments, got)
        if storage == "float32":  # of float64 the reference is no better
            assert_close(got, expected, sum_of_squares, terms[op], storage)
        np.testing.assert_allclose(got, expected, atol=1e-3 if storage == "float32" else 1e-10)


@pytest.mark.parametrize(
    "name", ["lenet_conv1", "lenet_conv3", "stem", "deep", "pointwise_deep", "strided", "many_pixels", "grouped"]
)
def test_threads_do_not_change_bits(name):
    sh = SHAPES[name]._replace(N=5)
    threads = pycnn.get_num_threads()
    try:
        for op, inputs, expected in passes(sh, *arrays(sh, normal, "float32")):
            results = []
            for count in 1, 2, 3:
                pycnn.set_num_threads(count)
                got = np.zeros(expected.shape, np.float32)
                run(op, "host", sh._replace(accumulate=1), "float32", *inputs, got)
                results.append(bits(got))
            assert len(set(results)) == 1, op
    finally:
        pycnn.set_num_threads(threads)


@pytest.mark.parametrize("name", ["patches", "patches_tall"])
def test_joined_taps_keep_their_bits(name):
    """Pixels that are slices of wider ones cannot join."""
    sh = SHAPES[name]._replace(K=300)  # two blocks of terms
    _, weight, (_, bias), dy = arrays(sh, normal, "float32")
    dense = np.empty((sh.N, sh.H, sh.W, sh.C), np.float32)
    apart = sliced(dense)[1]
    for dx in dense, apart:
        run("conv2d_backward_data", "host", sh, "float32", dy, weight, bias, dx)
    assert bits(dense) == bits(apart)


@pytest.mark.parametrize("name", ["deep", "pointwise", "lenet_conv3"])
def test_nan_and_infinity_stay_where_they_belong(name):
    sh = SHAPES[name]
    x, weight, bias, dy = arrays(sh, normal, "float32")
    x[0, 3, 3, 5], dy[0, sh.P // 2, sh.Q // 2, 6] = np.nan, np.inf
    for op, inputs, expected in passes(sh, x, weight, bias, dy):
        got = np.empty(expected.shape, np.float32)
        run(op, "host", sh, "float32", *inputs, got)
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected), err_msg=op)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=op)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize(
    "M, N, K",
    [(1, 1, 1), (3, 5, 7), (14, 32, 256), (15, 33, 257), (113, 70, 513), (64, 120, 400), (2, 1000, 300), (130, 600, 31)]
    + [(0, 3, 4), (3, 0, 4), (3, 4, 0)],
)
def test_gemm(M, N, K, storage):
    for trans_a, trans_b, accumulate, biased in np.ndindex(2, 2, 2, 2):
        a, b = integers((K, M) if trans_a else (M, K), storage, 1), integers((N, K) if trans_b else (K, N), storage, 2)
        bias = integers((N,), storage, 3) if biased else None
        wide, c = sliced(integers((M, N), storage, 4))
        expected = (a.T if trans_a else a).astype(np.float64) @ (b.T if trans_b else b) + accumulate * c
        run("gemm", "host", (M, N, K, trans_a, trans_b, accumulate, 0), storage, a, b, bias, c)
        np.testing.assert_array_equal(c, expected + (bias if biased else 0))
        assert np.isnan(wide[:, :2]).all() and np.isnan(wide[:, -3:]).all()


def test_gemm_of_slices_and_threads():
    a, b = sliced(normal((200, 300), seed=1))[1], sliced(normal((90, 300), seed=2))[1]
    threads, results = pycnn.get_num_threads(), []
    try:
        for count in 1, 2, 3:
            pycnn.set_num_threads(count)
            c = np.empty((200, 90), np.float32)
            run("gemm", "host", (200, 90, 300, 0, 1, 0, 0), "float32", a, b, None, c)
            results.append(bits(c))
    finally:
        pycnn.set_num_threads(threads)
    assert len(set(results)) == 1
    exact = a.astype(np.float64) @ b.T.astype(np.float64)
    assert_close(c, exact, (a.astype(np.float64) ** 2) @ (b.T.astype(np.float64) ** 2), 300)
