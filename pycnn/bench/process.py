"""What only a fresh process shows: how long the import takes and how much memory training needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

STEPS, BATCH = 20, 64


def import_seconds(library: str) -> float:
    """Seconds that ``import <library>`` takes in a new process, NumPy included, Python's own start not."""
    return run(f"import time; start = time.perf_counter(); import {library}; print(time.perf_counter() - start)")


@cache
def training_memory(library: str) -> dict[str, int]:
    """Bytes of resident memory in a new process that trains LeNet-5 for 20 steps of batch 64 on two threads: `imported`, when the
    library, model, optimizer and data are there, and `peak`, the most at any time."""
    return run(f"import json; from pycnn.bench import process; print(json.dumps(process.train({library!r})))")


def run(code: str):
    """Run Python code in a new process; returns what it prints last, read as JSON."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def train(library: str) -> dict[str, int]:
    """Train in this process; what :func:`training_memory` returns."""
    import numpy as np

    from . import net

    images = np.random.Generator(np.random.Philox(1)).standard_normal((BATCH, 1, 32, 32), np.float32)
    labels = np.arange(BATCH) % 10
    if library == "torch":
        import torch

        from .contest import Setting

        torch.set_num_threads(2)
        step = net.torch_step(Setting(torch=torch), net.initial_weights(), images, labels, "NCHW")
    else:
        from .. import set_num_threads

        set_num_threads(2)
        step = net.pycnn_step("cpu", net.initial_weights(), images, labels)
    imported = peak_memory()
    for _ in range(STEPS):
        step()
    return {"imported": imported, "peak": peak_memory()}


def peak_memory() -> int:
    """The most resident memory this process ever had, in bytes. Linux's VmHWM starts anew with a program; getrusage's ru_maxrss,
    used elsewhere, begins with that of the process which started it."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
