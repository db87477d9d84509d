"""Optimizer: parameters, gradients and state of a group lie in flat arrays, so that one launch updates them all."""

from __future__ import annotations

import numpy as np

from .. import random
from ..errors import DeviceError, DTypeError, ShapeError
from ..tensor import Parameter, Tensor

ALIGNMENT = 16  # bytes; every parameter's slot starts on a vector boundary
LEARNING_RATE, STEP = 0, 1  # slots of a group's state on the device (kernels/optim/optim.h)


class Group:
    """Parameters that share settings, packed: `data` and `grad` are flat, each Parameter's arrays are views into them."""

    def __init__(self, parameters: list[Tensor], settings: dict):
        self.parameters, self.settings = parameters, settings
        first = parameters[0]
        self.backend, self.dtype = first.backend, first.dtype
        for p in parameters:
            if p.backend is not self.backend or p.dtype != self.dtype:
                raise DeviceError(
                    f"one group's parameters must share device and type: {p.device} {p.dtype} beside {first.device} {first.dtype}"
                )
        step = ALIGNMENT // self.dtype.itemsize
        ends = np.cumsum([-(-p.size // step) * step for p in parameters])
        self.slots = [(int(end) - -(-p.size // step) * step, p.size) for p, end in zip(parameters, ends, strict=True)]
        self.size = int(ends[-1])
        self.data, self.grad = self.zeros(), self.zeros()
        self.state = self.backend.to_device(np.zeros(8, np.float64))
        self.lr = settings["lr"]
        for p, (start, size) in zip(parameters, self.slots, strict=True):
            if getattr(p, "changes", None) is None:
                raise DTypeError(f"an optimiser takes nn.Parameter objects, got a {type(p).__name__} of shape {p.shape}")
            view = self.data[start : start + size].reshape(p.data.shape)
            self.backend.xp.copyto(view, p.data)
            p.data = view
            p.use_grad_memory(self.grad[start : start + size].reshape(p.data.shape))

    def zeros(self, dtype=None):
        """A flat array of zeros, one element per slot element, of the parameters' type or another."""
        return self.backend.xp.zeros(self.size, dtype or self.dtype)

    @property
    def wide(self) -> np.dtype:
        """The type sums are kept in: float32 for 16-bit parameters, else theirs."""
        return self.dtype if self.dtype.itemsize > 4 else np.dtype(np.float32)

    @property
    def lr(self) -> float:
        """The learning rate; setting it writes the device state."""
        return self.settings["lr"]

    @lr.setter
    def lr(self, value: float):
        if not value >= 0:
            raise ValueError(f"lr must not be negative, got {value}")
        self.settings["lr"] = float(value)
        self.backend.write(self.state[LEARNING_RATE : LEARNING_RATE + 1], np.array([value]))

    def ready_runs(self) -> list[tuple[int, int]]:
        """Slices [start, end) of the flat arrays whose parameters have a gradient; one slice when all do."""
        runs: list[tuple[int, int]] = []
        boundaries = [start for start, _ in self.slots] + [self.size]
        for i, p in enumerate(self.parameters):
            if p._grad_ready:
                start, end = boundaries[i], boundaries[i + 1]
                if runs and runs[-1][1] == start:
                    runs[-1] = (runs[-1][0], end)
                else:
                    runs.append((start, end))
        return runs


class Optimizer:
    """Base of the optimisers: packs parameters, forgets gradients, saves and loads state.

    Args:
        params: Parameters, or dictionaries {"params": [...], setting: value …} for groups with settings of their own.
        defaults: the settings of groups that do not say otherwise.
        buffers: names of the flat state arrays each group keeps (e.g. the momentum).
        wide: keep the state of 16-bit parameters in float32.

    Raises:
        ValueError: there are no parameters, or one is in two groups.
    """

    def __init__(self, params, defaults: dict, buffers: tuple[str, ...] = (), wide: bool = False):
        params = list(params)
        if not params:
            raise ValueError("the optimiser got no parameters")
        if not isinstance(params[0], dict):
            params = [{"params": params}]
        self.groups: list[Group] = []
        seen: set[int] = set()
        for group in params:
            members = list(group["params"])
            if any(id(p) in seen for p in members) or len({id(p) for p in members}) < len(members):
                raise ValueError("a parameter is in more than one place of the optimiser")
            seen.update(id(p) for p in members)
            made = Group(members, defaults | {k: v for k, v in group.items() if k != "params"})
            made.buffers = {name: made.zeros(made.wide if wide else None) for name in buffers}
            self.groups.append(made)

    @property
    def lr(self) -> float:
        """The first group's learning rate; setting it sets every group's."""
        return self.groups[0].lr

    @lr.setter
    def lr(self, value: float):
        for group in self.groups:
            group.lr = value

    def zero_grad(self) -> None:
        """Forget all gradients. No memory is touched: the next backward overwrites."""
        for group in self.groups:
            for p in group.parameters:
                p.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.groups:
            self.prepare(group)
            for start, end in group.ready_runs():
                self.update(group, start, end)
            group.backend.run("advance_step", (0,), group.dtype, group.state)
            for p in group.parameters:
                if isinstance(p, Parameter):
                    p.changes += 1
        random.next_step()

    def prepare(self, group: Group) -> None:
        """What comes once before a group's updates."""

    def update(self, group: Group, start: int, end: int) -> None:
        """Update the elements [start, end) of a group's flat arrays."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all state on the host: per group the device state and the flat buffers."""
        state = {}
        for i, group in enumerate(self.groups):
            state[f"{i}.state"] = np.array(group.backend.to_host(group.state))
            for name, buffer in group.buffers.items():
                state[f"{i}.{name}"] = np.array(group.backend.to_host(buffer))
        return state

    def load_state_dict(self, state: dict) -> None:
        """Continue from a `state_dict` of an optimiser over the same parameters.

        Raises:
            KeyError: groups or buffers are missing.
            ShapeError: a buffer has another size.
        """
        targets = {f"{i}.state": g.state for i, g in enumerate(self.groups)}
        targets |= {f"{i}.{name}": b for i, g in enumerate(self.groups) for name, b in g.buffers.items()}
        if set(targets) != set(state):
            raise KeyError(f"optimiser state has {sorted(state)}, this one needs {sorted(targets)}")
        for name, target in targets.items():
            if np.shape(state[name]) != target.shape:
                raise ShapeError(f"optimiser state {name!r} has shape {np.shape(state[name])}, must be {target.shape}")
        for i, group in enumerate(self.groups):
            for name, target in targets.items():
                if name.startswith(f"{i}."):
                    group.backend.write(target, np.asarray(state[name]))
            group.settings["lr"] = float(np.asarray(state[f"{i}.state"])[LEARNING_RATE])
