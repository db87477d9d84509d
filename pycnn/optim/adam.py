"""Adam and AdamW with PyTorch's update."""

from __future__ import annotations

from .optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arxiv.org/abs/1412.6980, algorithm 1), as ``torch.optim.Adam`` computes it.

    g = grad + weight_decay · p;  m += (1 - β₁) · (g - m);  v = β₂ · v + (1 - β₂) · g²;
    p -= lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps), t counted from 1.

    β₁ and β₂ are `betas`. m and v are float32 beside 16-bit parameters. t is a group's, so a parameter without a gradient stays
    as it is, but its corrections go on (PyTorch counts t per parameter).

    Raises:
        ValueError: a setting is negative, or a beta is not in [0, 1).
    """

    decoupled = False

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings, buffers=("mean", "square"), wide=True)
        for group in self.groups:
            check(**{name: group.settings[name] for name in settings})

    def prepare(self, group):
        group.backend.run("adam_corrections", tuple(group.settings["betas"]), group.dtype, group.state)

    def update(self, group, start, end):
        s, buffers = group.settings, group.buffers
        problem = (end - start, int(self.decoupled), *s["betas"], s["eps"], s["weight_decay"])
        flat = (group.data, group.grad, buffers["mean"], buffers["square"])
        group.backend.run("adam", problem, group.dtype, *(a[start:end] for a in flat), group.state)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arxiv.org/abs/1711.05101), as ``torch.optim.AdamW``
    computes it: p *= 1 - lr · weight_decay first, and g = grad. For the rest see :class:`Adam`.
    """

    decoupled = True

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)


def check(lr, betas, eps, weight_decay) -> None:
    """Refuse settings that make no sense."""
    for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    for i, beta in enumerate(betas):
        if not 0 <= beta < 1:
            raise ValueError(f"betas[{i}] must be in [0, 1), got {beta}")
