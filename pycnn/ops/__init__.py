"""Every op as a function of Tensors, with PyTorch's names, argument order and defaults; one file per family.

Where PyTorch has the op as a Tensor method or operator, so has :class:`pycnn.Tensor`; they are attached here.
"""

from ..tensor import Tensor
from .activation import leaky_relu, relu, relu6, sigmoid, tanh
from .adaptive_pool2d import adaptive_avg_pool2d, adaptive_max_pool2d, max_unpool2d
from .conv2d import conv2d
from .conv_bn import bn_conv, conv_bn
from .conv_transpose2d import conv_transpose2d
from .elementwise import abs, add, clamp, div, exp, log, maximum, minimum, mul, neg, pow, reciprocal, rsqrt, sqrt, square, sub
from .gemm import linear, matmul
from .local_response_norm import l2_normalize, local_response_norm, normalize
from .loss import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, nll_loss, smooth_l1_loss
from .normalization import batch_norm
from .pool2d import avg_pool2d, max_pool2d
from .random import drop_path, dropout
from .recompute import recompute
from .reduce import argmax, max, mean, sum
from .resample import interpolate
from .shape import cast, center_crop, channel_shuffle, crop, flatten, pad, permute, reshape, transpose
from .slices import cat, chunk, concat, index, narrow, split, stack
from .softmax import log_softmax, softmax

for _op in (abs, add, argmax, chunk, clamp, div, exp, flatten, log, log_softmax, matmul, max, maximum, mean,
            minimum, mul, narrow, neg, pow, reciprocal, relu, rsqrt, sigmoid, softmax, split, sqrt, square,
            sub, sum, tanh, transpose):  # fmt: skip
    setattr(Tensor, _op.__name__, _op)


def _reshape(self: Tensor, *shape) -> Tensor:
    """:func:`reshape` to a shape given as a tuple or as numbers."""
    return reshape(self, shape[0] if len(shape) == 1 else shape)


def _permute(self: Tensor, *dims) -> Tensor:
    """:func:`permute` with axes given as a tuple or as numbers."""
    return permute(self, dims[0] if len(dims) == 1 else dims)


Tensor.reshape, Tensor.permute = _reshape, _permute
Tensor.__add__, Tensor.__sub__, Tensor.__mul__, Tensor.__truediv__ = add, sub, mul, div
Tensor.__radd__, Tensor.__rmul__ = add, mul
Tensor.__rsub__ = lambda self, other: sub(other, self)
Tensor.__rtruediv__ = lambda self, other: div(other, self)
Tensor.__neg__, Tensor.__matmul__, Tensor.__pow__, Tensor.__abs__ = neg, matmul, pow, abs
Tensor.__getitem__ = index  # type: ignore[misc]  # mypy takes it for a generic class

__all__ = [
    "abs", "adaptive_avg_pool2d", "adaptive_max_pool2d", "add", "argmax", "avg_pool2d", "batch_norm",
    "binary_cross_entropy_with_logits", "bn_conv", "cast", "cat", "center_crop", "channel_shuffle", "chunk", "clamp", "concat",
    "conv2d", "conv_bn", "conv_transpose2d", "crop", "cross_entropy", "div", "drop_path", "dropout", "exp", "flatten",
    "interpolate", "l1_loss", "l2_normalize", "leaky_relu", "linear", "local_response_norm", "log", "log_softmax", "matmul",
    "max", "max_pool2d", "max_unpool2d", "maximum", "mean", "minimum", "mse_loss", "mul", "narrow", "neg", "nll_loss",
    "normalize", "pad", "permute", "pow", "reciprocal", "recompute", "relu", "relu6", "reshape", "rsqrt", "sigmoid",
    "smooth_l1_loss", "softmax", "split", "sqrt", "square", "stack", "sub", "sum", "tanh", "transpose",
]  # fmt: skip
