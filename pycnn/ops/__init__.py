"""Every op as a function of Tensors, with PyTorch's names, argument order and defaults; one file per family.

Where PyTorch has the op as a Tensor method or operator, so has :class:`pycnn.Tensor`; they are attached here.
"""

import importlib
import pathlib

from ..tensor import Tensor
from .activation import relu, relu6, sigmoid, tanh
from .conv2d import conv2d
from .elementwise import add, div, exp, log, mul, neg, sqrt, sub
from .gemm import linear, matmul
from .loss import cross_entropy
from .reduce import argmax, max, mean, sum  # noqa: A004
from .shape import cast, flatten, permute, reshape, transpose
from .softmax import log_softmax, softmax

for _f in sorted(pathlib.Path(__file__).parent.glob("*.py")):
    if _f.stem in ("pool2d", "normalization", "random", "conv_bn"):
        _m = importlib.import_module("." + _f.stem, __name__)
        globals().update({n: v for n, v in vars(_m).items() if not n.startswith("_") and getattr(v, "__module__", None) == _m.__name__})

for _op in (add, argmax, div, exp, flatten, log, log_softmax, matmul, max, mean, mul, neg, relu, sigmoid, softmax, sqrt, sub, sum,
            tanh, transpose):  # fmt: skip
    setattr(Tensor, _op.__name__, _op)
Tensor.reshape = lambda self, *shape: reshape(self, shape[0] if len(shape) == 1 else shape)
Tensor.permute = lambda self, *dims: permute(self, dims[0] if len(dims) == 1 else dims)
Tensor.__add__, Tensor.__sub__, Tensor.__mul__, Tensor.__truediv__ = add, sub, mul, div
Tensor.__radd__, Tensor.__rmul__ = add, mul
Tensor.__rsub__ = lambda self, other: sub(other, self)
Tensor.__rtruediv__ = lambda self, other: div(other, self)
Tensor.__neg__, Tensor.__matmul__ = neg, matmul
