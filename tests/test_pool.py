"""The CPU's pool of array memory: blocks are used again, never while somebody holds them, and few are kept."""

import numpy as np
import pytest
from helpers import DEVICE

from pycnn import backend as backends
from pycnn.errors import ShapeError

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason="CuPy has a pool of its own")
MEGABYTE = 1 << 20
DEFAULT_LIMIT = 512 * MEGABYTE


@pytest.fixture
def module():
    module = backends.cpu().module
    module.set_pool_limit(0)  # start empty
    module.set_pool_limit(DEFAULT_LIMIT)
    yield module
    module.set_pool_limit(DEFAULT_LIMIT)


def bytes_of(size):
    return backends.cpu().empty((size,), np.uint8)


def test_memory_is_used_again_and_aligned(module):
    first = bytes_of(MEGABYTE)
    address = first.ctypes.data
    assert address % 64 == 0 and first.flags.writeable and first.flags.c_contiguous
    del first
    assert module.pool_bytes() == MEGABYTE
    second = backends.cpu().empty((2, MEGABYTE // 8 - 3), np.float32)  # nearly the same size
    assert second.ctypes.data == address and module.pool_bytes() == 0


def test_a_view_keeps_the_block(module):
    array = bytes_of(MEGABYTE)
    array[:] = 7
    view = array[5:50].reshape(9, 5)[::2].T
    del array
    assert module.pool_bytes() == 0
    others = [bytes_of(MEGABYTE) for _ in range(3)]
    for other in others:
        other[:] = 1
    assert (view == 7).all()
    del view
    assert module.pool_bytes() == MEGABYTE


def test_two_living_arrays_share_nothing(module):
    arrays = [bytes_of(MEGABYTE + i) for i in range(5)]
    for i, array in enumerate(arrays):
        array[:] = i
    assert all((array == i).all() for i, array in enumerate(arrays))


def test_kept_memory_is_bounded_and_the_oldest_goes_first(module):
    module.set_pool_limit(3 * MEGABYTE)
    arrays = [bytes_of(MEGABYTE) for _ in range(5)]
    last = arrays[-1].ctypes.data
    while arrays:
        del arrays[0]
        assert module.pool_bytes() <= 3 * MEGABYTE
    assert module.pool_bytes() == 3 * MEGABYTE and bytes_of(MEGABYTE).ctypes.data == last
    bytes_of(8 * MEGABYTE)  # more than is ever kept
    assert module.pool_bytes() <= 3 * MEGABYTE
    module.set_pool_limit(0)
    assert module.pool_bytes() == 0


def test_small_and_empty_arrays_are_the_c_librarys(module):
    for shape, dtype in (((), np.float32), ((0, 3), np.float64), ([4, 5], backends.bfloat16), ((7,), np.int64)):
        array = backends.cpu().empty(shape, dtype)
        assert array.shape == tuple(shape) and array.dtype == dtype and array.base is None
    for impossible in ((-1, 3), (2**40, 2**40)):
        with pytest.raises(ShapeError, match="cannot have this shape"):
            backends.cpu().empty(impossible, np.float32)
