"""Matrix products: square ones and those of linear layers."""

from __future__ import annotations

import numpy as np

from .. import ops
from ..tensor import no_grad
from .contest import Contest, Setting, random, worst

SIZES = {  # name: (M, N, K)
    "square": (512, 512, 512),
    "large square": (1024, 1024, 1024),
    "odd": (333, 257, 511),
    "ResNet-50 classifier": (64, 1000, 2048),
    "LeNet-5 F6": (64, 84, 120),
}


def contest(setting: Setting, size: tuple[int, int, int]) -> Contest:
    """c = a · b with a (M, K) and b (K, N)."""
    m, n, k = size
    a, b = random(m, k, seed=1), random(k, n, seed=2)
    rows = np.unique(np.linspace(0, m - 1, 48).astype(int))
    factors = a[rows].astype(np.float64), b.astype(np.float64)
    expected, squares = factors[0] @ factors[1], factors[0] ** 2 @ factors[1] ** 2
    ours = setting.plain(a), setting.plain(b)

    @no_grad()
    def pycnn():
        return ops.matmul(*ours)

    def torch():
        theirs = setting.torch_tensor(a), setting.torch_tensor(b)
        return setting.torch.inference_mode()(lambda: theirs[0] @ theirs[1])

    return Contest(pycnn, setting.rival("matmul", torch), lambda c: worst(c[rows], expected, squares, k))
