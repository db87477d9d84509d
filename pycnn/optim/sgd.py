"""Stochastic gradient descent with PyTorch's update."""

from __future__ import annotations

from .optimizer import Optimizer


class SGD(Optimizer):
    """SGD with momentum, Nesterov momentum and weight decay, as ``torch.optim.SGD`` computes it.

    g = grad + weight_decay · p;  v = momentum · v + (1 - dampening) · g  (v = g in the first step);
    p -= lr · (g + momentum · v if nesterov else v).

    Raises:
        ValueError: a setting is negative, or nesterov without momentum or with dampening.
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        for name, value in {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}.items():
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(f"nesterov needs momentum > 0 and dampening = 0, got {momentum} and {dampening}")
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, settings, buffers=("momentum",))

    def update(self, group, start, end):
        s = group.settings
        problem = (end - start, int(s["nesterov"]), s["momentum"], s["dampening"], s["weight_decay"])
        buffer = group.buffers["momentum"][start:end] if s["momentum"] else None
        group.backend.run("sgd", problem, group.dtype, group.data[start:end], group.grad[start:end], buffer, group.state)
