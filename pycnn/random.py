"""Random numbers: one seed, Philox everywhere.

Initialisers draw on the host from NumPy's Philox. Kernels draw from Philox-4x32-10 keyed by the seed and a 64-bit counter that
live in a device array, so that a captured step draws fresh numbers at every replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import backend as backends

SEED, COUNTER = 0, 1  # slots of the device state


class _State:
    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}  # device -> int64[8]
        self.seed(0)

    def seed(self, seed: int):
        self.value = seed
        self.generator = np.random.Generator(np.random.Philox(seed))
        self.counter = 0
        self.op_index = 0
        for device in self.arrays:
            self._upload(device)

    def _upload(self, device: str):
        numbers = np.array([self.value & (2**63 - 1), self.counter, 0, 0, 0, 0, 0, 0], np.int64)
        if device in self.arrays:
            backends.get(device).write(self.arrays[device], numbers)
        else:
            self.arrays[device] = backends.get(device).to_device(numbers)


_state = _State()


def manual_seed(seed: int) -> None:
    """Start every random stream of pycnn from `seed` (initialisers, dropout masks, data order)."""
    _state.seed(int(seed))


def generator() -> np.random.Generator:
    """The host generator initialisers draw from."""
    return _state.generator


def device_state(device: str):
    """The int64[8] array kernels read: slot 0 the seed, slot 1 the counter that `next_step` advances."""
    if device not in _state.arrays:
        _state._upload(device)
    return _state.arrays[device]


def next_op() -> int:
    """The number of the next random op of this step; it keeps the masks of two dropouts apart."""
    _state.op_index += 1
    return _state.op_index - 1


def position() -> tuple[int, int, int]:
    """Where the streams of random ops are: seed, step and the number that :func:`next_op` gives next."""
    return _state.value, _state.counter, _state.op_index


def device_states() -> dict[str, Any]:
    """Copies of what kernels read, per device. Nothing is read back."""
    return {device: array.copy() for device, array in _state.arrays.items()}


@contextmanager
def replay(position: tuple[int, int, int], arrays: dict[str, Any]) -> Iterator[None]:
    """Under it random ops draw what they drew when :func:`position` and :func:`device_states` were these."""
    outer = _state.value, _state.counter, _state.op_index, _state.arrays
    (_state.value, _state.counter, _state.op_index), _state.arrays = position, arrays
    try:
        yield
    finally:
        _state.value, _state.counter, _state.op_index, _state.arrays = outer


def bernoulli(p: float) -> bool:
    """Whether an event of probability `p` happens, decided on the host: one more random op of this step, whose first word decides
    as it does in the kernels (kernels/random/random.h)."""
    counter, key = _state.counter, _state.value & (2**63 - 1)
    word, *_ = _philox((0, next_op(), counter & 0xFFFFFFFF, counter >> 32), (key & 0xFFFFFFFF, key >> 32))
    return word < int(p * 2**32 + 0.5)


def _philox(counter, key) -> tuple[int, int, int, int]:
    """Philox-4x32-10 (Salmon et al. 2011: Parallel random numbers: as easy as 1, 2, 3) of four words and a key of two."""
    a, b, c, d = counter
    for i in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        low, high = (key[0] + i * 0x9E3779B9) & 0xFFFFFFFF, (key[1] + i * 0xBB67AE85) & 0xFFFFFFFF
        a, b, c, d = right >> 32 ^ b ^ low, right & 0xFFFFFFFF, left >> 32 ^ d ^ high, left & 0xFFFFFFFF
    return a, b, c, d


def next_step() -> None:
    """Advance the counter, so that the next step draws new masks. Called by every optimiser step."""
    _state.counter += 1
    _state.op_index = 0
    for device, array in _state.arrays.items():
        backends.get(device).run("increment", (8, COUNTER), array.dtype, array)


def get_state() -> dict:
    """Everything needed to continue the streams, as JSON-serialisable values."""
    state: dict = dict(_state.generator.bit_generator.state)
    inner = {name: [int(v) for v in values] for name, values in state["state"].items()}
    return {
        "seed": _state.value,
        "counter": _state.counter,
        "op_index": _state.op_index,
        "generator": state | {"state": inner, "buffer": [int(v) for v in state["buffer"]]},
    }


def set_state(state: dict) -> None:
    """Continue the streams from a `get_state`."""
    _state.seed(state["seed"])
    held = dict(state["generator"])
    held["state"] = {name: np.array(values, np.uint64) for name, values in held["state"].items()}
    held["buffer"] = np.array(held["buffer"], np.uint64)
    _state.generator.bit_generator.state = held
    _state.counter, _state.op_index = state["counter"], state["op_index"]
    for device in _state.arrays:
        _state._upload(device)
