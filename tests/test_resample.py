"""interpolate: every version and storage type against tests/reference.py, and PyTorch's index arithmetic."""

from typing import NamedTuple

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, EPS, assert_same_bits_in_any_order, bits, integers, normal, run, versions
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.errors import NotSupported, ShapeError

on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="float64, thread counts and thread orders are tested on the CPU")


class Resample(NamedTuple):
    """The problem, kernels/resample/resample.h."""

    N: int
    H: int
    W: int
    C: int
    P: int
    Q: int
    nearest: int = 0
    align_corners: int = 0
    accumulate: int = 0
    scale_h: float = 0.0
    scale_w: float = 0.0

    def weights(self):
        modes = self.nearest, self.align_corners
        return [
            reference.resample_weights(*axis, *modes) for axis in ((self.H, self.P, self.scale_h), (self.W, self.Q, self.scale_w))
        ]


def problems():
    """Up, down, unchanged, by fractions and to a single pixel, with many channels and few."""
    sizes = [(5, 7, 10, 14), (6, 9, 3, 4), (4, 5, 4, 5), (7, 11, 9, 5), (1, 1, 3, 2), (9, 8, 1, 1), (3, 2, 40, 70),
             (40, 70, 3, 5), (2, 3, 2, 90)]  # fmt: skip
    for i, (H, W, P, Q) in enumerate(sizes):
        for nearest, corners in ((1, 0), (0, 0), (0, 1)):
            lengths = [(n - 1, m - 1) if corners else (n, m) for n, m in ((H, P), (W, Q))]
            scales = [float(np.float32(n) / np.float32(m)) if m else 0.0 for n, m in lengths]
            yield Resample(2, H, W, (3, 1, 16, 37)[i % 4], P, Q, nearest, corners, 0, *scales)
    yield Resample(0, 3, 3, 4, 6, 6, 0, 0, 0, 0.5, 0.5)
    yield Resample(2, 3, 3, 0, 6, 6, 0, 0, 0, 0.5, 0.5)


def bound(sh, storage, terms):
    """Of the error of a sum of `terms` products with numbers below 4: the weights are off by the rounding of a position, which
    counts up to the extent, and the result is rounded to its storage type."""
    unit = 2.0**-53 if storage == "float64" else 2.0**-24
    return 4 * terms * (8 * unit * max(sh.H, sh.W, 4) + EPS[storage])


@pytest.mark.parametrize("version, storage", versions("resample_forward"))
def test_forward(version, storage):
    for sh in problems():
        x = np.clip(normal((sh.N, sh.H, sh.W, sh.C), storage), -4, 4).astype(DTYPES[storage])
        y = np.empty((sh.N, sh.P, sh.Q, sh.C), DTYPES[storage])
        run("resample_forward", version, tuple(sh), storage, x, y)
        expected = reference.resample_forward(x, *sh.weights())
        if sh.nearest or (sh.H, sh.W) == (sh.P, sh.Q):
            assert bits(y) == bits(expected.astype(y.dtype)), sh
        else:
            np.testing.assert_allclose(y.astype(np.float64), expected, 0, bound(sh, storage, 1), err_msg=str(sh))


@pytest.mark.parametrize("version, storage", versions("resample_backward"))
def test_backward(version, storage):
    for sh in problems():
        dy = np.clip(normal((sh.N, sh.P, sh.Q, sh.C), storage), -4, 4).astype(DTYPES[storage])
        rows, columns = sh.weights()
        terms = max(1, np.count_nonzero(rows, 0).max() * np.count_nonzero(columns, 0).max())
        for accumulate in (0, 1):
            dx = integers((sh.N, sh.H, sh.W, sh.C), storage)
            expected = accumulate * dx.astype(np.float64) + reference.resample_backward(dy, rows, columns)
            run("resample_backward", version, tuple(sh._replace(accumulate=accumulate)), storage, dy, dx)
            np.testing.assert_allclose(dx.astype(np.float64), expected, 0, bound(sh, storage, terms), err_msg=str(sh))


@pytest.mark.parametrize("op", ["resample_forward", "resample_backward"])
def test_exact_on_integers_where_weights_are_quarters(op):
    for version, storage in versions(op):
        for nearest, channels in ((1, 5), (0, 5), (0, 32)):
            sh = Resample(2, 6, 9, channels, 12, 18, nearest, 0, 0, 0.5, 0.5)
            forward = op == "resample_forward"
            x = integers((2, *((6, 9) if forward else (12, 18)), channels), storage)
            y = np.empty((2, *((12, 18) if forward else (6, 9)), channels), DTYPES[storage])
            run(op, version, tuple(sh), storage, x, y)
            assert bits(y) == bits(getattr(reference, op)(x, *sh.weights()).astype(y.dtype)), (version, storage, sh)


@pytest.mark.parametrize("op", ["resample_forward", "resample_backward"])
def test_slices_of_channels(op):
    for version, storage in versions(op):
        sh = Resample(2, 4, 5, 6, 7, 3, 0, 0, 0, 4 / 7, 5 / 3)
        small, large = (2, 4, 5, 9), (2, 7, 3, 11)
        x, y = (normal(small, storage), normal(large, storage, 1))[:: 1 if op == "resample_forward" else -1]
        alone = np.empty((*y.shape[:3], 6), DTYPES[storage])
        run(op, version, tuple(sh), storage, np.ascontiguousarray(x[..., 2:8]), alone)
        expected = y.copy()
        expected[..., 1:7] = alone
        run(op, version, tuple(sh), storage, x[..., 2:8], y[..., 1:7])
        assert bits(y) == bits(expected), (version, storage)


@on_cpu
@pytest.mark.parametrize("op", ["resample_forward", "resample_backward"])
def test_bits_do_not_depend_on_threads(op):
    sh = Resample(2, 19, 40, 21, 33, 70, 0, 0, 0, 19 / 33, 40 / 70)
    extents = [(2, 19, 40, 21), (2, 33, 70, 21)][:: 1 if op == "resample_forward" else -1]
    x = normal(extents[0])
    for version, storage in versions(op):
        if storage != "float32":
            continue

        def compute(version=version):
            y = np.empty(extents[1], np.float32)
            run(op, version, tuple(sh), "float32", x, y)
            return y

        assert_same_bits_in_any_order(compute)


@pytest.mark.parametrize("version, storage", versions("resample_forward"))
def test_nan_and_infinity_stay_where_they_belong(version, storage):
    x = np.zeros((1, 4, 4, 1), DTYPES[storage])
    x[0, 1, 1, 0], x[0, 3, 3, 0] = np.nan, np.inf
    y = np.empty((1, 8, 8, 1), DTYPES[storage])
    run("resample_forward", version, tuple(Resample(1, 4, 4, 1, 8, 8, 1, 0, 0, 0.5, 0.5)), storage, x, y)
    np.testing.assert_array_equal(y.astype(np.float64), x.repeat(2, 1).repeat(2, 2).astype(np.float64))
    run("resample_forward", version, tuple(Resample(1, 4, 4, 1, 8, 8, 0, 0, 0, 0.5, 0.5)), storage, x, y)
    found = np.isnan(y[0, :, :, 0].astype(np.float32))
    touched = np.zeros((8, 8), bool)
    touched[:5, :5] = True  # as in PyTorch, 0 · NaN at the upper and left edge
    np.testing.assert_array_equal(found, touched)
    assert np.isinf(y[0, 5:, 5:].astype(np.float32)).all()


@on_cpu
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_pytorch_takes_the_same_pixels(data):
    """PyTorch's forward has several paths, which differ where a factor leads to once or twice the extent; channels-last images of
    16 channels take the one that its gradients agree with."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the stored comparisons ran)")
    H, W = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 40))
    if data.draw(st.booleans()):
        options = {"size": (data.draw(st.integers(1, 300)), data.draw(st.integers(1, 60)))}
    else:
        options = {"scale_factor": tuple(data.draw(st.floats(1.01 / n, 4)) for n in (H, W))}
        options["recompute_scale_factor"] = data.draw(st.sampled_from((None, True, False)))
    mode = data.draw(st.sampled_from(("nearest", "bilinear")))
    if mode == "bilinear":
        options["align_corners"] = data.draw(st.sampled_from((None, True, False)))
    x = np.arange(H * W, dtype=np.float32).reshape(1, 1, H, W) if mode == "nearest" else normal((1, 1, H, W))
    x = x.repeat(16, 1)
    theirs_x = torch.from_numpy(x.copy()).to(memory_format=torch.channels_last).requires_grad_()
    theirs = torch.nn.functional.interpolate(theirs_x, mode=mode, **options)
    leaf = Tensor(x, True)
    ours = ops.interpolate(leaf, mode=mode, **options)
    assert ours.shape == tuple(theirs.shape)
    dy = integers(ours.shape)
    ours.backward(Tensor(dy, layout="image"))
    theirs.backward(torch.from_numpy(dy))
    if mode == "nearest":
        np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())
        np.testing.assert_array_equal(leaf.grad.numpy(), theirs_x.grad.numpy())
    else:
        covered = max(1, ours.shape[2] / H) * max(1, ours.shape[3] / W)
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), 0, 8 * 2.0**-24 * 8 * max(H, W))
        np.testing.assert_allclose(leaf.grad.numpy(), theirs_x.grad.numpy(), 0, 8 * 2.0**-24 * 8 * max(ours.shape) * 9 * covered)


@on_cpu
@pytest.mark.parametrize("options", [
    {"scale_factor": 2}, {"size": (3, 8)}, {"scale_factor": 2, "mode": "bilinear"}, {"size": (5, 2), "mode": "bilinear"},
    {"size": (7, 9), "mode": "bilinear", "align_corners": True}, {"scale_factor": (0.7, 1.6), "mode": "bilinear"},
])  # fmt: skip
def test_gradients(options):
    x = Tensor(normal((2, 3, 4, 5), "float64"), True)
    assert pycnn.gradcheck(lambda x: ops.interpolate(x, **options) * 2.0, (x,))
    assert pycnn.gradcheck(lambda x: ops.interpolate(x[:, 1:], **options), (x,))  # a slice


def test_upsample():
    x = Tensor(normal((2, 3, 4, 5)), device=DEVICE)
    for options in ({"scale_factor": 2}, {"size": (3, 9), "mode": "bilinear", "align_corners": True}):
        np.testing.assert_array_equal(nn.Upsample(**options)(x).numpy(), ops.interpolate(x, **options).numpy())
    assert "scale_factor=2, mode='nearest'" in repr(nn.Upsample(scale_factor=2)) and "size=3" in repr(nn.Upsample(3))


def test_bad_input_is_refused():
    x = Tensor(np.zeros((1, 2, 3, 4), np.float32))
    with pytest.raises(ShapeError, match=r"4 axes \(N, C, H, W\), got shape \(3, 4\)"):
        ops.interpolate(Tensor(np.zeros((3, 4), np.float32)), 2)
    with pytest.raises(NotSupported, match="mode 'bicubic' is not supported"):
        ops.interpolate(x, 2, mode="bicubic")
    with pytest.raises(ValueError, match="align_corners can only be set with mode 'bilinear'"):
        ops.interpolate(x, 2, align_corners=False)
    for both in ({}, {"size": 2, "scale_factor": 2}):
        with pytest.raises(ValueError, match="exactly one of size and scale_factor must be given"):
            ops.interpolate(x, **both)
    with pytest.raises(ValueError, match="recompute_scale_factor has no meaning"):
        ops.interpolate(x, 2, recompute_scale_factor=True)
    with pytest.raises(ValueError, match="size must be one number or two, got 2.5"):
        ops.interpolate(x, 2.5)
    with pytest.raises(ValueError, match="scale_factor must be positive"):
        ops.interpolate(x, scale_factor=-1.0)
    with pytest.raises(ShapeError, match=r"must not be empty, got \(H, W\) = \(3, 4\) and \(P, Q\) = \(0, 0\)"):
        ops.interpolate(x, scale_factor=0.2)
    with pytest.raises(ShapeError, match="a forward pass does not accumulate"):
        sh = Resample(1, 1, 1, 1, 1, 1, accumulate=1)
        run("resample_forward", "plain", tuple(sh), "float32", *np.zeros((2, 1, 1, 1, 1), np.float32))
    with pytest.raises(ShapeError, match="the scales must be positive"):
        sh = Resample(1, 1, 1, 1, 1, 1, scale_h=-1.0)
        run("resample_backward", "plain", tuple(sh), "float32", *np.zeros((2, 1, 1, 1, 1), np.float32))
