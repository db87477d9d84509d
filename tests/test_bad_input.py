"""Bad input: one table. Each call is refused with a message that names the argument, its value and what would be right, before
any kernel is launched, and so with the same words on every device."""

import re

import numpy as np
import pytest
from helpers import DEVICE

import pycnn
from pycnn import Tensor, backend, nn, ops, optim
from pycnn.errors import DeviceError, DTypeError, GraphError, NotSupported, ShapeError


def zeros(*shape, dtype=np.float32, **options):
    return Tensor(np.zeros(shape, dtype), **options)


X = lambda: zeros(2, 4, 7, 8)
W = lambda: zeros(6, 4, 3, 3)
INTEGERS = lambda: zeros(2, 4, 7, 8, dtype=np.int64, layout="image")
PLACES = lambda *numbers: Tensor(np.array(numbers, np.int64).reshape(1, 1, 1, -1))
LOGITS = lambda: zeros(5, 3)
LABELS = np.array([0, 1, 2, 0, 1])

TABLE = {
    # ---- conv2d ----
    "conv2d: kernel larger than the padded input": (
        lambda: ops.conv2d(zeros(1, 4, 2, 8), W()), ShapeError, r"height padded to 2 \+ 0 = 2 is smaller than the kernel"),
    "conv2d: dilation makes the kernel too large": (
        lambda: ops.conv2d(X(), W(), dilation=4), ShapeError, r"dilation·\(kernel - 1\) \+ 1 = 4·\(3 - 1\) \+ 1 = 9"),
    "conv2d: stride 0": (lambda: ops.conv2d(X(), W(), stride=0), ValueError, "non-positive stride is not supported.*0"),
    "conv2d: stride -1": (lambda: ops.conv2d(X(), W(), stride=(1, -1)), ValueError, "non-positive stride is not supported.*-1"),
    "conv2d: padding -1": (lambda: ops.conv2d(X(), W(), padding=-1), ValueError, "negative padding is not supported.*-1"),
    "conv2d: dilation 0": (lambda: ops.conv2d(X(), W(), dilation=0), ValueError, "dilation should be greater than zero.*0"),
    "conv2d: dilation -1": (lambda: ops.conv2d(X(), W(), dilation=-1), ValueError, "dilation should be greater than zero.*-1"),
    "conv2d: groups 0": (lambda: ops.conv2d(X(), W(), groups=0), ValueError, "non-positive groups is not supported.*0"),
    "conv2d: groups -1": (lambda: ops.conv2d(X(), W(), groups=-1), ValueError, "non-positive groups is not supported.*-1"),
    "conv2d: fewer filters than groups": (
        lambda: ops.conv2d(X(), zeros(1, 2, 3, 3), groups=2), ShapeError, "1 output channels, which groups = 2 must divide"),
    "conv2d: other channels than the weight": (
        lambda: ops.conv2d(zeros(2, 5, 7, 8), W()), ShapeError, "5 channels; weight of shape .* takes 4"),
    "conv2d: five axes": (lambda: ops.conv2d(zeros(1, 4, 1, 7, 8), W()), ShapeError, "input must have the 4 axes"),
    "conv2d: three axes of weight": (lambda: ops.conv2d(X(), zeros(6, 4, 3)), ShapeError, "weight must have the 4 axes"),
    "conv2d: bias of another length": (lambda: ops.conv2d(X(), W(), zeros(5)), ShapeError, r"bias has shape \(5,\), must be \(6"),
    "conv2d: bias of two axes": (lambda: ops.conv2d(X(), W(), zeros(6, 1)), ShapeError, r"bias has shape \(6, 1\)"),
    "conv2d: another type of weight": (
        lambda: ops.conv2d(X(), zeros(6, 4, 3, 3, dtype=np.float64)), DTypeError, "weight is float64 and input is float32"),
    "conv2d: another type of bias": (
        lambda: ops.conv2d(X(), W(), zeros(6, dtype=np.float16)), DTypeError, "bias is float16 and input is float32"),
    "conv2d: integers": (
        lambda: ops.conv2d(*(zeros(1, 1, 3, 3, dtype=np.int64) for _ in range(2))), (DTypeError, NotSupported), "int64"),
    "conv2d: unknown padding string": (lambda: ops.conv2d(X(), W(), padding="foo"), ValueError, "invalid padding string 'foo'"),
    "conv2d: 'same' with a stride": (lambda: ops.conv2d(X(), W(), stride=2, padding="same"), ValueError, "padding='same'"),
    "conv2d: three paddings": (lambda: ops.conv2d(X(), W(), padding=(1, 1, 1)), ValueError, "one integer or two"),
    "conv2d: a stride that is no integer": (lambda: ops.conv2d(X(), W(), stride=1.5), ValueError, "one integer or two, got 1.5"),
    "conv2d: padding of 2^62": (lambda: ops.conv2d(X(), W(), padding=2**62), ValueError, r"must be below 2\^30"),
    "conv2d: an array, not a Tensor": (
        lambda: ops.conv2d(np.zeros((2, 4, 7, 8), np.float32), W()), (DTypeError, AttributeError), "Tensor|layout"),
    "Conv2d: groups 0": (lambda: nn.Conv2d(4, 6, 3, groups=0), ValueError, "groups must be a positive integer, got 0"),
    "Conv2d: groups that do not divide": (lambda: nn.Conv2d(4, 6, 3, groups=3), ValueError, "must be divisible by groups = 3"),
    # ---- conv_transpose2d ----
    "conv_transpose2d: output_padding as large as the stride": (
        lambda: ops.conv_transpose2d(X(), zeros(4, 6, 3, 3), stride=2, output_padding=2), ValueError,
        "output padding must be smaller than either stride or dilation.*2"),
    "conv_transpose2d: negative output_padding": (
        lambda: ops.conv_transpose2d(X(), zeros(4, 6, 3, 3), output_padding=-1), ValueError, "negative output_padding.*-1"),
    "conv_transpose2d: negative padding": (
        lambda: ops.conv_transpose2d(X(), zeros(4, 6, 3, 3), padding=-1), ValueError, "negative padding is not supported.*-1"),
    "conv_transpose2d: stride 0": (
        lambda: ops.conv_transpose2d(X(), zeros(4, 6, 3, 3), stride=0), ValueError, "non-positive stride is not supported.*0"),
    "conv_transpose2d: other channels than the weight": (
        lambda: ops.conv_transpose2d(X(), zeros(5, 6, 3, 3)), ShapeError, "has 4 channels; weight of shape .* takes 5"),
    "conv_transpose2d: bias of another length": (
        lambda: ops.conv_transpose2d(X(), zeros(4, 6, 3, 3), zeros(4)), ShapeError, r"bias has shape \(4,\), must be \(6,\)"),
    "conv_transpose2d: padding that leaves nothing": (
        lambda: ops.conv_transpose2d(zeros(1, 4, 1, 1), zeros(4, 6, 3, 3), padding=2), ShapeError, "must be at least 1"),
    "ConvTranspose2d: output_size out of reach": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2)(X(), output_size=(99, 99)), ShapeError, "99"),
    "ConvTranspose2d: groups that do not divide": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=4), ValueError, "groups = 4"),
    # ---- pooling ----
    "max_pool2d: negative padding": (lambda: ops.max_pool2d(X(), 3, padding=-1), ValueError, "pad must be non-negative.*-1"),
    "max_pool2d: padding beyond half the kernel": (
        lambda: ops.max_pool2d(X(), 3, padding=2), ValueError, "pad should be at most half of the effective kernel size.*2"),
    "max_pool2d: stride 0": (lambda: ops.max_pool2d(X(), 3, 0), ValueError, "stride should not be zero"),
    "max_pool2d: dilation 0": (lambda: ops.max_pool2d(X(), 3, dilation=0), ValueError, "dilation should be greater than zero"),
    "max_pool2d: kernel 0": (lambda: ops.max_pool2d(X(), 0, 1), ValueError, "kernel_size must be at least 1, got 0"),
    "max_pool2d: no channels": (lambda: ops.max_pool2d(zeros(2, 0, 7, 8), 3), ShapeError, "at least one channel"),
    "max_pool2d: an input too small": (lambda: ops.max_pool2d(X(), 9), ShapeError, "height 7 is too small for kernel_size = 9"),
    "max_pool2d: three axes": (lambda: ops.max_pool2d(zeros(4, 7, 8), 3), ShapeError, "4 axes"),
    "avg_pool2d: divisor 0": (lambda: ops.avg_pool2d(X(), 3, divisor_override=0), ValueError, "divisor must be not zero"),
    "avg_pool2d: padding beyond half the kernel": (lambda: ops.avg_pool2d(X(), 2, padding=2), ValueError, "at most half"),
    "adaptive_avg_pool2d: negative size": (
        lambda: ops.adaptive_avg_pool2d(X(), -1), ValueError, "output_size must be at least 1 along each axis, got -1"),
    "adaptive_avg_pool2d: three sizes": (
        lambda: ops.adaptive_avg_pool2d(X(), (1, 2, 3)), ValueError, r"output_size must be one integer .* got \(1, 2, 3\)"),
    "adaptive_avg_pool2d: integers": (lambda: ops.adaptive_avg_pool2d(INTEGERS(), 2), NotSupported, "not built for int64"),
    "adaptive_max_pool2d: negative width": (
        lambda: ops.adaptive_max_pool2d(X(), (2, -3)), ValueError, r"output_size must be at least 1 .* got \(2, -3\)"),
    "adaptive_max_pool2d: integers": (lambda: ops.adaptive_max_pool2d(INTEGERS(), 2), NotSupported, "not built for int64"),
    "adaptive_max_pool2d: three axes": (lambda: ops.adaptive_max_pool2d(zeros(4, 7, 8), 2), ShapeError, "4 axes"),
    "max_unpool2d: an index beyond the output": (
        lambda: ops.max_unpool2d(zeros(1, 1, 1, 2), PLACES(7, 8), 2), ShapeError,
        r"indices\[0, 0, 0, 1\] is 8, but an output of 2 x 4 has the places 0 to 7"),
    "max_unpool2d: a negative index": (
        lambda: ops.max_unpool2d(zeros(1, 1, 1, 1), PLACES(-1), 2), ShapeError, r"indices\[0, 0, 0, 0\] is -1"),
    "max_unpool2d: indices of another shape": (
        lambda: ops.max_unpool2d(zeros(1, 1, 2, 2), PLACES(0), 2), ShapeError, r"must have the input's \(1, 1, 2, 2\)"),
    "max_unpool2d: float indices": (
        lambda: ops.max_unpool2d(zeros(1, 1, 1, 1), zeros(1, 1, 1, 1), 2), DTypeError, "indices must be int64, got float32"),
    "max_unpool2d: an output_size out of reach": (
        lambda: ops.max_unpool2d(zeros(1, 1, 1, 1), PLACES(0), 2, output_size=(9, 9)), ValueError, "between 1 and 3"),
    # ---- gemm ----
    "linear: other features": (lambda: ops.linear(zeros(3, 5), zeros(4, 6)), ShapeError, "in_features = 6"),
    "linear: bias of another length": (lambda: ops.linear(zeros(3, 5), zeros(4, 5), zeros(5)), ShapeError, r"must be \(4,\)"),
    "linear: another type": (lambda: ops.linear(zeros(3, 5), zeros(4, 5, dtype=np.float64)), DTypeError, "weight is float64"),
    "matmul: inner extents": (lambda: ops.matmul(zeros(3, 5), zeros(4, 6)), ShapeError, r"\(3, 5\) and \(4, 6\)"),
    # ---- normalization ----
    "batch_norm: one value a channel": (
        lambda: ops.batch_norm(zeros(1, 4, 1, 1), None, None, training=True), ShapeError, "more than 1 value per channel"),
    "batch_norm: running_mean of another length": (
        lambda: ops.batch_norm(X(), zeros(5), zeros(4)), ShapeError, r"running_mean has shape \(5,\), must be \(4,\)"),
    "batch_norm: running_var of another length": (
        lambda: ops.batch_norm(X(), zeros(4), zeros(3)), ShapeError, r"running_var has shape \(3,\)"),
    "batch_norm: weight of another length": (
        lambda: ops.batch_norm(X(), zeros(4), zeros(4), zeros(5)), ShapeError, r"weight has shape \(5,\)"),
    "batch_norm: bias of another length": (
        lambda: ops.batch_norm(X(), zeros(4), zeros(4), None, zeros(5)), ShapeError, r"bias has shape \(5,\)"),
    "batch_norm: no running statistics in evaluation": (
        lambda: ops.batch_norm(X(), None, None), ValueError, "running_mean and running_var are needed"),
    "batch_norm: three axes": (lambda: ops.batch_norm(zeros(2, 4, 7), None, None, training=True), ShapeError, "N, C, H, W"),
    "local_response_norm: size 0": (
        lambda: ops.local_response_norm(X(), 0), ValueError, "size must be at least 1, got 0"),
    "local_response_norm: a size that is no integer": (
        lambda: ops.local_response_norm(X(), 1.5), ValueError, "size must be an integer, got 1.5"),
    "local_response_norm: an even size of the paper's": (
        lambda: ops.local_response_norm(X(), 4, convention="paper"), ValueError, "size must be odd in convention 'paper', got 4"),
    "local_response_norm: one axis": (lambda: ops.local_response_norm(zeros(4), 3), ShapeError, r"\(N, C, H, W\) or \(N, C\)"),
    "local_response_norm: integers": (lambda: ops.local_response_norm(INTEGERS(), 3), NotSupported, "not built for int64"),
    "normalize: no such axis": (lambda: ops.normalize(X(), dim=4), ShapeError, "dim 4 is not between -4 and 3"),
    "normalize: another norm": (lambda: ops.normalize(X(), p=1), NotSupported, "p = 2, is supported, got p = 1"),
    "l2_normalize: negative eps": (lambda: ops.l2_normalize(X(), eps=-1), ValueError, "eps must not be negative, got -1"),
    "l2_normalize: integers": (lambda: ops.l2_normalize(INTEGERS()), NotSupported, "not built for int64"),
    # ---- resample ----
    "interpolate: size and scale_factor": (
        lambda: ops.interpolate(X(), 4, 2.0), ValueError, "exactly one of size and scale_factor must be given, got 4 and 2.0"),
    "interpolate: neither": (lambda: ops.interpolate(X()), ValueError, "exactly one of .* got None and None"),
    "interpolate: align_corners with nearest": (
        lambda: ops.interpolate(X(), 4, align_corners=True), ValueError, "align_corners can only be set with mode 'bilinear'"),
    "interpolate: unknown mode": (
        lambda: ops.interpolate(X(), 4, mode="bicubic"), NotSupported, "mode 'bicubic' is not supported"),
    "interpolate: size 0": (lambda: ops.interpolate(X(), 0), ShapeError, r"must not be empty, .* \(P, Q\) = \(0, 0\)"),
    "interpolate: negative scale_factor": (
        lambda: ops.interpolate(X(), scale_factor=-2), ValueError, "scale_factor must be positive, got -2"),
    "interpolate: three axes": (lambda: ops.interpolate(zeros(4, 7, 8), 4), ShapeError, "4 axes"),
    "interpolate: integers": (lambda: ops.interpolate(INTEGERS(), 4), NotSupported, "not built for int64"),
    # ---- softmax and losses ----
    "softmax: no such axis": (lambda: ops.softmax(LOGITS(), 2), ShapeError, "dim 2 is not between -2 and 1"),
    "cross_entropy: another batch": (
        lambda: ops.cross_entropy(LOGITS(), LABELS[:4]), ShapeError, r"needs a target of shape \(5,\), got \(4,\)"),
    "cross_entropy: a label out of range": (
        lambda: ops.cross_entropy(LOGITS(), np.array([0, 1, 3, 0, 1])), ShapeError, r"target\[2\] is 3, but there are 3 classes"),
    "cross_entropy: a negative label": (
        lambda: ops.cross_entropy(LOGITS(), np.array([0, -1, 0, 0, 1])), ShapeError, r"target\[1\] is -1"),
    "cross_entropy: float labels": (
        lambda: ops.cross_entropy(LOGITS(), LABELS.astype(np.float32)), (ShapeError, DTypeError, NotSupported), "target"),
    "cross_entropy: weight of another length": (
        lambda: ops.cross_entropy(LOGITS(), LABELS, zeros(4)), ShapeError, r"weight must have shape \(3,\), got \(4,\)"),
    "cross_entropy: unknown reduction": (
        lambda: ops.cross_entropy(LOGITS(), LABELS, reduction="avg"), ValueError, "reduction must be .*'avg'"),
    "cross_entropy: label_smoothing of 2": (
        lambda: ops.cross_entropy(LOGITS(), LABELS, label_smoothing=2.0), ValueError, "label_smoothing must be between 0 and 1"),
    "cross_entropy: no axis of classes": (lambda: ops.cross_entropy(zeros(), 0), ShapeError, "axis of classes, got a scalar"),
    "cross_entropy: five axes": (
        lambda: ops.cross_entropy(zeros(1, 3, 1, 1, 1), np.zeros((1, 1, 1, 1), int)), ShapeError, "5 axes, at most 4"),
    "cross_entropy: int32 Tensor": (
        lambda: ops.cross_entropy(LOGITS(), zeros(5, dtype=np.int32)), DTypeError, "int64 class indices or prob.* got int32"),
    "cross_entropy: integer logits": (
        lambda: ops.cross_entropy(zeros(5, 3, dtype=np.int64), LABELS), DTypeError, "floating-point type, got int64"),
    "log_softmax: no such axis": (lambda: ops.log_softmax(LOGITS(), -3), ShapeError, "dim -3 is not between -2 and 1"),
    "nll_loss: float labels": (
        lambda: ops.nll_loss(LOGITS(), LABELS.astype(np.float32)), DTypeError, "must be int64 class indices, got float32"),
    "nll_loss: a label out of range": (
        lambda: ops.nll_loss(LOGITS(), LABELS + 1), ShapeError, r"nll_loss: target\[2\] is 3, but there are 3 classes"),
    "nll_loss: unknown reduction": (
        lambda: ops.nll_loss(LOGITS(), LABELS, reduction="avg"), ValueError, "nll_loss: reduction must be .*'avg'"),
    "nll_loss: weight of another length": (
        lambda: ops.nll_loss(LOGITS(), LABELS, zeros(4)), ShapeError, r"nll_loss: weight must have shape \(3,\), got \(4,\)"),
    "mse_loss: another shape": (
        lambda: ops.mse_loss(LOGITS(), zeros(5, 1)), ShapeError,
        r"mse_loss: target must have the input's shape \(5, 3\), got \(5, 1"),
    "mse_loss: another type": (
        lambda: ops.mse_loss(LOGITS(), zeros(5, 3, dtype=np.float16)), DTypeError, "got float32 and float16"),
    "mse_loss: integers": (lambda: ops.mse_loss(*(zeros(3, dtype=np.int64) for _ in range(2))), DTypeError, "got int64"),
    "l1_loss: unknown reduction": (
        lambda: ops.l1_loss(LOGITS(), LOGITS(), "avg"), ValueError, "l1_loss: reduction must be .*'avg'"),
    "smooth_l1_loss: beta below 0": (
        lambda: ops.smooth_l1_loss(LOGITS(), LOGITS(), beta=-1), ValueError, "beta must not be negative, got -1"),
    "smooth_l1_loss: beta NaN": (
        lambda: ops.smooth_l1_loss(LOGITS(), LOGITS(), beta=np.nan), ValueError, "beta must not be negative, got nan"),
    "bce: pos_weight of another length": (
        lambda: ops.binary_cross_entropy_with_logits(LOGITS(), LOGITS(), pos_weight=zeros(5)), ShapeError,
        r"\(5, 3\) and \(5,\)"),
    "bce: weight larger than the input": (
        lambda: ops.binary_cross_entropy_with_logits(LOGITS(), LOGITS(), zeros(2, 5, 3)), ShapeError,
        r"weight of shape \(2, 5, 3\) does not broadcast to the input's \(5, 3\)"),
    "bce: another type of pos_weight": (
        lambda: ops.binary_cross_entropy_with_logits(LOGITS(), LOGITS(), pos_weight=zeros(3, dtype=np.float64)), DTypeError,
        "pos_weight is float64 and input is float32"),
    # ---- shape, elementwise, reduce, random ----
    "add: shapes": (lambda: zeros(3, 4) + zeros(3, 5), ShapeError, r"\(3, 4\) and \(3, 5\) do not fit together"),
    "add: types": (lambda: zeros(3) + zeros(3, dtype=np.float64), DTypeError, "float32 and float64"),
    "add: integers": (lambda: zeros(3, dtype=np.int64) + 1, DTypeError, "int64"),
    "reshape: other number of elements": (lambda: zeros(3, 4).reshape(5, 2), ShapeError, r"does not fit the 12 elements"),
    "reshape: two -1": (lambda: zeros(3, 4).reshape(-1, -1), ShapeError, "does not fit"),
    "transpose: no such axis": (lambda: zeros(3, 4).transpose(0, 2), ShapeError, "dim 2 is not between"),
    "permute: an axis twice": (lambda: zeros(3, 4).permute(0, 0), ShapeError, "must name each of the 2 axes"),
    "flatten: axes in the wrong order": (lambda: ops.flatten(X(), 2, 1), ShapeError, "start_dim 2 comes after end_dim 1"),
    "cat: nothing": (lambda: ops.cat([]), ValueError, "at least one Tensor, got none"),
    "cat: other extents": (
        lambda: ops.cat([X(), zeros(2, 4, 6, 8)], 1), ShapeError, r"input 1 has shape \(2, 4, 6, 8\) .* only axis 1 may differ"),
    "cat: types": (
        lambda: ops.cat([X(), zeros(2, 4, 7, 8, dtype=np.float64)], 1), DTypeError, "input 1 is float64 and input 0 is float32"),
    "cat: no such axis": (lambda: ops.cat([X(), X()], 4), ShapeError, "dim 4 is not between -4 and 3"),
    "split: parts of 0": (lambda: ops.split(X(), 0, 1), ValueError, "split_size must be positive, got 0"),
    "split: sizes that miss the extent": (lambda: ops.split(X(), [1, 2], 1), ShapeError, r"\[1, 2\] must add up to 4"),
    "split: a negative size": (lambda: ops.split(X(), [5, -1], 1), ValueError, r"must not be negative, got \[5, -1\]"),
    "narrow: beyond the end": (lambda: ops.narrow(X(), 1, 3, 2), ShapeError, "start 3 and length 2 do not fit axis 1"),
    "narrow: negative length": (lambda: ops.narrow(X(), 1, 0, -1), ShapeError, "length -1 do not fit"),
    "pad: an odd number of numbers": (lambda: ops.pad(X(), (1, 1, 1)), ValueError, r"got 3 numbers \[1, 1, 1\]"),
    "pad: too many pairs": (lambda: ops.pad(X(), (1,) * 10), ShapeError, "5 pairs of numbers are too many"),
    "pad: no integers": (lambda: ops.pad(X(), (1.5, 0)), ValueError, r"pairs of integers .* got \(1.5, 0\)"),
    "pad: nothing left": (lambda: ops.pad(X(), (-9, 0)), ShapeError, r"\[-9, 0\] leaves shape \(2, 4, 7, -1\)"),
    "pad: unknown mode": (lambda: ops.pad(X(), (1, 1), mode="reflect"), NotSupported, "mode 'reflect' is not supported"),
    "crop: negative height": (lambda: ops.crop(X(), 0, 0, -1, 2), ShapeError, "a rectangle of -1 x 2 cannot be taken"),
    "channel_shuffle: groups that do not divide": (
        lambda: ops.channel_shuffle(X(), 3), ShapeError, r"C a multiple of groups = 3, got \(2, 4, 7, 8\)"),
    "channel_shuffle: groups 0": (lambda: ops.channel_shuffle(X(), 0), ValueError, "groups must be at least 1, got 0"),
    "sum: an axis twice": (lambda: zeros(3, 4).sum((0, -2)), ShapeError, "names an axis twice"),
    "sum: no such axis": (lambda: zeros(3, 4).sum(2), ShapeError, "dim 2 is not between"),
    "max: an empty axis": (lambda: zeros(3, 0).max(1), ShapeError, "max"),
    "dropout: no probability": (lambda: ops.dropout(zeros(3), 1.5), ValueError, "between 0 and 1, got 1.5"),
    "dropout: NaN": (lambda: ops.dropout(zeros(3), np.nan), ValueError, "between 0 and 1, got nan"),
    "drop_path: no probability": (lambda: ops.drop_path(zeros(3), -0.1), ValueError, "between 0 and 1, got -0.1"),
    "drop_path: unknown mode": (
        lambda: ops.drop_path(zeros(3), 0.5, mode="column"), ValueError, "'row' or 'batch', got 'column'"),
    "drop_path: a scalar": (lambda: ops.drop_path(zeros()), ShapeError, "axis of samples, got a scalar"),
    "clamp: no bounds": (lambda: ops.clamp(zeros(3)), ValueError, "at least one of min and max"),
    "clamp: a bound that is a Tensor": (lambda: ops.clamp(zeros(3), zeros(3)), DTypeError, "min must be a number, got a Tensor"),
    "pow: an exponent that is a Tensor": (
        lambda: ops.pow(zeros(3), zeros(3)), DTypeError, "exponent must be a number, got a Tensor"),
    "leaky_relu: a slope that is no number": (
        lambda: ops.leaky_relu(zeros(3), "steep"), DTypeError, "negative_slope must be a number, got a str"),
    "exp: integers": (lambda: ops.exp(zeros(3, dtype=np.int64)), NotSupported, "exp: .*not built for int64"),
    "relu: integers": (lambda: ops.relu(zeros(3, dtype=np.int64)), NotSupported, "relu: .*not built for int64"),
    "maximum: shapes": (lambda: ops.maximum(zeros(3), zeros(2)), ShapeError, r"maximum: shapes \(3,\) and \(2,\) do not fit"),
    "minimum: two numbers": (lambda: ops.minimum(1, 2), DTypeError, "one of the operands must be a pycnn.Tensor"),
    # ---- Tensor and backward ----
    "Tensor: a type that is not stored": (lambda: Tensor(np.zeros(3, np.complex64)), DTypeError, "complex64 is not stored"),
    "Tensor: integers that require a gradient": (lambda: Tensor(np.zeros(3, np.int64), True), DTypeError, "floating-point"),
    "Tensor: an unknown device": (lambda: Tensor(np.zeros(3), device="gpu"), DeviceError, "unknown device 'gpu'"),
    "item: several elements": (lambda: zeros(3).item(), ShapeError, "exactly one element"),
    "backward: nothing requires a gradient": (lambda: zeros(1).backward(), GraphError, "does not require a gradient"),
    "backward: several elements": (
        lambda: ops.relu(zeros(3, requires_grad=True)).backward(), ShapeError, "needs an explicit gradient"),
    "SGD: a negative learning rate": (
        lambda: optim.SGD([pycnn.Parameter(np.zeros(3, np.float32))], lr=-1), ValueError, "lr must not be negative, got -1"),
    "SGD: no parameters": (lambda: optim.SGD([]), ValueError, "no parameters"),
    "Adam: a beta of 1": (
        lambda: optim.Adam([pycnn.Parameter(np.zeros(3, np.float32))], betas=(0.9, 1.0)), ValueError, r"betas\[1\] must be in"),
    "clip_grad_norm_: a negative norm": (
        lambda: nn.utils.clip_grad_norm_([pycnn.Parameter(np.zeros(3, np.float32))], -1.0), ValueError, "must not be negative"),
    "from_dlpack: no array": (lambda: pycnn.from_dlpack([1.0]), DTypeError, "DLPack|dlpack"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_is_refused_before_any_launch(name, monkeypatch):
    call, error, message = TABLE[name]
    ran = []
    device = backend.get(DEVICE)
    launch = device._run

    def watched(plan, *arguments):
        ran.append(plan.op)
        return launch(plan, *arguments)

    monkeypatch.setattr(device, "_run", watched)
    with pytest.raises(error, match=re.compile(message, re.S)) as refusal:
        call()
    assert issubclass(refusal.type, error) and len(str(refusal.value)) < 400
    assert set(ran) <= {"check_labels", "relu"}, ran  # what looks at labels, and the op before a backward


def test_read_only_arrays_are_not_written():
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ShapeError, match="argument 'y' is read-only but is written to"):
        backend.cpu().run("relu", (4, 0), np.dtype(np.float32), np.ones(4, np.float32), frozen)


def test_arrays_of_another_device_are_refused():
    if DEVICE == "cpu":
        with pytest.raises(DeviceError, match="runs on the CPU and takes numpy.ndarray"):
            backend.cpu().run("relu", (4, 0), np.dtype(np.float32), [0.0] * 4, np.zeros(4, np.float32))
    else:
        with pytest.raises(DeviceError, match="the others are on"):
            ops.add(zeros(4), Tensor(np.zeros(4, np.float32), device="cpu"))
