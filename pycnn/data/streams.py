"""Random numbers of the data's order and of each image: functions of seed, epoch and place alone.

All are raw 64-bit numbers of Philox-4x64-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), which NumPy keeps
unchanged between versions, with the seed as key and (block, image, purpose, epoch) as counter.
"""

from __future__ import annotations

import numpy as np

ORDER, IMAGE = 0, 1  # purposes
AT_ONCE = 4  # numbers of one block: as many as :func:`first_numbers` gives


def order_numbers(seed: int, epoch: int, n: int) -> np.ndarray:
    """n numbers, uint64 (n,), to sort by."""
    return np.random.Philox(key=seed, counter=[0, 0, ORDER, epoch]).random_raw(n)


def image_stream(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The stream that one image's transforms draw from in one epoch."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, index, IMAGE, epoch]))


def first_numbers(seed: int, epoch: int, n: int) -> np.ndarray:
    """The first four numbers of the streams of images 0 … n - 1, uint64 (n, 4), computed for all at once."""
    counter = [np.full(n, value, np.uint64) for value in (1, 0, IMAGE, epoch)]  # NumPy counts before it draws
    counter[1] = np.arange(n, dtype=np.uint64)
    key = [seed & (2**64 - 1), seed >> 64]
    for round in range(10):
        k0, k1 = ((k + round * w) % 2**64 for k, w in zip(key, (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B), strict=True))
        high0, low0 = _multiply(0xD2E7470EE14C6C93, counter[0])
        high1, low1 = _multiply(0xCA5A826395121157, counter[2])
        counter = [high1 ^ counter[1] ^ np.uint64(k0), low1, high0 ^ counter[3] ^ np.uint64(k1), low0]
    return np.stack(counter, axis=1)


def _multiply(a: int, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower 64 bits of a·b, b uint64 (n,), from products of 32-bit halves."""
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    a_high, a_low, b_high, b_low = np.uint64(a >> 32), np.uint64(a & (2**32 - 1)), b >> half, b & mask
    cross = a_high * b_low + ((a_low * b_low) >> half)
    middle = (cross & mask) + a_low * b_high
    return a_high * b_high + (cross >> half) + (middle >> half), np.uint64(a) * b
