"""Losses."""

from __future__ import annotations

import numpy as np

from ..errors import DTypeError, NotSupported, ShapeError
from ..tensor import Function, Tensor
from .shape import as_image, cast_array, transpose


class _CrossEntropy(Function):
    """logits: rows of classes (the last axis)  target: rows  weight: classes or None."""

    layout = "plain"

    def __init__(self, target_shape, ignore_index, reduction, label_smoothing):
        self.target_shape, self.reduction = target_shape, reduction
        self.ignore_index, self.label_smoothing = ignore_index, float(label_smoothing)

    def check_labels(self, target, classes):
        """Refuse a label that is no class."""
        bad = self.empty((1,), np.int64)
        self.run("check_labels", (target.size, classes, self.ignore_index), target.dtype, target, bad)
        row = int(self.backend.to_host(bad)[0])
        if row >= 0:
            place = tuple(int(i) for i in np.unravel_index(row, target.shape))
            label = int(self.backend.to_host(target).reshape(-1)[row])
            raise ShapeError(
                f"cross_entropy: target{list(place)} is {label}, but there are {classes} classes; labels must be between 0 and "
                f"{classes - 1}, or ignore_index = {self.ignore_index}"
            )

    def forward(self, logits, target, weight):
        rows, classes = target.size, logits.shape[-1]
        self.check_labels(target, classes)
        wide = np.dtype(np.float64 if logits.dtype == np.float64 else np.float32)
        if weight is not None:
            weight = cast_array(self.backend, weight, wide)
        terms, log_sum = self.empty((2, rows), wide), self.empty((rows,), wide)
        problem = (rows, classes, self.ignore_index, 0, self.label_smoothing)
        self.run("cross_entropy_forward", problem, logits.dtype, logits, target, weight, terms, log_sum)
        totals = None
        if self.reduction == "none":
            loss = terms[0].reshape(self.target_shape)
        else:
            totals = self.empty((2,), wide)
            self.run("sum", (2, rows, 1, 0, 0, 1.0), wide, terms, totals)
            loss = totals[:1].reshape(())
            if self.reduction == "mean":
                loss = self.empty((), wide)
                self.run("div", (1, 0), wide, totals[:1], totals[1:], loss)
            else:
                totals = None
        self.save(logits, target, weight, log_sum, totals)
        return loss

    def backward(self, dloss):
        logits, target, weight, log_sum, totals = self.saved
        dlogits, accumulate = self.grad_buffer(0)
        rowwise = int(self.reduction == "none")
        problem = (target.size, logits.shape[-1], self.ignore_index, int(accumulate), self.label_smoothing, rowwise)
        arrays = (dloss, logits, target, weight, log_sum, totals, dlogits)
        self.run("cross_entropy_backward", problem, logits.dtype, *arrays)


def cross_entropy(
    input: Tensor,
    target,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax and negative log-likelihood of class indices in one.

    Args:
        input: logits, (N, C), (C,), or (N, C, H, W) and (N, C, L) for one label per pixel.
        target: int64 class indices in [0, C): (N,), (), (N, H, W) or (N, L); a Tensor or anything NumPy understands.
        weight: a factor per class, (C,). A mean divides by the sum of the rows' weights.
        ignore_index: rows with this label cost nothing and have no gradient.
        reduction: "mean", "sum" or "none".
        label_smoothing: this part of each label is spread evenly over all classes (Szegedy et al. 2016, section 7).

    Returns:
        float32 (float64 for float64 logits): a scalar, or with "none" one loss per label. A mean over no row is NaN.

    Raises:
        ShapeError: the shapes do not fit, or a label is out of range.
        DTypeError: target is not of an integer type.
        ValueError: there is no such reduction, or label_smoothing is not between 0 and 1.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if input.ndim == 0:
        raise ShapeError("cross_entropy: input needs an axis of classes, got a scalar")
    target = _labels(input, target)
    axis = min(input.ndim - 1, 1)
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != shape:
        raise ShapeError(f"cross_entropy: input {input.shape} needs a target of shape {shape}, got {target.shape}")
    if weight is not None and weight.shape != (input.shape[axis],):
        raise ShapeError(f"cross_entropy: weight must have shape ({input.shape[axis]},), got {weight.shape}")
    if input.ndim == 4:
        input = as_image(input)
    elif input.ndim > 4:
        raise ShapeError(f"cross_entropy: input has {input.ndim} axes, at most 4 are supported")
    elif input.ndim == 3:
        input = transpose(input, 1, 2)
    if weight is not None:
        weight = weight.detach()
    return _CrossEntropy(shape, ignore_index, reduction, label_smoothing)(input, target, weight)


def _labels(input: Tensor, target) -> Tensor:
    if not isinstance(target, Tensor):
        target = np.asarray(target)
        if target.dtype.kind in "iu":
            target = Tensor(target.astype(np.int64), device=input.device)
    if target.dtype.kind == "f":
        raise NotSupported("cross_entropy: target must be class indices (int64); class probabilities are not supported")
    if target.dtype != np.int64:
        raise DTypeError(f"cross_entropy: target must be int64 class indices, got {target.dtype}")
    return target
