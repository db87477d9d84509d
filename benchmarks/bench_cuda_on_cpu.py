"""What CUDA on the CPU costs: ReLU against NumPy's copy, a switch between two threads of a block, a launch.

pytest benchmarks/bench_cuda_on_cpu.py
"""

import ctypes
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-pthread", "-fPIC", "-shared"]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """tests/cpp/benchmark.cpp with kernels/cpu, compiled as the engine's kernels are."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("no C++ compiler (CXX, c++, g++, clang++)")
    path = tmp_path_factory.mktemp("cuda_on_cpu") / "benchmark.so"
    sources = [ROOT / "tests" / "cpp" / "benchmark.cpp", *sorted((ROOT / "kernels" / "cpu").glob("*.cpp"))]
    subprocess.run([compiler, *FLAGS, "-DPYCNN_CUDA=0", "-I", ROOT / "kernels", *sources, "-o", path], check=True)
    return ctypes.CDLL(str(path))


def relu(library, strip, x, y):
    """A call of the ReLU kernel whose threads take `strip` elements each."""
    pointer = ctypes.POINTER(ctypes.c_float)
    function = getattr(library, f"relu_{strip}")
    arguments = x.ctypes.data_as(pointer), y.ctypes.data_as(pointer), ctypes.c_int64(x.size)
    return lambda: function(*arguments)


def arrays(size):
    x = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    return x, np.zeros_like(x)


def best_seconds(*calls, rounds=40):
    """The shortest time of each call; they take turns, so that a busy machine slows all of them."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def test_relu_reaches_70_percent_of_copy(library):
    x, y = arrays(1 << 24)
    copy, kernel = best_seconds(lambda: np.copyto(y, x), relu(library, 16, x, y))
    print(f"ReLU {8e-9 * x.size / kernel:.1f} GB/s, NumPy's copy {8e-9 * x.size / copy:.1f} GB/s: {copy / kernel:.0%}")
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert copy / kernel >= 0.7


@pytest.mark.parametrize("size", [1 << 18, 1 << 24])
@pytest.mark.parametrize("what", ["copy", 4, 16, 64])
def test_relu(benchmark, library, what, size):
    """GB/s of NumPy's copy and of ReLU with 4, 16 and 64 elements per thread, in cache and in memory."""
    x, y = arrays(size)
    benchmark(lambda: np.copyto(y, x) if what == "copy" else relu(library, what, x, y)())
    if benchmark.stats:
        benchmark.extra_info["GB/s"] = 8e-9 * size / benchmark.stats.stats.min


@pytest.mark.parametrize("threads", [32, 256, 1024])
def test_barrier(benchmark, library, threads):
    """One block through 100 barriers; extra_info has the time per thread and barrier, which is one fiber switch."""
    benchmark(library.barriers, 1, threads, 100)
    if benchmark.stats:
        benchmark.extra_info["ns per switch"] = 1e9 * benchmark.stats.stats.min / (100 * threads)


def test_shuffle(benchmark, library):
    """A block of 256 threads through 100 shuffles; extra_info has the time per thread and shuffle."""
    y = np.zeros(256, np.float32)
    benchmark(library.shuffles, 256, 100, y.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    if benchmark.stats:
        benchmark.extra_info["ns per shuffle"] = 1e9 * benchmark.stats.stats.min / (100 * 256)


@pytest.mark.parametrize("blocks", [1, 2, 64])
def test_launch(benchmark, library, blocks):
    """A launch of blocks of 256 threads that do nothing."""
    benchmark(library.barriers, blocks, 256, 0)
