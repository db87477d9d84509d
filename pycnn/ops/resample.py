"""Resampling of images: interpolate, nearest and bilinear."""

from __future__ import annotations

import math
import operator

import numpy as np

from ..errors import NotSupported, ShapeError
from ..tensor import Function, Tensor
from .shape import as_image


class _Resample(Function):
    layout = "image"
    takes_slices = (0,)

    def __init__(self, size, nearest, align_corners, scales):
        self.size, self.modes, self.scales = size, (int(nearest), int(align_corners)), scales

    def problem(self, shape, accumulate):
        return (*shape, *self.size, *self.modes, int(accumulate), *self.scales)

    def forward(self, x):
        N, _, _, C = self.shape = x.shape
        y = self.empty((N, *self.size, C), x.dtype)
        self.run("resample_forward", self.problem(x.shape, False), x.dtype, x, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        self.run("resample_backward", self.problem(self.shape, accumulate), dy.dtype, dy, dx)


def _pair(value, name, number):
    """One number or two, as two."""
    try:
        first, second = map(number, value if hasattr(value, "__len__") else (value, value))
    except (TypeError, ValueError):
        raise ValueError(f"interpolate: {name} must be one number or two, got {value!r}") from None
    return first, second


def _scale(kind, extent, size, factor, align_corners) -> float:
    """Input positions per output position, rounded as PyTorch does: a given factor counts instead of the sizes."""
    if align_corners:
        return float(kind(extent - 1) / kind(size - 1)) if size > 1 else 0.0
    return float(kind(1.0 / factor)) if factor else float(kind(extent) / kind(size))


def interpolate(
    input: Tensor, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
) -> Tensor:
    """Images at another size.

    Output position i lies at input position floor(i · s) in mode "nearest" and at (i + 1/2) · s - 1/2 in mode "bilinear",
    which mixes its neighbors by their distance; with `align_corners` at i · s. Here s = 1 / scale_factor where it is given and
    not recomputed, else H / P ((H - 1) / (P - 1) with `align_corners`). An extent that stays the same is
    copied, and "nearest" to exactly twice an extent repeats each pixel, whatever s is (as PyTorch's channels-last path has it).

    Args:
        input: (N, C, H, W).
        size: P and Q, one number for both or two.
        scale_factor: or P / H and Q / W, likewise; P = floor(H · scale_factor).
        mode: "nearest" or "bilinear".
        align_corners: whether the centers of the corner pixels stay in place, instead of their outer edges; bilinear only.
        recompute_scale_factor: compute s from the rounded sizes.

    Returns:
        (N, C, P, Q).

    Raises:
        ShapeError: the input is no image, or input or output would be empty.
        ValueError: not exactly one of `size` and `scale_factor` is given, or an argument that has no meaning here.
        NotSupported: another mode.
    """
    if input.ndim != 4:
        raise ShapeError(f"interpolate: input must have the 4 axes (N, C, H, W), got shape {input.shape}")
    if mode not in ("nearest", "bilinear"):
        raise NotSupported(f"interpolate: mode {mode!r} is not supported, only 'nearest' and 'bilinear'")
    if mode == "nearest" and align_corners is not None:
        raise ValueError("interpolate: align_corners can only be set with mode 'bilinear'")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: exactly one of size and scale_factor must be given, got {size} and {scale_factor}")
    extents, factors = input.shape[2:], (None, None)
    if size is not None:
        if recompute_scale_factor:
            raise ValueError("interpolate: recompute_scale_factor has no meaning where size is given")
        size = _pair(size, "size", operator.index)
    else:
        factors = _pair(scale_factor, "scale_factor", float)
        if not all(0 < factor < math.inf for factor in factors):
            raise ValueError(f"interpolate: scale_factor must be positive, got {scale_factor}")
        size = tuple(math.floor(extent * factor) for extent, factor in zip(extents, factors, strict=True))
        if recompute_scale_factor:
            factors = (None, None)
    if min(*extents, *size) < 1:
        raise ShapeError(f"interpolate: input and output must not be empty, got (H, W) = {extents} and (P, Q) = {size}")
    kind = np.float64 if mode == "bilinear" and input.dtype == np.float64 else np.float32
    scales = [_scale(kind, *numbers, align_corners) for numbers in zip(extents, size, factors, strict=True)]
    return _Resample(size, mode == "nearest", bool(align_corners), scales)(as_image(input))
