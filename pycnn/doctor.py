"""``pycnn doctor``: what is installed, which backends work, and if not, why and what to do."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from . import __version__
from .errors import NotSupported

PACKAGES = {
    "numpy": "arrays on the CPU",
    "ml_dtypes": "bfloat16",
    "safetensors": "checkpoints",
    "matplotlib": "the picture of a run",
    "rich": "progress bar",
    "torch": "optional: what tests and benchmarks compare with",
}

# Runs in a process of its own: a module built for another CPU dies of an illegal instruction, and that is worth a sentence.
CPU_PROBE = """
import numpy as np
from pycnn import backend
cpu = backend.cpu()
x = np.arange(1000, dtype=np.float32)
y = np.zeros_like(x)
cpu.run("copy", (x.size, 0), x.dtype, x, y)
assert (x == y).all(), "the copy kernel computed a wrong result"
print(cpu.module.build)
print(backend.get_num_threads())
"""


def doctor(device: str = "cpu") -> int:
    """Print a report; returns 0 if `device` ("cpu" or "cuda") works, else 1."""
    say("pycnn", f"{__version__} in {Path(__file__).parent}")
    say("Python", f"{platform.python_version()}, {sys.executable}, on {platform.system()} {platform.machine()}")
    for package, purpose in PACKAGES.items():
        say(package, f"{_version(package) or 'not installed'} ({purpose})")
    say("kernels", _sources())
    works = {"cpu": _report_cpu(), "cuda": _report_cuda()}
    return 0 if works[device] else 1


def say(subject: str, *lines: str) -> None:
    """Print a line about something, and more lines under it."""
    for i, line in enumerate(lines):
        print(f"{subject if i == 0 else '':12}{line}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sources() -> str:
    from .kernel_source import kernels_folder

    try:
        return f"sources in {kernels_folder()}"
    except NotSupported as error:
        return str(error)


# ---- CPU ----


def _report_cpu() -> bool:
    if importlib.util.find_spec("pycnn._cpu") is None and not os.environ.get("PYCNN_CPU_MODULE"):
        say("cpu", "does not work: pycnn._cpu is not built. It needs a C++17 compiler; then: pip install .")
        return False
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # finds the same pycnn
    probe = subprocess.run(
        [sys.executable, "-c", CPU_PROBE], capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1]
    )
    if probe.returncode == -signal.SIGILL:
        say("cpu", "does not work: pycnn._cpu was built for another CPU and uses instructions this one lacks.")
        say("", "Build it for any CPU: PYCNN_CPU=portable pip install --force-reinstall --no-deps .")
    elif probe.returncode < 0:
        say("cpu", f"does not work: a kernel died of {signal.Signals(-probe.returncode).name}")
    elif probe.returncode:
        say("cpu", f"does not work: {(probe.stderr.strip() or 'no reason given').splitlines()[-1]}")
    else:
        build, threads = probe.stdout.splitlines()[-2:]
        say("cpu", f"works: {threads} threads on {os.cpu_count()} cores, {_cpu_model()}")
        say("", f"built with {build}", f"instruction sets here: {_instruction_sets() or 'unknown'}")
    return probe.returncode == 0


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _instruction_sets() -> str:
    core = "numpy._core" if importlib.util.find_spec("numpy._core") else "numpy.core"  # its name before NumPy 2
    features = getattr(importlib.import_module(f"{core}._multiarray_umath"), "__cpu_features__", {})
    names = ("SSE42", "AVX", "FMA3", "AVX2", "AVX512F", "AVX512_SKX", "NEON", "ASIMD", "SVE")
    return " ".join(name for name in names if features.get(name))


# ---- CUDA ----


def _report_cuda() -> bool:
    driver, gpus = _driver()
    nvcc = _nvcc()
    say("nvcc", nvcc or "not found in CUDACXX, PATH, CUDA_HOME and /usr/local/cuda (it compiles pycnn._cuda)")
    say("driver", driver)
    reasons = []
    if importlib.util.find_spec("pycnn._cuda") is None:
        first = "" if nvcc else "install the CUDA toolkit, then: "
        reasons.append(f"pycnn._cuda is not built; {first}PYCNN_CUDA=ON pip install .")
    if not gpus:
        reasons.append("there is no NVIDIA GPU with a working driver")
    if importlib.util.find_spec("cupy") is None:
        reasons.append("CuPy is missing; pip install cupy-cuda13x (cupy-cuda12x for CUDA 12)")
    if not reasons:
        try:
            from . import backend

            backend.cuda()
        except Exception as error:  # whatever breaks here is what the reader wants to know
            reasons.append(f"{type(error).__name__}: {error}")
    if reasons:
        say("cuda", f"does not work: {reasons[0]}", *(f"and: {reason}" for reason in reasons[1:]))
    else:
        say("cuda", f"works: {gpus} GPU{'s' if gpus > 1 else ''}")
    return not reasons


def _nvcc() -> str | None:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    named = [os.environ.get("CUDACXX"), "nvcc", *(f"{home}/bin/nvcc" for home in homes if home)]
    return next((found for name in named if name and (found := shutil.which(name))), None)


def _driver() -> tuple[str, int]:
    """A sentence about the NVIDIA driver, and how many GPUs it shows."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "none (there is no libcuda.so.1)", 0
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    text = f"for CUDA up to {version.value // 1000}.{version.value % 1000 // 10}"
    if code := cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return f"{text}, but it cannot be used (error {code})", 0
    return f"{text}; it shows {count.value} GPU{'s' if count.value != 1 else ''}", count.value
