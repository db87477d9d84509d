"""Random ops: dropout."""

from __future__ import annotations

from .. import random as streams
from ..tensor import Function, Tensor


class _Dropout(Function):
    def __init__(self, p, extents, channels_last):
        self.p, self.extents = float(p), (*extents, int(channels_last))

    def problem(self, accumulate):
        return (*self.extents, self.op_index, int(accumulate), self.p)

    def forward(self, x):
        self.op_index = streams.next_op()
        state = streams.device_state(self.backend.device)
        y, drawn = self.empty(x.shape, x.dtype), self.empty(state.shape, state.dtype)
        self.run("dropout", self.problem(False), x.dtype, x, state, y, drawn)
        self.save(drawn)
        return y

    def backward(self, dy):
        (drawn,) = self.saved  # the same words again instead of a stored mask
        dx, accumulate = self.grad_buffer(0)
        self.run("dropout", self.problem(accumulate), dy.dtype, dy, drawn, dx, None)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p) (Srivastava et al. 2014, JMLR 15).

    The mask depends on the seed, the step, the number of the op in the step and the element's place in logical order, so it is
    the same on every device and in every layout; `backward` computes it again.

    Args:
        input: any shape.
        training: False returns the input unchanged.

    Raises:
        ValueError: p is no probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    extents = (*input.shape[:2], input.shape[2] * input.shape[3]) if input.ndim == 4 else (1, 1, input.size)
    return _Dropout(p, extents, input.layout == "image")(input)
