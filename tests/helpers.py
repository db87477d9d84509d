"""What every op's test needs: the error bound of fp32 sums, odd shapes, and running one version directly."""

from __future__ import annotations

import os

import ml_dtypes
import numpy as np

import pycnn
from pycnn import backend as backends

EPS = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 2.0**-53}
DTYPES = {name: np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name)) for name in (*EPS, "int64", "uint8")}


def rng(seed: int = 0) -> np.random.Generator:
    """The generator of a test's inputs."""
    return np.random.Generator(np.random.Philox(seed))


def normal(shape, storage: str = "float32", seed: int = 0) -> np.ndarray:
    """Zero-mean numbers, rounded to `storage`."""
    return rng(seed).standard_normal(shape).astype(DTYPES[storage])


def integers(shape, storage: str = "float32", seed: int = 0, low: int = -3, high: int = 4) -> np.ndarray:
    """Small integers: every sum of their products is exact, so results must be equal bit for bit."""
    return rng(seed).integers(low, high, shape).astype(DTYPES[storage])


def assert_close(actual, expected, sum_of_squares, terms: int, storage: str = "float32"):
    """|actual - expected| <= 4 u sqrt(K) sqrt(sum (a_i b_i)^2) + half an ulp of the storage type.

    `sum_of_squares` is sum (a_i b_i)^2 per output (float64), `terms` is K, u the rounding of the accumulator.
    """
    expected = np.asarray(expected, np.float64)
    accumulator = 2.0**-53 if storage == "float64" else 2.0**-24
    bound = 4 * accumulator * np.sqrt(max(terms, 1)) * np.sqrt(sum_of_squares) + EPS[storage] * np.abs(expected) + 1e-30
    error = np.abs(np.asarray(actual).astype(np.float64) - expected)
    worst = np.unravel_index(np.argmax(error / bound), error.shape) if error.size else ()
    assert (error <= bound).all(), f"error {error[worst]:.3g} exceeds the bound {bound[worst]:.3g} at {worst}"


DEVICE = os.environ.get("PYCNN_TEST_DEVICE", "cpu")  # "cuda" runs the same tests on the GPU


def versions(op: str, host: bool = True) -> list[tuple[str, str]]:
    """(version, storage) of every record of an op on the device under test."""
    rows = backends.get(DEVICE).module.list_versions()
    return [(row["version"], row["storage"]) for row in rows if row["op"] == op and (host or not row["host"])]


def run(op: str, version: str, problem: tuple, storage: str, *arrays):
    """Run one named version of an op on host arrays in memory order; outputs are written into them."""
    backend = backends.get(DEVICE)
    with pycnn.kernels(**{op: version}):
        if DEVICE == "cpu":
            return backend.run(op, problem, DTYPES[storage], *arrays)
        on_device = [None if a is None else backend.to_device(a) for a in arrays]
        backend.run(op, problem, DTYPES[storage], *on_device)
    for host_array, array in zip(arrays, on_device, strict=True):
        if host_array is not None and host_array.flags.writeable:
            host_array[...] = backend.to_host(array)


def bits(array: np.ndarray) -> bytes:
    """The bytes of an array, for bit-for-bit comparison."""
    return np.ascontiguousarray(array).tobytes()


def assert_same_bits_in_any_order(compute) -> None:
    """`compute()` returns an array whose bits must depend neither on the number of threads nor on their order in a block."""
    module, before, seen = backends.cpu().module, pycnn.get_num_threads(), set()
    try:
        for threads, order in [(1, "forward"), (2, "reverse"), (3, "random")]:
            pycnn.set_num_threads(threads)
            module.set_thread_order(order, 7)
            seen.add(bits(compute()))
    finally:
        pycnn.set_num_threads(before)
        module.set_thread_order("forward", 0)
    assert len(seen) == 1
