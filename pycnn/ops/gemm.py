"""Matrix products: linear and matmul."""

from __future__ import annotations

import math

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Function, Tensor
from .shape import as_plain, cast_array, reshape


def write_sums(function: Function, i: int, write) -> None:
    """Let `write(array, accumulate)` put a gradient that is a sum over the batch where input `i`'s belongs.

    Kernels store such sums in the accumulator type, float32 for 16-bit storage; a 16-bit gradient gets them rounded once.
    """
    buffer, accumulate = function.grad_buffer(i)
    if buffer.dtype.itemsize > 2:
        write(buffer, int(accumulate))
        return
    wide = function.empty(buffer.shape, np.float32)
    write(wide, 0)
    rounded = cast_array(function.backend, wide, buffer.dtype)
    function.run("copy", (buffer.size, int(accumulate)), buffer.dtype, rounded, buffer)


class _Linear(Function):
    """y = x · weightᵀ + bias.  x: (M, K)  weight: (N, K)  bias: (N,)  y: (M, N)."""

    layout = "plain"

    def forward(self, x, weight, bias):
        (M, K), N = x.shape, weight.shape[0]
        y = self.empty((M, N), x.dtype)
        self.run("gemm", (M, N, K, 0, 1, 0, 0), x.dtype, x, weight, bias, y)
        self.extents = M, N, K
        self.save(x if self.needs[1] else None, weight if self.needs[0] else None)
        return y

    def backward(self, dy):
        x, weight = self.saved
        M, N, K = self.extents
        if self.needs[0]:  # dx = dy · weight
            dx, accumulate = self.grad_buffer(0)
            self.run("gemm", (M, K, N, 0, 0, int(accumulate), 0), dy.dtype, dy, weight, None, dx)
        if self.needs[1]:  # dweight = dyᵀ · x
            write_sums(self, 1, lambda dweight, add: self.run("gemm", (N, K, M, 1, 0, add, 1), dy.dtype, dy, x, None, dweight))
        if self.needs[2]:
            write_sums(self, 2, lambda dbias, add: self.run("bias_backward", (M, N, add), dy.dtype, dy, dbias))


class _Matmul(Function):
    """c = a · b.  a: (M, K)  b: (K, N)  c: (M, N)."""

    layout = "plain"

    def forward(self, a, b):
        (M, K), N = a.shape, b.shape[1]
        c = self.empty((M, N), a.dtype)
        self.run("gemm", (M, N, K, 0, 0, 0, 0), a.dtype, a, b, None, c)
        self.extents = M, N, K
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return c

    def backward(self, dc):
        a, b = self.saved
        M, N, K = self.extents
        if self.needs[0]:  # da = dc · bᵀ
            da, accumulate = self.grad_buffer(0)
            self.run("gemm", (M, K, N, 0, 1, int(accumulate), 0), dc.dtype, dc, b, None, da)
        if self.needs[1]:  # db = aᵀ · dc
            db, accumulate = self.grad_buffer(1)
            self.run("gemm", (K, N, M, 1, 0, int(accumulate), 0), dc.dtype, a, dc, None, db)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input · weightᵀ + bias.

    Args:
        input: (..., K).
        weight: (N, K).
        bias: (N,) or None.

    Returns:
        (..., N).

    Raises:
        ShapeError: the shapes do not fit together.
        DTypeError: the arrays have different types.
    """
    if weight.ndim != 2:
        raise ShapeError(f"linear: weight must have 2 axes (out_features, in_features), got shape {weight.shape}")
    out_features, in_features = weight.shape
    if input.ndim < 1 or input.shape[-1] != in_features:
        raise ShapeError(
            f"linear: input has shape {input.shape}; its last axis must have in_features = {in_features} elements, "
            f"as weight of shape {weight.shape} has"
        )
    if bias is not None and bias.shape != (out_features,):
        raise ShapeError(f"linear: bias has shape {bias.shape}, must be ({out_features},)")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype:
            raise DTypeError(f"linear: {name} is {tensor.dtype} and input is {input.dtype}; they must be the same")
    leading = input.shape[:-1]
    if len(leading) == 1:
        return _Linear()(as_plain(input), weight, bias)
    rows = reshape(input, (math.prod(leading), in_features))
    return reshape(_Linear()(rows, weight, bias), (*leading, out_features))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product of two Tensors of two axes: (M, K) · (K, N) = (M, N).

    Raises:
        ShapeError: one has not two axes, or the inner extents differ.
        DTypeError: the arrays have different types.
    """
    if input.ndim != 2 or other.ndim != 2 or input.shape[1] != other.shape[0]:
        raise ShapeError(f"matmul: input and other must be (M, K) and (K, N), got {input.shape} and {other.shape}")
    if input.dtype != other.dtype:
        raise DTypeError(f"matmul: other is {other.dtype} and input is {input.dtype}; they must be the same")
    return _Matmul()(input, other)
