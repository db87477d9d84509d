"""Timing: both sides take turns, medians are compared, and the spread of the ratio is reported.

On a CPU a sample is a wall-clock time of as many runs as fill 30 milliseconds, after as many that are not timed. On a GPU it
is the time between two CUDA events on one stream, with enough work queued ahead that launching does not show: "warm" repeats
the run, "cold" overwrites the L2 cache before each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Run = Callable[[], object]
SETTLE = (
    0.02  # seconds: an idle thread of the other side spins for some milliseconds before it sleeps, and takes a core meanwhile
)
WARM_UP = 0.003  # seconds: this side's own threads wake, and its memory is in the cache
L2_FLUSH = 256 << 20  # bytes overwritten to empty the L2 cache, and to keep the GPU busy while runs are queued


@dataclass(frozen=True)
class Effort:
    """How long to measure a row.

    Attributes:
        sample: seconds one sample should last at least.
        budget: seconds for all samples of a row.
        most: rounds at most; at least three are made.
    """

    sample: float
    budget: float
    most: int


FULL, QUICK, GPU = Effort(0.03, 1.2, 15), Effort(0.01, 0.5, 5), Effort(0.002, 1.0, 25)


class CpuClock:
    """Wall-clock samples."""

    modes = ("warm",)

    def sample(self, run: Run, repeats: int, mode: str) -> float:
        """Seconds per run."""
        warm = time.perf_counter() + WARM_UP
        run()
        while time.perf_counter() < warm:
            run()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats


class CudaClock:
    """CUDA events on a stream of CuPy's that PyTorch uses too (see :meth:`active`)."""

    modes = ("warm", "cold")

    def __init__(self, device: str):
        import cupy

        self.cupy, self.ordinal = cupy, int(device.partition(":")[2] or 0)
        cupy.cuda.Device(self.ordinal).use()
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.scratch = cupy.cuda.alloc(L2_FLUSH)

    def active(self, torch):
        """A context in which both libraries launch on this clock's stream."""
        import contextlib

        stack = contextlib.ExitStack()
        stack.enter_context(self.stream)
        if torch is not None:
            torch.cuda.set_device(self.ordinal)
            stack.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(self.stream.ptr, device=self.ordinal)))
        return stack

    def occupy(self) -> None:
        """Queue a write of 256 MB: some 60 µs of an H200's time, and its L2 cache holds nothing else afterwards."""
        self.cupy.cuda.runtime.memsetAsync(self.scratch.ptr, 0, L2_FLUSH, self.stream.ptr)

    def sample(self, run: Run, repeats: int, mode: str) -> float:
        """Seconds per run."""
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        if mode == "warm":
            for _ in range(repeats):
                self.occupy()
            run()
            start.record(self.stream)
            for _ in range(repeats):
                run()
            end.record(self.stream)
            end.synchronize()
            return self.cupy.cuda.get_elapsed_time(start, end) / 1e3 / repeats
        seconds = 0.0
        for _ in range(repeats):
            self.occupy()
            self.occupy()
            start.record(self.stream)
            run()
            end.record(self.stream)
            end.synchronize()
            seconds += self.cupy.cuda.get_elapsed_time(start, end) / 1e3
        return seconds / repeats


def interleave(runs: dict[str, Run], clock, mode: str, effort: Effort) -> dict[str, np.ndarray]:
    """Samples of each run in seconds, one per round; sides take turns, and who begins alternates."""
    repeats, once = {}, {}
    for name, run in runs.items():
        run()
        once[name] = clock.sample(run, 1, mode)
        if once[name] < effort.sample:
            few = max(1, min(20, int(effort.sample / once[name] / 4)))
            once[name] = clock.sample(run, few, mode)
        repeats[name] = max(1, min(10_000, math.ceil(effort.sample / max(once[name], 1e-9))))
    if mode == "cold":
        repeats = {name: min(r, 20) for name, r in repeats.items()}
    round_time = sum(once[name] * (repeats[name] + 1) + WARM_UP for name in runs)
    rounds = max(3, min(effort.most, int(effort.budget / round_time)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        for name in list(runs) if i % 2 == 0 else list(reversed(runs)):
            samples[name].append(clock.sample(runs[name], repeats[name], mode))
    return {name: np.array(values) for name, values in samples.items()}


def compare(samples: dict[str, np.ndarray], ours: str = "pycnn") -> dict:
    """Medians, the rival with the least one, and the ratio rival / ours: of the medians, its 20th and 80th percentile over the
    rounds, and of the best samples (the fastest rival's and ours), which other programs on the machine disturb least."""
    medians = {name: float(np.median(values)) for name, values in samples.items()}
    best = {name: float(np.min(values)) for name, values in samples.items()}
    result: dict = {"pycnn_s": medians[ours], "rounds": len(samples[ours])}
    rivals = {name: m for name, m in medians.items() if name != ours}
    if rivals:
        rival = min(rivals, key=rivals.__getitem__)
        ratios = samples[rival] / samples[ours]
        low, high = np.percentile(ratios, [20, 80])
        result |= {"torch_s": rivals[rival], "rival": rival, "ratio": rivals[rival] / medians[ours]}
        result |= {"ratio_p20": float(low), "ratio_p80": float(high), "rivals": rivals}
        result["ratio_best"] = min(b for name, b in best.items() if name != ours) / best[ours]
    return result


def geometric_mean(values) -> float:
    """The geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(list(values)))))
