"""Learning rates over time, with the names, arguments and values of ``torch.optim.lr_scheduler``.

All but :class:`ReduceLROnPlateau` are functions of how often ``step()`` was called (``last_epoch``), so that they are saved as
one number. What a step is, is the loop's affair: an optimizer step, as the :class:`~pycnn.train.Trainer` has it, or an epoch::

    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    for images, labels in loader:
        ...
        optimizer.step()
        scheduler.step()
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from .optimizer import Optimizer


class LRScheduler:
    """Base: a learning rate that depends on the number of steps alone. A subclass defines :meth:`rate`.

    Making one sets the rates of step 0. Each group starts from the rate it had when its first scheduler was made
    (``initial_lr`` in its settings), so that schedulers can be combined.

    Attributes:
        last_epoch: how often ``step()`` was called.
        base_lrs: each group's initial rate.
    """

    def __init__(self, optimizer: Optimizer):
        self.optimizer, self.last_epoch = optimizer, 0
        self.base_lrs = [group.settings.setdefault("initial_lr", group.lr) for group in optimizer.groups]
        self._apply()

    def rate(self, base: float, steps: int) -> float:
        """The rate after `steps` steps of a group that started with `base`."""
        raise NotImplementedError(f"{type(self).__name__} defines no rate")

    def step(self) -> None:
        """Go one step on and set every group's learning rate."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.groups, self.base_lrs, strict=True):
            group.lr = self.rate(base, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """Each group's learning rate."""
        return [group.lr for group in self.optimizer.groups]

    def state_dict(self) -> dict:
        """What `load_state_dict` needs to go on: JSON values. The rates themselves are in the optimizer's state."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`.

        Raises:
            KeyError: it is of another scheduler.
            ValueError: it is of an optimizer with another number of groups.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise KeyError(f"scheduler state has {sorted(state)}, {type(self).__name__} needs {sorted(own)}")
        if len(state["base_lrs"]) != len(self.base_lrs):
            raise ValueError(f"scheduler state is of {len(state['base_lrs'])} groups, the optimizer has {len(self.base_lrs)}")
        self.__dict__.update(state)


class LambdaLR(LRScheduler):
    """The initial rate times ``lr_lambda(steps)``."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]):
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def rate(self, base, steps):
        return base * self.lr_lambda(steps)


class StepLR(LRScheduler):
    """Times `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = _positive("step_size", step_size), gamma
        super().__init__(optimizer)

    def rate(self, base, steps):
        return base * self.gamma ** (steps // self.step_size)


class MultiStepLR(LRScheduler):
    """Times `gamma` at each of `milestones` (as often as a number is in it)."""

    def __init__(self, optimizer: Optimizer, milestones: list[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, base, steps):
        return base * self.gamma ** bisect_right(self.milestones, steps)


class ExponentialLR(LRScheduler):
    """Times `gamma` every step."""

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, base, steps):
        return base * self.gamma**steps


class CosineAnnealingLR(LRScheduler):
    """From the initial rate to `eta_min` in `T_max` steps along half a cosine (Loshchilov and Hutter 2017,
    arxiv.org/abs/1608.03983, equation 5, without restarts); it rises again after them, as PyTorch's does."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max, self.eta_min = _positive("T_max", T_max), eta_min
        super().__init__(optimizer)

    def rate(self, base, steps):
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * steps / self.T_max)) / 2


class PolynomialLR(LRScheduler):
    """The initial rate times (1 - steps / total_iters)^power, 0 after `total_iters` steps: the "poly" policy of DeepLab
    (Chen et al. 2017, arxiv.org/abs/1606.00915, section 4.1), which takes a power of 0.9."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0):
        self.total_iters, self.power = _positive("total_iters", total_iters), power
        super().__init__(optimizer)

    def rate(self, base, steps):
        return base * (1 - min(steps, self.total_iters) / self.total_iters) ** self.power


class ConstantLR(LRScheduler):
    """The initial rate times `factor` for `total_iters` steps, then the initial rate."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5):
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def rate(self, base, steps):
        return base * (self.factor if steps < self.total_iters else 1.0)


class LinearLR(LRScheduler):
    """The initial rate times a factor that goes in a straight line from `start_factor` to `end_factor` in `total_iters` steps.

    Before another schedule (:class:`SequentialLR`) it is the gradual warm-up of Goyal et al. 2017 (arxiv.org/abs/1706.02677,
    section 2.2), there of 5 epochs.
    """

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"start_factor must be in (0, 1] and end_factor in [0, 1], got {start_factor} and {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _positive("total_iters", total_iters)
        super().__init__(optimizer)

    def rate(self, base, steps):
        part = min(steps, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class SequentialLR(LRScheduler):
    """One schedule after the other: the next one takes over, at its own step 0, at each of `milestones`.

    Raises:
        ValueError: there is not one milestone fewer than schedulers, or they do not rise, or a scheduler is of another optimizer.
        TypeError: a scheduler is no :class:`LRScheduler`; :class:`ReduceLROnPlateau` is none.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int]):
        if len(milestones) != len(schedulers) - 1 or sorted(set(milestones)) != list(milestones):
            raise ValueError(f"{len(schedulers)} schedulers need rising milestones, one fewer, got {milestones}")
        for scheduler in schedulers:
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"SequentialLR takes schedules that depend on the step alone, not a {type(scheduler).__name__}")
            if scheduler.optimizer is not optimizer:
                raise ValueError("SequentialLR: a scheduler is of another optimizer")
        self.schedulers, self.milestones = schedulers, list(milestones)
        super().__init__(optimizer)

    def rate(self, base, steps):
        i = bisect_right(self.milestones, steps)
        return self.schedulers[i].rate(base, steps - (self.milestones[i - 1] if i else 0))


class ReduceLROnPlateau:
    """Times `factor` when a metric has not become better for more than `patience` steps (epochs, as a rule).

    Args:
        optimizer: whose rates are set.
        mode: whether the metric should become small ("min", a loss) or large ("max", an accuracy).
        factor: less than 1.
        patience: how many steps without an improvement are put up with.
        threshold: the least improvement that counts: a part of the best value ("rel") or a difference ("abs").
        threshold_mode: "rel" or "abs".
        cooldown: steps after a reduction in which none is counted.
        min_lr: no rate falls below it.
        eps: a smaller change of a rate is not made.

    Raises:
        ValueError: `factor` is not less than 1, or a mode is unknown.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ):
        if not 0 <= factor < 1:
            raise ValueError(f"factor must be in [0, 1), got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"mode must be 'min' or 'max', threshold_mode 'rel' or 'abs', got {mode!r} and {threshold_mode!r}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best: float | None = None
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: float) -> None:
        """Take notice of a step's metric. NaN is no improvement."""
        self.last_epoch += 1
        value = float(metrics)
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.groups:
                reduced = max(group.lr * self.factor, self.min_lr)
                if group.lr - reduced > self.eps:
                    group.lr = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.best is None:
            return sign * value < math.inf
        if self.threshold_mode == "abs":
            return sign * value < sign * self.best - self.threshold
        return sign * value < sign * self.best * (1 - sign * self.threshold)

    def get_last_lr(self) -> list[float]:
        """Each group's learning rate."""
        return [group.lr for group in self.optimizer.groups]

    def state_dict(self) -> dict:
        """What `load_state_dict` needs to go on: JSON values. The rates themselves are in the optimizer's state."""
        return {name: getattr(self, name) for name in ("best", "last_epoch", "num_bad_epochs", "cooldown_counter")}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`.

        Raises:
            KeyError: it is of another scheduler.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise KeyError(f"scheduler state has {sorted(state)}, ReduceLROnPlateau needs {sorted(own)}")
        self.__dict__.update(state)


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value
