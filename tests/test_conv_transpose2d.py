"""conv_transpose2d and its layer against tests/reference.py; test_conv2d.py tests every version of its kernels."""

import math

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, assert_close, assert_same_bits_in_any_order, bits, integers, normal

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.errors import DTypeError, ShapeError

# N, C, H, W, K, kernel, and what differs from the defaults.
CASES = {
    "one_pixel": (1, 1, 1, 1, 1, (1, 1), {}),
    "ragged": (2, 3, 5, 7, 5, (3, 3), {}),
    "unet": (2, 34, 5, 3, 17, (2, 2), {"stride": 2}),
    "unet_few_channels": (1, 9, 4, 6, 3, (2, 2), {"stride": 2}),
    "fcn": (1, 5, 6, 4, 5, (4, 4), {"stride": 2, "padding": 1}),
    "segnet": (2, 6, 7, 5, 21, (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "per_axis": (1, 4, 5, 6, 7, (2, 3), {"stride": (3, 1), "padding": (0, 1), "output_padding": (2, 0), "dilation": (1, 2)}),
    "output_padding_below_dilation": (1, 3, 3, 4, 19, (3, 2), {"dilation": 3, "output_padding": 2}),
    "one_tap_output_padding": (1, 3, 3, 4, 2, (1, 1), {"dilation": 2, "output_padding": 1}),
    "stride_beyond_kernel": (2, 4, 3, 5, 18, (2, 1), {"stride": 3}),
    "strided_dilated": (1, 3, 6, 5, 20, (3, 3), {"stride": 2, "dilation": 2, "padding": 3}),
    "grouped": (2, 6, 4, 5, 40, (3, 3), {"stride": 2, "groups": 2}),
    "depthwise": (1, 5, 4, 6, 5, (4, 4), {"stride": 2, "padding": 1, "groups": 5}),
    "pointwise": (2, 17, 4, 5, 33, (1, 1), {}),
    "no_images": (0, 3, 4, 5, 2, (2, 2), {"stride": 2}),
}


def arrays(name, storage, make):
    """x, weight, bias in logical order, and the options in full, as pairs."""
    N, C, H, W, K, kernel, options = CASES[name]
    full = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1} | options
    width = K // full["groups"]
    pairs = {key: value if isinstance(value, tuple) or key == "groups" else (value, value) for key, value in full.items()}
    return make((N, C, H, W), storage, 1), make((C, width, *kernel), storage, 2), make((K,), storage, 3), options, pairs


@pytest.mark.parametrize("kernels", ["default", "own"])
@pytest.mark.parametrize("storage", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_small_integers_are_exact(name, storage, kernels):
    """Forward, and the three gradients as the gradients of sum(y * dy): linear in each of x, weight and bias."""
    x, weight, bias, options, pairs = arrays(name, storage, integers)
    inputs = [Tensor(a, requires_grad=True, layout="image" if a.ndim == 4 else "plain") for a in (x, weight, bias)]
    expected = reference.conv_transpose2d(x, weight, bias, **pairs)
    dy = integers(expected.shape, storage, 4)
    with pycnn.kernels(*[mode for mode in (kernels,) if mode != "default"]):
        y = ops.conv_transpose2d(*inputs, **options)
        assert y.shape == expected.shape and y.dtype == DTYPES[storage] and y.layout == "image"
        assert bits(y.numpy()) == bits(expected.astype(DTYPES[storage]))
        y.backward(Tensor(dy))
    dx, dweight, dbias = (t.grad.numpy() for t in inputs)
    assert bits(dbias) == bits(dy.astype(np.float64).sum((0, 2, 3)).astype(DTYPES[storage]))
    # The definition's own derivative: conv_transpose2d of unit vectors, summed up against dy.
    for array, gradient in ((x, dx), (weight, dweight)):
        for place in [tuple(n // 2 for n in array.shape), tuple(n - 1 for n in array.shape)][: array.size]:
            unit = np.zeros(array.shape)
            unit[place] = 1
            pair = (unit, weight) if array is x else (x, unit)
            partial = (reference.conv_transpose2d(*pair, None, **pairs) * dy.astype(np.float64)).sum()
            assert gradient[place] == partial.astype(DTYPES[storage])


@pytest.mark.parametrize("name", ["unet", "segnet", "grouped", "fcn"])
def test_error_bound(name):
    x, weight, bias, options, pairs = arrays(name, "float32", normal)
    squares = [a.astype(np.float64) ** 2 for a in (x, weight, bias)]
    y = ops.conv_transpose2d(Tensor(x), Tensor(weight), Tensor(bias), **options)
    terms = weight.shape[0] * weight.shape[2] * weight.shape[3] // pairs["groups"] + 1
    assert_close(
        y.numpy(), reference.conv_transpose2d(x, weight, bias, **pairs), reference.conv_transpose2d(*squares, **pairs), terms
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (1, 2), "padding": (2, 0), "output_padding": (0, 1), "dilation": (1, 2)},
        {"groups": 2, "stride": 3},
    ],
    ids=str,
)
def test_gradients(options):
    x = Tensor(normal((2, 4, 3, 3), "float64", 1), requires_grad=True, layout="image")
    weight = Tensor(normal((4, 4 // options.get("groups", 1), 3, 2), "float64", 2), requires_grad=True, layout="image")
    bias = Tensor(normal((4,), "float64", 3), requires_grad=True)
    assert pycnn.gradcheck(lambda *inputs: ops.conv_transpose2d(*inputs, **options), (x, weight, bias))


def test_is_the_gradient_of_conv2d():
    """Bit for bit, also where conv2d rounds its output's size down and output_padding says how far."""
    x = Tensor(normal((2, 5, 12, 9)), requires_grad=True)
    weight = Tensor(normal((7, 5, 3, 3), seed=1))
    y = ops.conv2d(x, weight, stride=(2, 3), padding=1)
    dy = Tensor(normal(y.shape, seed=2))
    y.backward(dy)
    back = ops.conv_transpose2d(dy, weight, stride=(2, 3), padding=1, output_padding=(1, 2))
    assert bits(back.numpy()) == bits(x.grad.numpy())


def test_plain_tensors_and_gradients_add_up():
    x, weight, bias, options, _ = arrays("segnet", "float32", integers)
    plain = [Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    y = ops.conv_transpose2d(*plain, **options)
    dy = Tensor(integers(y.shape, seed=5))
    y.backward(dy)
    once = [t.grad.numpy().copy() for t in plain]
    (ops.conv_transpose2d(*plain, **options) + ops.conv_transpose2d(*plain, **options)).backward(dy)
    for t, gradient in zip(plain, once, strict=True):
        np.testing.assert_array_equal(t.grad.numpy(), 3 * gradient)


def test_nan_and_infinity_reach_what_depends_on_them():
    x, weight, bias, options, pairs = arrays("segnet", "float32", normal)
    x[0, 1, 2, 3], x[1, 0, 0, 0], bias[2] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = reference.conv_transpose2d(x, weight, bias, **pairs)
    y = ops.conv_transpose2d(Tensor(x), Tensor(weight), Tensor(bias), **options).numpy()
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(y), kind(expected))


@pytest.mark.skipif(DEVICE != "cpu", reason="thread counts and thread orders are tested on the CPU")
@pytest.mark.parametrize("kernels", ["default", "own"])
@pytest.mark.parametrize("name", ["unet", "unet_few_channels", "segnet"])
def test_threads_do_not_change_bits(name, kernels):
    x, weight, bias, options, _ = arrays(name, "float32", normal)
    inputs = [Tensor(a, requires_grad=True) for a in (x, weight, bias)]

    def compute():
        with pycnn.kernels(*[mode for mode in (kernels,) if mode != "default"]):
            y = ops.conv_transpose2d(*inputs, **options)
            y.backward(Tensor(normal(y.shape, seed=4)))
        results = [y.numpy()] + [t.grad.numpy() for t in inputs]
        for t in inputs:
            t.zero_grad()
        return np.concatenate([a.ravel() for a in results])

    assert_same_bits_in_any_order(compute)


@pytest.mark.parametrize(
    "x_shape, weight_shape, options, error, message",
    [
        (
            (1, 3, 4, 4),
            (3, 2, 3, 3),
            {"stride": 2, "output_padding": 2},
            ValueError,
            r"must be smaller .* got output_padding \(2, 2\), stride",
        ),
        (
            (1, 3, 4, 4),
            (3, 2, 3, 3),
            {"stride": (3, 2), "output_padding": 2},
            ValueError,
            "smaller than either stride or dilation",
        ),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"output_padding": -1}, ValueError, "negative output_padding is not supported"),
        (
            (1, 3, 4, 4),
            (3, 2, 3, 3),
            {"padding": 3},
            ShapeError,
            r"height would be .* = \(4 - 1\)·1 - 2·3 \+ .* = 0; .* at least 1",
        ),
        ((1, 3, 9, 4), (3, 2, 3, 3), {"padding": 4}, ShapeError, r"width would be .* = -2"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"padding": (0, -1)}, ValueError, r"negative padding is not supported, got \(0, -1\)"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"stride": 0}, ValueError, "non-positive stride is not supported"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"dilation": 0}, ValueError, "dilation should be greater than zero"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"groups": 0}, ValueError, "non-positive groups is not supported"),
        ((1, 4, 4, 4), (4, 2, 3, 3), {"groups": 3}, ShapeError, "groups = 3 must divide its 4 input channels"),
        ((1, 3, 4, 4), (4, 2, 3, 3), {}, ShapeError, r"has 3 channels; weight of shape \(4, 2, 3, 3\) takes 4"),
        ((1, 3, 0, 4), (3, 2, 3, 3), {}, ShapeError, r"input of shape \(1, 3, 0, 4\) has no pixels"),
        ((1, 3, 4, 4), (3, 0, 3, 3), {}, ShapeError, r"weight of shape \(3, 0, 3, 3\) must not be empty"),
        ((1, 3, 4, 4), (3, 2, 0, 3), {}, ShapeError, r"weight of shape \(3, 2, 0, 3\) must not be empty"),
        ((3, 4, 4), (3, 2, 3, 3), {}, ShapeError, r"input must have the 4 axes \(N, C, H, W\), got shape \(3, 4, 4\)"),
        ((1, 3, 4, 4), (3, 2, 3), {}, ShapeError, r"weight must have the 4 axes \(C, K / groups, R, S\)"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"padding": "same"}, ValueError, "padding must be one integer or two, got 'same'"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"stride": 1 << 40}, ValueError, r"must be below 2\^30"),
        ((1, 3, 4, 4), (3, 2, 3, 3), {"stride": 1 << 29}, ShapeError, r"= 1610612739; it must be at least 1 and below 2\^30"),
    ],
)
def test_bad_input(x_shape, weight_shape, options, error, message):
    x, weight = Tensor(np.ones(x_shape, np.float32)), Tensor(np.ones(weight_shape, np.float32))
    with pytest.raises(error, match=message):
        ops.conv_transpose2d(x, weight, **options)


def test_bad_bias_and_types():
    x, weight = Tensor(np.ones((1, 3, 4, 4), np.float32)), Tensor(np.ones((3, 2, 3, 3), np.float32))
    with pytest.raises(ShapeError, match=r"bias has shape \(3,\), must be \(2,\)"):
        ops.conv_transpose2d(x, weight, Tensor(np.ones(3, np.float32)))
    with pytest.raises(DTypeError, match="bias is float64 and input is float32"):
        ops.conv_transpose2d(x, weight, Tensor(np.ones(2)))
    with pytest.raises(DTypeError, match="weight is float16 and input is float32"):
        ops.conv_transpose2d(x, Tensor(np.ones((3, 2, 3, 3), np.float16)))


# ---- the layer ----


def test_layer_has_pytorchs_shapes_and_initialisation():
    pycnn.manual_seed(0)
    layer = nn.ConvTranspose2d(16, 64, (5, 3), groups=2)
    assert {name: value.shape for name, value in layer.state_dict().items()} == {"weight": (16, 32, 5, 3), "bias": (64,)}
    assert layer.weight.data.shape == (16, 5, 3, 32)  # channels last, as the kernels read it
    assert nn.init.fans(layer.weight) == (32 * 15, 16 * 15)
    bound = 1 / math.sqrt(32 * 15)
    for tensor in (layer.weight, layer.bias):
        assert 0.9 * bound < np.abs(tensor.numpy()).max() <= bound
    assert repr(layer) == "ConvTranspose2d(16, 64, kernel_size=(5, 3), groups=2)"
    assert "output_padding=(1, 1), bias=False" in repr(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1, bias=False))


def test_layer_passes_its_settings_on():
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=3)
    x = Tensor(normal((2, 4, 5, 4)))
    expected = ops.conv_transpose2d(x, layer.weight, layer.bias, 2, 1, 1, 2, 3)
    assert bits(layer(x).numpy()) == bits(expected.numpy())


def test_output_size():
    layer, x = nn.ConvTranspose2d(3, 2, 3, stride=(2, 3), padding=1), Tensor(normal((1, 3, 4, 5)))
    for size in [(7, 13), (8, 15), (1, 2, 8, 14)]:
        assert layer(x, output_size=size).shape == (1, 2, *size[-2:])
    with pytest.raises(ShapeError, match=r"output_size \(9, 13\) is out of reach: .* \(1, 3, 4, 5\) .* \(7, 13\) to \(8, 15\)"):
        layer(x, output_size=(9, 13))
    with pytest.raises(ShapeError, match=r"output_size must be \(P, Q\) or \(N, C, P, Q\), got \(7,\)"):
        layer(x, output_size=(7,))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"groups": 0}, "groups must be a positive integer"),
        ({"groups": 4}, "in_channels = 4 and out_channels = 6 must be divisible by groups = 4"),
        ({"output_padding": (1, 1, 1)}, "output_padding must be one number or two"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        nn.ConvTranspose2d(4, 6, 3, **settings)
