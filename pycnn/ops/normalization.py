"""Batch normalization."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Function, Tensor, recomputing
from .shape import as_image, as_plain, cast_array


class Statistics(NamedTuple):
    """Which mean and variance normalize, and what happens to the running ones."""

    running_mean: Tensor | None
    running_var: Tensor | None
    of_batch: bool  # the batch's own, or the running ones
    momentum: float
    eps: float


class Normalized(NamedTuple):
    """What the backward pass needs of :func:`normalize`."""

    x: object
    y: object  # where ReLU ended the op after a residual, else None: then it can be computed again
    weight: object
    bias: object
    mean: object
    variance: object


def accumulator(dtype) -> np.dtype:
    """The type statistics are stored in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _problem(x, statistics, relu=False, accumulate=False, accumulate_residual=False):
    flags = (int(relu), int(statistics.of_batch), int(accumulate), int(accumulate_residual))
    return (*_rows(x).shape, *flags, float(statistics.eps), float(statistics.momentum))


def _rows(array):
    return None if array is None else array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def normalize(function: Function, x, weight, bias, statistics: Statistics, residual=None, relu=False, y=None):
    """(x - mean) / sqrt(variance + eps) · weight + bias + residual, then ReLU if asked for; channels are x's last axis.

    It is written to `y`, which may be x, or a new array. Returns the array and what :func:`normalize_backward` needs.
    """
    dtype, problem = x.dtype, _problem(x, statistics, relu)
    running = [None if r is None else r.data for r in (statistics.running_mean, statistics.running_var)]
    if statistics.of_batch:
        mean, variance = (function.empty(x.shape[-1:], accumulator(dtype)) for _ in range(2))
        running = [None, None] if recomputing.get() else running  # they have moved already
        function.run("batch_norm_statistics", problem, dtype, _rows(x), mean, variance, *running)
    else:
        mean, variance = (r.copy() for r in running) if any(function.needs) else running  # they may move before backward
    y = function.empty(x.shape, dtype) if y is None else y
    function.run("batch_norm_forward", problem, dtype, _rows(x), mean, variance, weight, bias, _rows(residual), _rows(y))
    return y, Normalized(x, y if relu and residual is not None else None, weight, bias, mean, variance)


def normalize_backward(
    function: Function, dy, saved: Normalized, statistics: Statistics, relu, dx, dresidual=(None, False), sums=True
):
    """Write dx and dresidual, each a pair (array or None, accumulate).

    Returns the gradients of weight and bias if `sums` or dx needs them, else a pair of None.
    """
    x, y, weight, bias, mean, variance = saved
    (dx, accumulate), (dresidual, accumulate_residual) = dx, dresidual
    dweight = dbias = None
    problem = _problem(x, statistics, relu, accumulate, accumulate_residual)
    dy, x, y, channels = _rows(dy), _rows(x), _rows(y), (mean, variance, weight, bias)
    if sums or statistics.of_batch:
        dweight, dbias = (function.empty(mean.shape, mean.dtype) for _ in range(2))
        function.run("batch_norm_backward_sums", problem, x.dtype, dy, x, y, *channels, dweight, dbias)
    if dx is not None or dresidual is not None:
        dx, dresidual = function.empty(x.shape, x.dtype) if dx is None else _rows(dx), _rows(dresidual)
        function.run("batch_norm_backward", problem, x.dtype, dy, x, y, *channels, dweight, dbias, dx, dresidual)
    return dweight, dbias


def fold(function: Function, filters, filters_bias, weight, bias, statistics: Statistics):
    """Filters (K, R, S, C) and a bias that make a convolution do the batch norm after it, with the running statistics."""
    rows = filters.reshape(len(filters), math.prod(filters.shape[1:]))
    folded, folded_bias = function.empty(rows.shape, rows.dtype), function.empty(rows.shape[:1], rows.dtype)
    running = statistics.running_mean.data, statistics.running_var.data
    arrays = (rows, filters_bias, *running, weight, bias, folded, folded_bias)
    function.run("batch_norm_fold", (*rows.shape, float(statistics.eps)), rows.dtype, *arrays)
    return folded.reshape(filters.shape), folded_bias


def hand_on(function: Function, i: int, gradient) -> None:
    """Hand a gradient in the accumulator type on to input `i`, rounded to its storage type."""
    if function.needs[i]:
        dtype = function.parameter_dtype
        function.pass_grad(i, gradient if gradient.dtype == dtype else cast_array(function.backend, gradient, dtype))


class _BatchNorm(Function):
    takes_slices = (0,)

    def __init__(self, statistics):
        self.statistics = statistics

    def forward(self, x, weight, bias):
        self.parameter_dtype = x.dtype
        y, saved = normalize(self, x, weight, bias, self.statistics)
        self.save(*saved)
        return y

    def backward(self, dy):
        saved = Normalized(*self.saved)
        dx = self.grad_buffer(0) if self.needs[0] else (None, False)
        dweight, dbias = normalize_backward(self, dy, saved, self.statistics, False, dx, sums=any(self.needs[1:]))
        hand_on(self, 1, dweight)
        hand_on(self, 2, dbias)


def check_batch_norm(name: str, shape, dtype, weight, bias, statistics: Statistics) -> None:
    """Refuse what :func:`batch_norm` cannot normalize; `shape` is (N, C, ...)."""
    channels = shape[1]
    for argument, tensor, expected in (
        ("running_mean", statistics.running_mean, accumulator(dtype)),
        ("running_var", statistics.running_var, accumulator(dtype)),
        ("weight", weight, dtype),
        ("bias", bias, dtype),
    ):
        if tensor is None:
            continue
        if tensor.shape != (channels,):
            raise ShapeError(f"{name}: {argument} has shape {tensor.shape}, must be ({channels},) for an input of shape {shape}")
        if tensor.dtype != expected:
            raise DTypeError(f"{name}: {argument} is {tensor.dtype}, must be {expected} for an input of {dtype}")
    if (statistics.running_mean is None) != (statistics.running_var is None):
        raise ValueError(f"{name}: running_mean and running_var must both be given or both be None")
    if not statistics.of_batch and statistics.running_mean is None:
        raise ValueError(f"{name}: running_mean and running_var are needed when training=False")
    if not statistics.eps >= 0:
        raise ValueError(f"{name}: eps must not be negative, got {statistics.eps}")
    if statistics.of_batch and shape[0] * math.prod(shape[2:]) == 1:
        raise ShapeError(f"{name}: expected more than 1 value per channel when training, got input size {shape}")


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization per channel (Ioffe and Szegedy 2015, arxiv.org/abs/1502.03167).

    y = (input - mean) / sqrt(variance + eps) · weight + bias. In training, mean and biased variance are those of the batch, and
    the running ones, if given, move by `momentum` towards mean and unbiased variance; else the running ones normalize. An empty
    batch leaves them as they are. Channels may lie arbitrarily far from zero: sums are taken of differences.

    Args:
        input: (N, C, H, W) or (N, C).
        running_mean, running_var: (C,) in float32 (float64 for a float64 input), or both None in training.
        weight, bias: (C,) in the input's type, or None (1 and 0).

    Raises:
        ShapeError: a per-channel array is not of length C, or training sees one value per channel.
        DTypeError: a per-channel array has another type.
        ValueError: there are no running statistics to normalize with.
    """
    if input.ndim not in (2, 4):
        raise ShapeError(f"batch_norm: input must be (N, C, H, W) or (N, C), got shape {input.shape}")
    statistics = Statistics(running_mean, running_var, bool(training), momentum, eps)
    check_batch_norm("batch_norm", input.shape, input.dtype, weight, bias, statistics)
    return _BatchNorm(statistics)(as_image(input) if input.ndim == 4 else as_plain(input), weight, bias)
