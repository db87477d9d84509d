"""What only a fresh process shows: how long the import takes and how much memory training needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from . import full_nets, net

STEPS = 10
FULL_STEPS = 3  # whole nets: the second step allocates what it keeps, as all later ones


def import_seconds(library: str) -> float:
    """Seconds that ``import <library>`` takes in a new process, NumPy included, Python's own start not."""
    return run(f"import time; start = time.perf_counter(); import {library}; print(time.perf_counter() - start)")


@cache
def training_memory(library: str, name: str) -> dict[str, int]:
    """Bytes of resident memory in a new process that trains a net (one of ``net.NETS`` for 10 steps, or of ``full_nets.NETS`` for
    3) on two threads: `before`, when all code is loaded (a step of LeNet-5 has been made), but no model, and `peak`, the most at
    any time."""
    return run(f"import json; from pycnn.bench import process; print(json.dumps(process.train({library!r}, {name!r})))")


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
    from .contest import Setting

    if library == "torch":
        import torch

        torch.set_num_threads(2)
        setting = Setting(torch=torch)
    else:
        from .. import set_num_threads

        set_num_threads(2)
        setting = Setting()
    _step(setting, "LeNet-5")()
    before = resident("VmRSS")
    step = _step(setting, name)
    for _ in range(STEPS if name in net.NETS else FULL_STEPS):
        step()
    return {"before": before, "peak": resident("VmHWM")}


def _step(setting, name: str):
    """A function that trains a step of the net of that name."""
    if name in net.NETS:
        chosen = net.NETS[name]
        images, labels = net.batch(chosen)
        weights = net.initial_weights(chosen)
        if setting.torch:
            return net.torch_step(setting, chosen, weights, images, labels, "NCHW")
        return net.pycnn_step("cpu", chosen, weights, images, labels)
    full = next(full for full in full_nets.NETS if full.name == name)
    return full_nets.torch_step(setting, full, "NCHW") if setting.torch else full_nets.pycnn_step(setting, full)


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
