"""Offsets beyond 2^31 elements, without the memory: slices of channels whose pitch is 2^30 (only the pages that are touched
exist), and 2^31 elements that are the same 16 MB over and over."""

import ctypes
import mmap
import os
import sys

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, integers, run, versions

from pycnn import backend
from pycnn.errors import LaunchError, NotSupported, ShapeError

pytestmark = pytest.mark.skipif(
    DEVICE != "cpu" or sys.platform != "linux", reason="untouched memory costs nothing on Linux alone"
)
PITCH = 2**30 + 8


def far_apart(values):
    """The same (N, H, W, C) numbers in pixels that are PITCH elements apart."""
    N, H, W, C = values.shape
    try:
        memory = np.empty((N * H * W - 1) * PITCH + C, values.dtype)
    except MemoryError:
        pytest.skip("the system promises no memory that it does not have")
    steps = np.array([H * W * PITCH, W * PITCH, PITCH, 1]) * values.itemsize
    array = np.lib.stride_tricks.as_strided(memory, values.shape, steps)
    array[...] = values
    return array


def every(*ops):
    rows = [(op, version, storage) for op in ops for version, storage in versions(op) if storage in ("float16", "float32")]
    kept = {(op, version): storage for op, version, storage in rows}  # float16 where there is one
    return pytest.mark.parametrize("op, version, storage", [(*key, storage) for key, storage in kept.items()], ids=lambda v: v)


CONVOLUTIONS = {
    "dense": reference.ConvShape(1, 3, 1, 8, 8, 1, 1, 3, 1),
    "3x1": reference.ConvShape(1, 3, 1, 8, 16, 3, 1, 3, 1, pad_h=1),
    "strided": reference.ConvShape(1, 3, 1, 8, 16, 3, 1, 2, 1, 2, 2, 1, 0),
    "depthwise": reference.ConvShape(1, 3, 1, 8, 8, 3, 1, 3, 1, pad_h=1, groups=8),
    "grouped": reference.ConvShape(1, 3, 1, 8, 8, 3, 1, 3, 1, pad_h=1, groups=2),
}


@every("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")
def test_convolution(op, version, storage):
    done = 0
    for sh in CONVOLUTIONS.values():
        x, dy = integers((sh.N, sh.H, sh.W, sh.C), storage, 1), integers((sh.N, sh.P, sh.Q, sh.K), storage, 2)
        weight = integers((sh.K, sh.R, sh.S, sh.C // sh.groups), storage, 3)
        if op == "conv2d_forward":
            inputs, out = (far_apart(x), weight, None), far_apart(dy)
            expected = reference.conv2d_forward(x, weight, None, sh)
        elif op == "conv2d_backward_data":
            inputs, out = (far_apart(dy), weight, None), far_apart(x)
            expected = reference.conv2d_backward_data(dy, weight, None, sh)
        else:
            inputs, out = (far_apart(dy), far_apart(x)), np.empty(weight.shape, np.float32)
            expected = reference.conv2d_backward_weight(dy, x, sh)
        try:
            run(op, version, tuple(sh), storage, *inputs, out)
        except NotSupported as refusal:
            assert f"{version}: " in str(refusal)
            continue
        np.testing.assert_array_equal(out.astype(np.float64), expected)
        done += 1
    assert done


@every("max_pool2d_forward", "max_pool2d_backward", "avg_pool2d_forward", "avg_pool2d_backward")
def test_pooling(op, version, storage):
    sh = reference.PoolShape(1, 4, 2, 8, 2, 2, 2, 1, 2, 2)
    x, dy = integers((1, 4, 2, 8), storage, 1), integers((1, 2, 1, 8), storage, 2)
    y, argmax = reference.max_pool2d(x, sh)
    argmax = argmax.astype(np.uint8)
    problem = tuple(sh) if op.startswith("avg") else tuple(sh[:15])
    out, expected = {
        "max_pool2d_forward": ((far_apart(x), far_apart(dy), np.empty_like(argmax)), y),
        "max_pool2d_backward": ((far_apart(dy), argmax, far_apart(x)), reference.max_pool2d_backward(dy, argmax, sh)),
        "avg_pool2d_forward": ((far_apart(x), far_apart(dy)), reference.avg_pool2d(x, sh)),
        "avg_pool2d_backward": ((far_apart(dy), far_apart(x)), reference.avg_pool2d_backward(dy, sh)),
    }[op]
    try:
        run(op, version, problem, storage, *out)
    except NotSupported as refusal:
        pytest.skip(str(refusal))
    np.testing.assert_array_equal(out[1 if op.endswith("forward") or "avg" in op else 2].astype(np.float64), expected)


@every("gemm")
def test_gemm_rows(op, version, storage):
    a, b, c = (integers((3, 16), storage, seed) for seed in range(3))
    apart = [far_apart(m.reshape(3, 1, 1, 16)).reshape(3, 16) for m in (a, b)]
    assert apart[0].strides[0] == PITCH * a.itemsize
    out = far_apart(c.reshape(3, 1, 1, 16)[..., :3]).reshape(3, 3)
    try:
        run(op, version, (3, 3, 16, 0, 1, 0, 0), storage, *apart, None, out)
    except NotSupported as refusal:
        pytest.skip(str(refusal))
    np.testing.assert_array_equal(out.astype(np.float64), a.astype(np.float64) @ b.astype(np.float64).T)


# ---- dense arrays -----------------------------------------------------------------------------------------------------

PERIOD = 16 << 20  # bytes


def reserved(size: int) -> mmap.mmap:
    """Addresses for `size` bytes; memory only where they are touched."""
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | 0x4000)  # MAP_NORESERVE
    except OSError:
        pytest.skip("the system promises no memory that it does not have")


def repeated(elements: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    """(an array of `elements` elements, the PERIOD bytes it is made of again and again)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    size = -(-elements * np.dtype(dtype).itemsize // PERIOD) * PERIOD
    whole = np.frombuffer(reserved(size), np.uint8)
    file = os.memfd_create("pycnn")
    os.truncate(file, PERIOD)
    fixed = mmap.MAP_SHARED | 0x10  # MAP_FIXED
    for offset in range(0, size, PERIOD):
        start = whole.ctypes.data + offset
        assert libc.mmap(start, PERIOD, mmap.PROT_READ | mmap.PROT_WRITE, fixed, file, 0) == start
    os.close(file)
    array = whole.view(dtype)[:elements]
    return array, array[: PERIOD // array.itemsize]


def test_more_than_2_to_the_31_elements():
    x, x_part = repeated(2**31 + 5, np.float32)
    y, y_part = repeated(2**31 + 5, np.float32)
    x_part[...] = integers((x_part.size,))
    run("neg", "vectorized", (x.size, 0), "float32", x, y)
    np.testing.assert_array_equal(y_part, -x_part)
    y[:4], y[-5:] = 7, 9
    np.testing.assert_array_equal(y_part[:5], 9)  # the last elements are the first of the period again


def test_extents_that_are_too_large_are_refused():
    """Positions within an image are 32-bit in the kernels, so an axis has at most 2^30."""
    with pytest.raises(ShapeError, match=r"more than 2\^30 positions"):
        backend.cpu().plan("conv2d_forward", (1, 2**31, 1, 1, 1, 1, 1, 2**31, 1, 1, 1, 0, 0, 1, 1, 1, 0), DTYPES["float32"])


def test_grids_that_are_too_large_are_refused():
    """One thread an element, 256 a block: 2^39 elements are one block too many. Nothing is launched."""
    x = np.frombuffer(reserved(2**40), np.float16)
    with pytest.raises(LaunchError, match=r"a grid of 2147483648 blocks exceeds 2\^31 - 1"):
        run("neg", "plain", (x.size, 0), "float16", x, x)
