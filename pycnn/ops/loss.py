"""Losses.

The loss of 16-bit inputs is float32, reduced or not: the sums are, and a mean of 2^16 terms or a loss of 70000 fits no float16.
(PyTorch rounds it to the inputs' type.) Gradients have the type of their input.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Function, Tensor
from .elementwise import MEMORY_ORDER, broadcast_shapes
from .shape import as_image, as_plain, cast_array, dense_strides, strided_copy, transpose

SUM_STRIP, MOST_SUMS = 256, 1 << 16  # elements of a partial sum at least; partial sums at most


class _CrossEntropy(Function):
    """logits: rows of classes (the last axis), or log-probabilities if `normalized`  target: rows  weight: classes or None."""

    layout = "plain"

    def __init__(self, target_shape, ignore_index, reduction, label_smoothing, normalized):
        self.target_shape, self.reduction = target_shape, reduction
        self.ignore_index, self.label_smoothing, self.normalized = ignore_index, float(label_smoothing), int(normalized)

    def forward(self, logits, target, weight):
        rows, classes = target.size, logits.shape[-1]
        wide = np.dtype(np.float64 if logits.dtype == np.float64 else np.float32)
        if weight is not None:
            weight = cast_array(self.backend, weight, wide)
        terms, log_sum = self.empty((2, rows), wide), self.empty((2, rows), wide)
        problem = (rows, classes, self.ignore_index, 0, self.label_smoothing, self.normalized)
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
        numbers = (self.ignore_index, int(accumulate), self.label_smoothing, self.normalized, rowwise)
        problem = (target.size, logits.shape[-1], *numbers)
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
    """Softmax and negative log-likelihood of class indices, or of class probabilities, in one.

    Args:
        input: logits, (N, C), (C,), or (N, C, H, W) and (N, C, L) for one label per pixel.
        target: int64 class indices in [0, C): (N,), (), (N, H, W) or (N, L); or probabilities of the classes, of the input's
            shape and type, which may require a gradient. A Tensor or anything NumPy understands.
        weight: a factor per class, (C,). A mean divides by the sum of the rows' weights;
            with probabilities, by the number of rows.
        ignore_index: rows with this label cost nothing and have no gradient; not used with probabilities.
        reduction: "mean", "sum" or "none".
        label_smoothing: this part of each label is spread evenly over all classes (Szegedy et al. 2016, section 7).

    Returns:
        float32 (float64 for float64 logits): a scalar, or with "none" one loss per label. A mean over no row is NaN.

    Labels in the host's memory are checked before anything is launched. Those in a Tensor on a GPU are checked there, and a
    bad one is reported when a result is next read (its loss is NaN and its gradient 0): a step does not wait for the GPU.

    Raises:
        ShapeError: the shapes do not fit, or a label is out of range.
        DTypeError: target is neither int64 nor of the input's type.
        ValueError: there is no such reduction, or label_smoothing is not between 0 and 1.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if not isinstance(target, Tensor) and np.asarray(target).dtype.kind == "f":
        target = Tensor(np.asarray(target, input.dtype), device=input.device)
    soft = isinstance(target, Tensor) and target.dtype == input.dtype
    shape, weight = _rows("cross_entropy", input, target, weight, reduction, soft)
    if soft:
        soft_loss = _SoftCrossEntropy(shape, reduction, label_smoothing)
        return soft_loss(_classes_last(input), _classes_last(target), weight)
    target = _labels("cross_entropy", input, target, ignore_index, "int64 class indices or probabilities of the input's type")
    loss = _CrossEntropy(shape, ignore_index, reduction, label_smoothing, normalized=False)
    return loss(_classes_last(input), target, weight)


def nll_loss(input: Tensor, target, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log-likelihood: -weight[target] · input[target], as :func:`cross_entropy` takes it of `log_softmax`.

    Args:
        input: log-probabilities, (N, C), (C,), or (N, C, H, W) and (N, C, L) for one label per pixel.
        target: int64 class indices in [0, C): (N,), (), (N, H, W) or (N, L).
        weight: a factor per class, (C,). A mean divides by the sum of the rows' weights.
        ignore_index: rows with this label cost nothing and have no gradient.
        reduction: "mean", "sum" or "none".

    Returns, raises:
        As :func:`cross_entropy`.
    """
    shape, weight = _rows("nll_loss", input, target, weight, reduction, soft=False)
    target = _labels("nll_loss", input, target, ignore_index, "int64 class indices")
    return _CrossEntropy(shape, ignore_index, reduction, 0.0, normalized=True)(_classes_last(input), target, weight)


def _rows(name, input: Tensor, target, weight, reduction, soft: bool):
    """The shape of one loss per label, and the weight without its graph; what does not fit is refused."""
    _check_reduction(name, reduction)
    if input.ndim == 0:
        raise ShapeError(f"{name}: input needs an axis of classes, got a scalar")
    if input.ndim > 4:
        raise ShapeError(f"{name}: input has {input.ndim} axes, at most 4 are supported")
    if input.dtype.kind in "iu":
        raise DTypeError(f"{name}: input must be of a floating-point type, got {input.dtype}")
    axis = min(input.ndim - 1, 1)
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    needed = input.shape if soft else shape
    if np.shape(target) != needed:
        raise ShapeError(f"{name}: input {input.shape} needs a target of shape {needed}, got {np.shape(target)}")
    if weight is not None and weight.shape != (input.shape[axis],):
        raise ShapeError(f"{name}: weight must have shape ({input.shape[axis]},), got {weight.shape}")
    return shape, None if weight is None else weight.detach()


def _check_reduction(name, reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _classes_last(x: Tensor) -> Tensor:
    """`x` with its axis of classes last in memory."""
    return as_image(x) if x.ndim == 4 else transpose(x, 1, 2) if x.ndim == 3 else x


def _labels(name, input: Tensor, target, ignore_index: int, needed: str) -> Tensor:
    """`target` as an int64 Tensor, checked: at once where it is in the host's memory, else when a result is next read."""
    if not isinstance(target, Tensor):
        labels = np.asarray(target)
        target = Tensor(labels.astype(np.int64) if labels.dtype.kind in "iu" else labels, device="cpu")
    if target.dtype != np.int64:
        raise DTypeError(f"{name}: target must be {needed}, got {target.dtype}")
    backend, classes = target.backend, input.shape[min(input.ndim - 1, 1)]
    problem = (target.size, classes, ignore_index)
    if backend.reads_are_free:
        bad = backend.empty((1,), np.int64)
        backend.run("check_labels", (*problem, 0), target.dtype, target.data, bad)
        if bad[0] >= 0:
            place = np.unravel_index(bad[0], target.shape)
            raise ShapeError(
                f"{name}: target{[int(i) for i in place]} is {target.numpy()[place]}, but there are {classes} classes; "
                f"labels must be between 0 and {classes - 1}, or ignore_index = {ignore_index}"
            )
    else:
        if "labels" not in backend.checks:
            backend.checks["labels"] = _LabelCheck(backend)
        backend.run("check_labels", (*problem, 1), target.dtype, target.data, backend.checks["labels"].bad)
    return target.to(input.device)


class _LabelCheck:
    """A device's memory of labels out of range: a step needs no wait for it and can be captured as a graph."""

    def __init__(self, backend):
        self.backend, self.bad = backend, backend.to_device(np.full(1, -1, np.int64))

    def __call__(self):
        place = int(self.backend.read(self.bad)[0])
        if place >= 0:
            self.backend.write(self.bad, np.full(1, -1, np.int64))
            raise ShapeError(
                "cross_entropy or nll_loss: a target since the last read had a label that is no class, at place "
                f"{place} in C order; its loss is NaN and its gradient 0"
            )


class _SoftCrossEntropy(Function):
    """logits, target: rows of classes (the last axis)  weight: classes or None."""

    layout = "plain"

    def __init__(self, shape, reduction, label_smoothing):
        self.shape, self.reduction, self.label_smoothing = shape, reduction, float(label_smoothing)

    def forward(self, logits, target, weight):
        rows, classes = math.prod(self.shape), logits.shape[-1]
        wide = np.dtype(np.float64 if logits.dtype == np.float64 else np.float32)
        if weight is not None:
            weight = cast_array(self.backend, weight, wide)
        terms, log_sum, mass = (self.empty(extents, wide) for extents in ((rows,), (2, rows), (rows,)))
        problem = (rows, classes, self.label_smoothing)
        self.run("soft_cross_entropy_forward", problem, logits.dtype, logits, target, weight, terms, log_sum, mass)
        self.save(logits, target, weight, log_sum, mass)
        self.divisor = float(rows) if self.reduction == "mean" else 1.0
        if self.reduction == "none":
            return terms.reshape(self.shape)
        loss = self.empty((), wide)
        self.run("sum", (1, rows, 1, 0, 0, self.divisor), wide, terms, loss)
        return loss

    def backward(self, dloss):
        logits, target, weight, log_sum, mass = self.saved
        buffers = [self.grad_buffer(i) if self.needs[i] else (None, False) for i in range(2)]
        (dlogits, add), (dtarget, add_target) = buffers
        rowwise = int(self.reduction == "none")
        numbers = (mass.size, logits.shape[-1], int(add), int(add_target), rowwise, self.label_smoothing, self.divisor)
        arrays = (dloss, logits, target, weight, log_sum, mass, dlogits, dtarget)
        self.run("soft_cross_entropy_backward", numbers, logits.dtype, *arrays)


class _PointwiseLoss(Function):
    """The loss `kernel` of input and target, element by element, both in one memory order; weight and pos_weight or None."""

    layout = "plain"

    def __init__(self, kernel, reduction, beta=0.0):
        self.kernel, self.reduction, self.beta = kernel, reduction, float(beta)

    def forward(self, *arrays):
        x = arrays[0]
        wide = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        each = self.reduction == "none"
        parts = x.size if each else min(-(-x.size // SUM_STRIP), MOST_SUMS)
        terms = self.empty(x.shape if each else (parts,), wide)
        self.run(self.kernel + "_forward", (x.size, parts, self.beta), x.dtype, *arrays, terms)
        self.save(*arrays)
        self.divisor = float(x.size) if self.reduction == "mean" else 1.0
        if each:
            return terms
        loss = self.empty((), wide)
        self.run("sum", (1, parts, 1, 0, 0, self.divisor), wide, terms, loss)
        return loss

    def backward(self, dloss):
        x = self.saved[0]
        for i in range(2):
            if self.needs[i]:
                gradient, accumulate = self.grad_buffer(i)
                problem = (x.size, int(self.reduction == "none"), i, int(accumulate), self.divisor, self.beta)
                self.run(self.kernel + "_backward", problem, x.dtype, dloss, *self.saved, gradient)


def _pointwise(name, kernel, input, target, reduction, beta=0.0, weights=(None, None)):
    _check_reduction(name, reduction)
    if target.shape != input.shape:
        raise ShapeError(f"{name}: target must have the input's shape {input.shape}, got {target.shape}")
    if input.dtype.kind in "iu" or target.dtype != input.dtype:
        raise DTypeError(f"{name}: input and target must be of one floating-point type, got {input.dtype} and {target.dtype}")
    image = input.ndim == 4 and "image" in (input.layout, target.layout)
    operands = [t if t is None or not image else as_image(t) for t in (input, target, *weights)]
    function = _PointwiseLoss(kernel, reduction, beta)
    function.layout = "image" if image else "plain"
    return function(*operands)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)², element by element, then their mean or sum.

    Args:
        input: any shape.
        target: the same shape and type; it may require a gradient too.
        reduction: "mean", "sum" or "none".

    Returns:
        float32 (float64 for float64): a scalar, or with "none" one loss per element. A mean over nothing is NaN.

    Raises:
        ShapeError: the shapes differ.
        DTypeError: the types differ or are integers.
        ValueError: there is no such reduction.
    """
    return _pointwise("mse_loss", "mse_loss", input, target, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|; its gradient where they are equal is 0. See :func:`mse_loss`."""
    return _pointwise("l1_loss", "l1_loss", input, target, reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d² / (2·beta) for d = |input - target| < beta, d - beta / 2 beyond (Girshick 2015, Fast R-CNN, equation 3, with beta = 1).

    See :func:`mse_loss`. With beta = 0 it is :func:`l1_loss`.

    Raises:
        ValueError: beta is negative.
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return _pointwise("smooth_l1_loss", "l1_loss", input, target, reduction)
    return _pointwise("smooth_l1_loss", "smooth_l1_loss", input, target, reduction, beta)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """-pos_weight · target · log σ(input) - (1 - target) · log(1 - σ(input)), computed without overflow for any logit.

    Args:
        input: logits, any shape.
        target: probabilities, the same shape and type.
        weight: a factor per element, of a shape that broadcasts to the input's.
        pos_weight: a factor of the positive part, likewise (often one per class). Neither factor has a gradient. One that is
            repeated is written out at the input's size first.
        reduction: "mean" (over the elements), "sum" or "none".

    Returns, raises:
        As :func:`mse_loss`; a factor that does not broadcast to the input's shape is a ShapeError.
    """
    name = "binary_cross_entropy_with_logits"
    named = (("weight", weight), ("pos_weight", pos_weight))
    factors = [None if w is None else _spread(name, argument, w.detach(), input) for argument, w in named]
    return _pointwise(name, "bce_with_logits", input, target, reduction, weights=factors)


def _spread(name, argument, factor: Tensor, input: Tensor) -> Tensor:
    """`factor` repeated to the input's shape."""
    if factor.dtype != input.dtype:
        raise DTypeError(f"{name}: {argument} is {factor.dtype} and input is {input.dtype}; cast one of them")
    if broadcast_shapes(name, input.shape, factor.shape) != input.shape:
        raise ShapeError(f"{name}: {argument} of shape {factor.shape} does not broadcast to the input's {input.shape}")
    if factor.shape == input.shape:
        return factor
    steps = [0 if n == 1 else step for n, step in zip(factor.shape, dense_strides(factor.shape), strict=True)]
    steps = [0] * (input.ndim - factor.ndim) + steps
    if input.layout == "image":
        steps = [steps[axis] for axis in MEMORY_ORDER]
    y = input.backend.empty(input.data.shape, input.dtype)
    strided_copy(input.backend.run, as_plain(factor).data, steps, y, dense_strides(y.shape), y.shape)
    return Tensor.from_memory(y, input.layout)
