"""Convolution and batch normalization as one op, in either order; models spell them so, and a fused version has its place.

BatchNorm, the sum with a shortcut and ReLU are one pass over memory each way, over the convolution's own output where no gradient
is recorded and the running statistics normalize. Where nothing but BatchNorm follows, even that pass disappears into the filters.
Layers that a forward hook watches are called one by one, since the hook wants to see what each of them makes.
"""

from __future__ import annotations

import math

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .activation import relu as rectify
from .conv2d import _Conv2d, geometry
from .normalization import Normalized, Statistics, check_batch_norm, fold, hand_on, normalize, normalize_backward
from .shape import as_image


class _ConvBatchNorm(_Conv2d):
    """Inputs: x, conv's weight and bias, batch norm's weight and bias, the shortcut. The convolution's are _Conv2d's own."""

    takes_slices = (0, 5)
    normalized: tuple = ()

    def __init__(self, made_of, statistics, relu):
        super().__init__(*made_of)
        self.statistics, self.relu = statistics, relu

    def forward(self, x, weight, bias, scale, offset, add):
        self.parameter_dtype = x.dtype
        recording = any(self.needs)
        fixed = not recording and not self.statistics.of_batch
        if fixed and add is None and not self.relu and self.folding_pays(x, weight):
            return super().forward(x, *fold(self, weight, bias, scale, offset, self.statistics))
        z = super().forward(x, weight, bias)
        y, normalized = normalize(self, z, scale, offset, self.statistics, add, self.relu, z if fixed else None)
        if recording:
            self.normalized = normalized
        return y

    def folding_pays(self, x, weight):
        """Whether there are fewer numbers in the filters than in the output. 16-bit filters would be rounded once more."""
        return x.dtype.itemsize > 2 and len(x) * math.prod(self.size) >= math.prod(weight.shape[1:])

    def backward(self, dy):
        saved = Normalized(*self.normalized)
        dz = self.empty(saved.x.shape, dy.dtype) if any(self.needs[:3]) else None
        dadd = self.grad_buffer(5) if self.needs[5] else (None, False)
        sums = normalize_backward(self, dy, saved, self.statistics, self.relu, (dz, False), dadd, any(self.needs[3:5]))
        for i, gradient in zip((3, 4), sums, strict=True):
            hand_on(self, i, gradient)
        if dz is not None:
            super().backward(dz)

    def free(self):
        super().free()
        self.normalized = ()


class _BatchNormConv(_Conv2d):
    """Inputs: x, conv's weight and bias, batch norm's weight and bias."""

    def __init__(self, made_of, statistics, relu):
        super().__init__(*made_of)
        self.statistics, self.relu = statistics, relu

    def forward(self, x, weight, bias, scale, offset):
        self.parameter_dtype = x.dtype
        z, normalized = normalize(self, x, scale, offset, self.statistics, relu=self.relu)
        y = super().forward(z, weight, bias)
        self.save(weight, z, *normalized)
        return y

    def backward(self, dy):
        weight, z, *normalized = self.saved
        if self.needs[0] or any(self.needs[3:]):
            dz = self.empty(z.shape, dy.dtype)
            self.run("conv2d_backward_data", self.problem(*self.shapes, False), dy.dtype, dy, weight, None, dz)
            dx = self.grad_buffer(0) if self.needs[0] else (None, False)
            sums = normalize_backward(self, dz, Normalized(*normalized), self.statistics, self.relu, dx, sums=any(self.needs[3:]))
            for i, gradient in zip((3, 4), sums, strict=True):
                hand_on(self, i, gradient)
        self.sum_gradients(dy, z)


def _statistics(name, bn, shape, dtype) -> Statistics:
    """What calling `bn` on an input of that shape would normalize with; a batch that is not refused counts."""
    statistics = Statistics(bn.running_mean, bn.running_var, bn.training or not bn.track_running_stats, 0.0, bn.eps)
    try:
        check_batch_norm(name, shape, dtype, bn.weight, bn.bias, statistics)
    except ShapeError as error:
        error.layer = bn
        raise
    return statistics._replace(momentum=bn.step_momentum()) if bn.training else statistics


def _geometry(conv, x):
    try:
        return geometry(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    except ShapeError as error:
        error.layer = conv
        raise


def _watched(*layers) -> bool:
    """Whether a forward hook wants to see what a layer makes."""
    return any(vars(layer).get("_forward_hooks") for layer in layers)


def conv_bn(conv, bn, x: Tensor, add: Tensor | None = None, relu: bool = True) -> Tensor:
    """Convolution, batch normalization, sum with a shortcut and ReLU: relu(bn(conv(x)) + add).

    Args:
        conv: an :class:`pycnn.nn.Conv2d`.
        bn: the :class:`pycnn.nn.BatchNorm2d` after it; its mode and running statistics count as when it is called.
        x: (N, C, H, W).
        add: a Tensor of the output's shape, or None.
        relu: end with max(·, 0).

    Returns:
        (N, K, P, Q), the output of `conv`.

    Raises:
        ShapeError, DTypeError, ValueError: as :func:`conv2d` and :func:`batch_norm` do; `add` has another shape or type.
    """
    made_of = _geometry(conv, x)
    shape = (x.shape[0], conv.weight.shape[0], *made_of[-1])
    if add is not None and add.shape != shape:
        raise ShapeError(f"conv_bn: add has shape {add.shape}, must be {shape} like the convolution's output")
    if add is not None and add.dtype != x.dtype:
        raise DTypeError(f"conv_bn: add is {add.dtype} and x is {x.dtype}; they must be the same")
    if _watched(conv, bn):
        y = bn(conv(x))
        y = y if add is None else y + add
        return rectify(y) if relu else y
    function = _ConvBatchNorm(made_of, _statistics("conv_bn", bn, shape, x.dtype), relu)
    return function(as_image(x), as_image(conv.weight), conv.bias, bn.weight, bn.bias, None if add is None else as_image(add))


def bn_conv(bn, conv, x: Tensor, relu: bool = True) -> Tensor:
    """Batch normalization, ReLU and convolution: conv(relu(bn(x))), the order of pre-activation nets (He et al. 2016).

    Args:
        bn: an :class:`pycnn.nn.BatchNorm2d`; its mode and running statistics count as when it is called.
        conv: the :class:`pycnn.nn.Conv2d` after it.
        x: (N, C, H, W).
        relu: apply max(·, 0) between them.

    Returns:
        (N, K, P, Q), the output of `conv`.

    Raises:
        ShapeError, DTypeError, ValueError: as :func:`conv2d` and :func:`batch_norm` do.
    """
    if _watched(bn, conv):
        return conv(rectify(bn(x)) if relu else bn(x))
    made_of = _geometry(conv, x)
    function = _BatchNormConv(made_of, _statistics("bn_conv", bn, x.shape, x.dtype), relu)
    return function(as_image(x), as_image(conv.weight), conv.bias, bn.weight, bn.bias)
