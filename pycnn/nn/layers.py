"""Layers: they hold parameters and call ops. Names, arguments, defaults and initialisation are torch.nn's."""

from __future__ import annotations

import math

import numpy as np

from .. import ops, random
from ..errors import ShapeError
from ..tensor import Buffer, Parameter, recomputing
from . import init
from .module import Module


def _pair(value, name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be one number or two, got {value!r}")
    return int(pair[0]), int(pair[1])


def _default_init(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default for Linear, Conv2d and ConvTranspose2d: weight and bias U(-b, b) with b = 1 / sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(max(init.fans(weight)[0], 1))
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """y = x · weightᵀ + bias.  x: (..., in_features)  weight: (out_features, in_features)  y: (..., out_features).

    Raises:
        ShapeError: x's last axis is not in_features.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        _default_init(self.weight, self.bias)

    def forward(self, x):
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(
                f"got an input of shape {x.shape}; its last axis must have in_features = {self.in_features} elements"
            )
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Conv2d(Module):
    """2-D convolution.  x: (N, in_channels, H, W)  weight: (out_channels, in_channels / groups, kH, kW)

    The output is (N, out_channels, P, Q) with P = floor((H + 2·padding - dilation·(kH - 1) - 1) / stride) + 1; `kernel_size` is
    (kH, kW) or one number for both, `bias` says whether there is one.

    Raises:
        ShapeError: x does not fit; the message shows the formula with its numbers.
        ValueError: settings that make no layer (groups, padding string).
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels = {in_channels} and out_channels = {out_channels} must be divisible by groups = {groups}"
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid' or numbers, got {padding!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _pair(kernel_size, "kernel_size"), _pair(stride, "stride")
        self.padding = padding if isinstance(padding, str) else _pair(padding, "padding")
        self.dilation = _pair(dilation, "dilation")
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding='same' is not supported for strided convolutions, stride is {self.stride}")
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32), layout="image")
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        _default_init(self.weight, self.bias)

    def forward(self, x):
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        defaults = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        text += "".join(f", {name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value)
        return text + ("" if self.bias is not None else ", bias=False")


class ConvTranspose2d(Module):
    """2-D transposed convolution.  x: (N, in_channels, H, W)  weight: (in_channels, out_channels / groups, kH, kW)

    The output is (N, out_channels, P, Q) with P = (H - 1)·stride - 2·padding + dilation·(kH - 1) + output_padding + 1.
    Called with output_size=(P, Q), that call's output_padding is what makes the output as large. `kernel_size` is (kH, kW) or one
    number for both, `bias` says whether there is one.

    Raises:
        ShapeError: x does not fit, or output_size is out of reach; the message shows the numbers.
        ValueError: settings that make no layer (groups, output_padding).
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1
    ):
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels = {in_channels} and out_channels = {out_channels} must be divisible by groups = {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _pair(kernel_size, "kernel_size"), _pair(stride, "stride")
        self.padding, self.output_padding = _pair(padding, "padding"), _pair(output_padding, "output_padding")
        self.dilation = _pair(dilation, "dilation")
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32), layout="image")
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        _default_init(self.weight, self.bias)

    def forward(self, x, output_size=None):
        extra = self.output_padding if output_size is None else self._output_padding(x, tuple(output_size))
        return ops.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _output_padding(self, x, output_size):
        """What makes the output `output_size`, (P, Q) or (N, C, P, Q)."""
        if len(output_size) not in (2, 4):
            raise ShapeError(f"output_size must be (P, Q) or (N, C, P, Q), got {output_size}")
        size = output_size[-2:]
        geometry = zip(x.shape[2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        least = [(extent - 1) * s - 2 * p + d * (k - 1) + 1 for extent, k, s, p, d in geometry]
        most = [extent + s - 1 for extent, s in zip(least, self.stride, strict=True)]
        if any(not low <= wanted <= high for low, wanted, high in zip(least, size, most, strict=True)):
            raise ShapeError(
                f"output_size {size} is out of reach: of an input of shape {x.shape} the output can have {tuple(least)} to "
                f"{tuple(most)} pixels"
            )
        return tuple(wanted - low for wanted, low in zip(size, least, strict=True))

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        defaults = {"stride": (1, 1), "padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
        text += "".join(f", {name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value)
        return text + ("" if self.bias is not None else ", bias=False")


class BatchNorm2d(Module):
    """Batch normalisation per channel (Ioffe and Szegedy 2015, arxiv.org/abs/1502.03167).  x, y: (N, num_features, H, W).

    Training uses the batch's biased variance and moves the running statistics by `momentum` (None: cumulative average) with the
    unbiased one; evaluation uses the running statistics. `eps` is added to the variance. Without `affine` there are no weight and
    bias; without `track_running_stats` evaluation uses the batch's statistics, too.

    Raises:
        ShapeError: x has other axes or channels, or one value per channel while training.
    """

    axes = "(N, num_features, H, W)"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if track_running_stats else None

    def step_momentum(self) -> float:
        """Count a training batch, once if it is recomputed; returns the weight of its statistics in the running ones."""
        if not self.track_running_stats or recomputing.get():
            return 0.0
        counter = self.num_batches_tracked.data.reshape(1)
        self.num_batches_tracked.backend.run("increment", (1, 0), counter.dtype, counter)
        return 1 / float(self.num_batches_tracked.item()) if self.momentum is None else self.momentum

    def forward(self, x):
        if x.ndim != self.axes.count(",") + 1:
            raise ShapeError(f"takes {self.axes}, got shape {x.shape}")
        batch_statistics = self.training or not self.track_running_stats
        momentum = self.step_momentum() if self.training else 0.0
        return ops.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, momentum, self.eps
        )

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm2d):
    """:class:`BatchNorm2d` without pixels.  x, y: (N, num_features)."""

    axes = "(N, num_features)"


class MaxPool2d(Module):
    """Maximum over windows (see :func:`pycnn.ops.max_pool2d`).  x: (N, C, H, W) -> (N, C, P, Q)."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x):
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"


class AvgPool2d(Module):
    """Mean over windows (see :func:`pycnn.ops.avg_pool2d`).  x: (N, C, H, W) -> (N, C, P, Q)."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, x):
        return ops.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"


class AdaptiveAvgPool2d(Module):
    """Mean over output_size windows (see :func:`pycnn.ops.adaptive_avg_pool2d`).  x: (N, C, H, W) -> (N, C, P, Q)."""

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Maximum over output_size windows (see :func:`pycnn.ops.adaptive_max_pool2d`).  x: (N, C, H, W) -> (N, C, P, Q)."""

    def __init__(self, output_size, return_indices=False):
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x):
        return ops.adaptive_max_pool2d(x, self.output_size, self.return_indices)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class MaxUnpool2d(Module):
    """Values back where they were pooled (see :func:`pycnn.ops.max_unpool2d`).  x, indices: (N, C, P, Q) -> (N, C, H, W)."""

    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding

    def forward(self, x, indices, output_size=None):
        return ops.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class LocalResponseNorm(Module):
    """Local response normalization over channels (see :func:`pycnn.ops.local_response_norm`).  x, y: (N, C, H, W)."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=None, convention="torch"):
        self.size, self.alpha, self.beta, self.k, self.convention = size, alpha, beta, k, convention

    def forward(self, x):
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k, self.convention)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, convention={self.convention!r}"


def _not_in_place(inplace: bool) -> None:
    if inplace:
        raise ValueError("inplace=True: pycnn has no operations in place; leave it out")


class ReLU(Module):
    """max(x, 0), element by element. `inplace`, PyTorch's argument, must be False."""

    def __init__(self, inplace: bool = False):
        _not_in_place(inplace)

    def forward(self, x):
        return ops.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6), element by element. `inplace` must be False."""

    def __init__(self, inplace: bool = False):
        _not_in_place(inplace)

    def forward(self, x):
        return ops.relu6(x)


class LeakyReLU(Module):
    """x where it is positive, negative_slope · x elsewhere. `inplace` must be False."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        _not_in_place(inplace)
        self.negative_slope = negative_slope

    def forward(self, x):
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self):
        return f"negative_slope={self.negative_slope}"


class Tanh(Module):
    """tanh(x), element by element."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), element by element."""

    def forward(self, x):
        return ops.sigmoid(x)


class Softmax(Module):
    """Softmax along axis `dim` (see :func:`pycnn.ops.softmax`)."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, x):
        return ops.softmax(x, self.dim)


class LogSoftmax(Module):
    """The logarithm of the softmax along axis `dim`."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, x):
        return ops.log_softmax(x, self.dim)


class Identity(Module):
    """Its input; any arguments are ignored, as in PyTorch."""

    def __init__(self, *args, **kwargs):
        pass

    def forward(self, x):
        return x


class Flatten(Module):
    """Join the axes start_dim … end_dim, in C, H, W order for images."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return ops.flatten(x, self.start_dim, self.end_dim)


class Dropout(Module):
    """While training, zero each element with probability p and scale the others by 1 / (1 - p) (Srivastava et al. 2014)."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability between 0 and 1, got {p}")
        _not_in_place(inplace)
        self.p = p

    def forward(self, x):
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


class DropPath(Module):
    """While training, drop whole samples with probability p: stochastic depth (see :func:`pycnn.ops.drop_path`)."""

    def __init__(self, p: float = 0.5, mode: str = "row"):
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability between 0 and 1, got {p}")
        self.p, self.mode = p, mode

    def forward(self, x):
        return ops.drop_path(x, self.p, self.training, self.mode)

    def drops(self) -> bool:
        """Whether this step drops the whole batch, decided in the place of a call and as it would be; never in evaluation.

        The choice is made on the host, so that what would be dropped need not be computed; a captured step would repeat it.

        Raises:
            ValueError: the mode is "row".
        """
        if self.mode != "batch":
            raise ValueError(f"drops() is for mode='batch', which decides once for all samples; mode is {self.mode!r}")
        return self.training and self.p > 0 and random.bernoulli(self.p)

    def extra_repr(self):
        return f"p={self.p}, mode={self.mode!r}"


class ZeroPad2d(Module):
    """Zeros around images.  padding: one number, or (left, right, top, bottom); negative numbers crop."""

    def __init__(self, padding):
        self.padding = (padding,) * 4 if isinstance(padding, int | np.integer) else tuple(padding)
        if len(self.padding) != 4:
            raise ValueError(f"padding must be one number or four, got {padding!r}")

    def forward(self, x):
        return ops.pad(x, self.padding)

    def extra_repr(self):
        return f"{self.padding}"


class ChannelShuffle(Module):
    """Channels read as a matrix groups × C/groups and transposed, see :func:`pycnn.ops.channel_shuffle`."""

    def __init__(self, groups: int):
        self.groups = groups

    def forward(self, x):
        return ops.channel_shuffle(x, self.groups)

    def extra_repr(self):
        return f"groups={self.groups}"


class Upsample(Module):
    """Images at another size.  The arguments are those of :func:`pycnn.ops.interpolate`."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x):
        return ops.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self):
        target = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{target}, mode={self.mode!r}"


class CrossEntropyLoss(Module):
    """Softmax and negative log-likelihood in one.  input: (N, classes, ...)  target: (N, ...) int64, or the input's shape.

    The arguments are those of :func:`pycnn.ops.cross_entropy`.
    """

    def __init__(self, weight=None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0):
        self.weight, self.ignore_index, self.reduction, self.label_smoothing = weight, ignore_index, reduction, label_smoothing

    def forward(self, input, target):
        return ops.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(Module):
    """Negative log-likelihood of log-probabilities.  input: (N, classes, ...)  target: (N, ...) int64.

    The arguments are those of :func:`pycnn.ops.nll_loss`.
    """

    def __init__(self, weight=None, *, ignore_index: int = -100, reduction: str = "mean"):
        self.weight, self.ignore_index, self.reduction = weight, ignore_index, reduction

    def forward(self, input, target):
        return ops.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(Module):
    """(input - target)² and its mean or sum (see :func:`pycnn.ops.mse_loss`)."""

    def __init__(self, *, reduction: str = "mean"):
        self.reduction = reduction

    def forward(self, input, target):
        return ops.mse_loss(input, target, self.reduction)


class L1Loss(Module):
    """|input - target| and its mean or sum (see :func:`pycnn.ops.l1_loss`)."""

    def __init__(self, *, reduction: str = "mean"):
        self.reduction = reduction

    def forward(self, input, target):
        return ops.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Module):
    """A parabola up to |input - target| = beta, a line beyond (see :func:`pycnn.ops.smooth_l1_loss`)."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0):
        self.reduction, self.beta = reduction, beta

    def forward(self, input, target):
        return ops.smooth_l1_loss(input, target, self.reduction, self.beta)


class BCEWithLogitsLoss(Module):
    """Cross entropy of independent probabilities (see :func:`pycnn.ops.binary_cross_entropy_with_logits`)."""

    def __init__(self, weight=None, *, reduction: str = "mean", pos_weight=None):
        self.weight, self.reduction, self.pos_weight = weight, reduction, pos_weight

    def forward(self, input, target):
        return ops.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)
