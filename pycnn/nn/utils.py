"""What a training loop does with gradients between `backward` and the optimiser's step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .. import ops
from ..errors import DeviceError
from ..tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> Tensor:
    """Scale the gradients of all `parameters` by one factor, so that their common 2-norm is at most `max_norm` (Pascanu et al.
    2013, arxiv.org/abs/1211.5063, algorithm 1), as ``torch.nn.utils.clip_grad_norm_`` does: the factor is
    min(1, max_norm / (norm + 1e-6)).

    Nothing is read back from the device. Squares are added in float32 (float64 for float64), each gradient's first, in an
    order that depends on the shapes alone. Parameters without a gradient are left out.

    Returns:
        The norm before, shape (): where it is NaN or infinite, the gradients are now NaN or 0.

    Raises:
        ValueError: `max_norm` is negative or NaN.
        DeviceError: the gradients are not all on one device.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must not be negative, got {max_norm}")
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return Tensor(np.zeros((), np.float32))
    backend = grads[0].backend
    if any(g.backend is not backend for g in grads):
        raise DeviceError(f"clip_grad_norm_: gradients are on {' and '.join(sorted({g.device for g in grads}))}")
    wide = np.dtype(np.float64 if any(g.dtype == np.float64 for g in grads) else np.float32)

    squares = backend.empty((), wide)
    for i, grad in enumerate(grads):
        x = ops.cast(grad, wide)
        backend.run("sum", (1, x.size, 1, int(i > 0), 0, 1.0), wide, ops.mul(x, x).data, squares)
    norm = ops.sqrt(Tensor.from_memory(squares, "plain"))
    factor = ops.div(6.0 * max_norm, ops.add(norm, 1e-6))
    backend.run("relu6", (1, 0), wide, factor.data, factor.data)  # min(1, q) is relu6(6 q) / 6, NaN included
    factor = ops.div(factor, 6.0)
    for grad in grads:
        extents, along, nowhere = (1, 1, 1, 1, 1, grad.size), (0, 0, 0, 0, 0, 1), (0,) * 6
        problem = (*extents, *along, *nowhere, grad.size, 1)
        backend.run("broadcast_mul", problem, grad.dtype, grad.data, ops.cast(factor, grad.dtype).data, grad.data)
    return norm
