"""Normalization across the channels of one pixel: local response normalization and division by the Euclidean norm."""

from __future__ import annotations

import operator

import numpy as np

from ..errors import NotSupported, ShapeError
from ..tensor import Function, Tensor
from .normalization import accumulator
from .shape import as_image, as_plain, normalized_dim, permute

CONVENTIONS = ("torch", "paper", "caffe")


class _LocalResponseNorm(Function):
    """Channels are x's last axis."""

    def __init__(self, size, alpha, beta, k):
        self.size, self.numbers = size, (float(alpha), float(beta), float(k))

    def forward(self, x):
        channels = x.shape[-1]
        self.rows = (x.size // (channels or 1), channels)
        y = self.empty(x.shape, x.dtype)
        problem = (*self.rows, self.size, 0, *self.numbers)
        self.run("local_response_norm_forward", problem, x.dtype, x.reshape(self.rows), y.reshape(self.rows))
        self.save(x)
        return y

    def backward(self, dy):
        (x,) = self.saved
        dx, accumulate = self.grad_buffer(0)
        problem = (*self.rows, self.size, int(accumulate), *self.numbers)
        self.run("local_response_norm_backward", problem, x.dtype, *(a.reshape(self.rows) for a in (dy, x, dx)))


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float | None = None, convention: str = "torch"
) -> Tensor:
    """Local response normalization (Krizhevsky et al. 2012, section 3.3): y[c] = x[c] / s[c]^beta.

    ============  ==========================================================  ====  =============
    `convention`  s[c]                                                        k     size
    ============  ==========================================================  ====  =============
    "torch"       k + alpha / size · Σ x[i]², c - ⌊size/2⌋ <= i <=            1     any
                  c + ⌊(size - 1)/2⌋
    "paper"       k + alpha · Σ x[i]², c - ⌊size/2⌋ <= i <= c + ⌊size/2⌋      2     odd
    "caffe"       k + alpha / size · Σ x[i]², i as in the paper               1     odd
    ============  ==========================================================  ====  =============

    Channels that do not exist count as 0. The paper's networks have size 5, alpha 1e-4, beta 0.75 and k 2.
    In fp32 the error is at most (beta·(size + 3) + 4)·2⁻²⁴·|y|, computed in fp32 for 16-bit inputs too.

    Args:
        input: (N, C, H, W) or (N, C).
        size: channels of a window.
        alpha, beta: factor of the squares, exponent.
        k: offset; None means the convention's.

    Raises:
        ShapeError: the input has other axes.
        ValueError: there is no such convention, or size does not fit it.
    """
    if input.ndim not in (2, 4):
        raise ShapeError(f"local_response_norm: input must be (N, C, H, W) or (N, C), got shape {input.shape}")
    if convention not in CONVENTIONS:
        raise ValueError(f"local_response_norm: convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    if not hasattr(size, "__index__"):
        raise ValueError(f"local_response_norm: size must be an integer, got {size!r}")
    size = operator.index(size)
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")
    if convention != "torch" and size % 2 == 0:
        raise ValueError(f"local_response_norm: size must be odd in convention {convention!r}, got {size}")
    if k is None:
        k = 2.0 if convention == "paper" else 1.0
    if convention != "paper":
        alpha = alpha / size
    return _LocalResponseNorm(size, alpha, beta, k)(as_image(input) if input.ndim == 4 else as_plain(input))


class _L2Normalize(Function):
    """Over x's last axis."""

    def __init__(self, eps):
        self.eps = float(eps)

    def forward(self, x):
        channels = x.shape[-1] if x.ndim else 1
        self.rows = (x.size // (channels or 1), channels)
        y, norm = self.empty(x.shape, x.dtype), self.empty(self.rows[:1], accumulator(x.dtype))
        problem = (*self.rows, 0, self.eps)
        self.run("l2_normalize_forward", problem, x.dtype, x.reshape(self.rows), y.reshape(self.rows), norm)
        self.save(x, norm)
        return y

    def backward(self, dy):
        x, norm = self.saved
        dx, accumulate = self.grad_buffer(0)
        problem = (*self.rows, int(accumulate), self.eps)
        dy, x, dx = (a.reshape(self.rows) for a in (dy, x, dx))
        self.run("l2_normalize_backward", problem, x.dtype, dy, x, norm, dx)


def l2_normalize(input: Tensor, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """input / max(‖input‖₂, eps), the norm taken along `dim` (ParseNet, Liu et al. 2015, section 3.2: over channels).

    Sums are kept in fp32 (fp64 for float64). Where the norm is below eps, the gradient is that of a division by eps.

    Raises:
        ShapeError: there is no such axis.
        ValueError: eps is negative.
    """
    dim = normalized_dim("l2_normalize", dim, input.ndim)
    if not eps >= 0:
        raise ValueError(f"l2_normalize: eps must not be negative, got {eps}")
    if input.ndim == 4 and dim == 1:
        return _L2Normalize(eps)(as_image(input))
    input = as_plain(input)
    if dim >= input.ndim - 1:
        return _L2Normalize(eps)(input)
    order = [d for d in range(input.ndim) if d != dim] + [dim]
    return permute(_L2Normalize(eps)(permute(input, order)), np.argsort(order).tolist())


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Division by the p-norm along axis `dim`, at least `eps`, for p = 2: PyTorch's name for it; see :func:`l2_normalize`.

    Raises:
        NotSupported: p is not 2.
    """
    if p != 2:
        raise NotSupported(f"normalize: only the Euclidean norm, p = 2, is supported, got p = {p}")
    return l2_normalize(input, dim, eps)
