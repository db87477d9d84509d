"""Learning rates as functions of the step, so that a resumed run needs no state of theirs."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(lr: float, total_steps: int) -> Schedule:
    """The same rate throughout."""
    return lambda step: lr


def cosine(lr: float, total_steps: int) -> Schedule:
    """From `lr` down to 0 along half a cosine (Loshchilov and Hutter 2017, arxiv.org/abs/1608.03983, without
    restarts)."""
    return lambda step: lr * (1 + math.cos(math.pi * min(step, total_steps) / total_steps)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
