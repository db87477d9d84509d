"""What only a fresh process shows: how long the import takes and how much memory training needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

STEPS = 10


def import_seconds(library: str) -> float:
    """Seconds that ``import <library>`` takes in a new process, NumPy included, Python's own start not."""
    return run(f"import time; start = time.perf_counter(); import {library}; print(time.perf_counter() - start)")


@cache
def training_memory(library: str, net: str) -> dict[str, int]:
    """Bytes of resident memory in a new process that trains the net of that name for 10 steps on two threads: `before`, when all
    code is loaded (a step of LeNet-5 has been made) and the data is there, but no model, and `peak`, the most at any time."""
    return run(f"import json; from pycnn.bench import process; print(json.dumps(process.train({library!r}, {net!r})))")


def run(code: str):
    """Run Python code in a new process; returns what it prints last, read as JSON."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def train(library: str, name: str) -> dict[str, int]:
    """Train in this process; what :func:`training_memory` returns."""
    from . import net
    from .contest import Setting

    chosen, small = net.NETS[name], net.NETS["LeNet-5"]
    images, labels = net.batch(chosen)
    weights = net.initial_weights(chosen)
    if library == "torch":
        import torch

        torch.set_num_threads(2)
        prepare = lambda n, w, x, t: net.torch_step(Setting(torch=torch), n, w, x, t, "NCHW")
    else:
        from .. import set_num_threads

        set_num_threads(2)
        prepare = lambda n, w, x, t: net.pycnn_step("cpu", n, w, x, t)
    prepare(small, net.initial_weights(small), *net.batch(small))()
    before = resident("VmRSS")
    step = prepare(chosen, weights, images, labels)
    for _ in range(STEPS):
        step()
    return {"before": before, "peak": resident("VmHWM")}


def resident(entry: str) -> int:
    """Bytes of resident memory of this process: now (VmRSS) or at most so far (VmHWM). Linux's VmHWM starts anew with a program;
    getrusage's ru_maxrss, used elsewhere for both, begins with that of the process which started it."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split(f"{entry}:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
