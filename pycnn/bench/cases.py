"""What pycnn and PyTorch must agree on: one table, run by both.

A case is a function of a framework's ops `F` and of named inputs. pycnn keeps PyTorch's names, argument order and defaults, so
one function serves both. ``pycnn bench agreement`` compares both with float64. Of the tests, ``torch_reference/make.py`` stores
what PyTorch computes, ``test_torch_reference.py`` compares pycnn with that, and ``test_torch_live.py`` with the PyTorch that is
installed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: ``family/what``; a family is one file of stored results.
        function: called as ``function(F, **inputs)``; returns a tensor, a tuple or a dictionary of them.
        inputs: name -> function of a random generator that returns the array.
        constants: inputs that no gradient is asked for (integers never are asked).
        depth: how many sums follow one another on the way to an output; scales the tolerance between pycnn and PyTorch.
        roundings: what :mod:`.agreement` takes instead of `depth` where the distance from float64 has other causes too;
            0: `depth`.
    """

    name: str
    function: Callable
    inputs: dict[str, Callable]
    constants: tuple[str, ...] = ()
    depth: int = 1
    roundings: int = 0

    @property
    def family(self) -> str:
        """The stored file this case is in."""
        return self.name.partition("/")[0]

    def arrays(self) -> dict[str, np.ndarray]:
        """The inputs, the same in every run."""
        return {
            name: make(np.random.Generator(np.random.Philox(zlib.crc32(f"{self.name}/{name}".encode()))))
            for name, make in self.inputs.items()
        }

    def upstream(self, name: str, like: np.ndarray) -> np.ndarray:
        """The gradient that arrives at output `name`, the same in every run."""
        return normal(*like.shape)(np.random.Generator(np.random.Philox(zlib.crc32(f"{self.name}/d{name}".encode()))))


# ---- inputs -----------------------------------------------------------------------------------------------------------


def normal(*shape, scale=1.0):
    """Zero-mean numbers."""
    return lambda rng: (scale * rng.standard_normal(shape)).astype(np.float32)


def positive(*shape):
    """Numbers between 1/2 and 2."""
    return lambda rng: rng.uniform(0.5, 2, shape).astype(np.float32)


def integers(low, high, *shape, dtype=np.float32):
    """Whole numbers in [low, high): full of ties."""
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def targets(classes, *shape, ignored=0):
    """Class indices, the first `ignored` of them -100."""

    def make(rng):
        target = rng.integers(0, classes, shape)
        target.reshape(-1)[:ignored] = -100
        return target.astype(np.int64)

    return make


def special(rng):
    """Zeros of both signs, infinities, NaN, the smallest and the largest magnitudes, and ordinary numbers."""
    extremes = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 100, -100, 20, -20, 1e-5, -1e-5]
    return np.concatenate([np.array(extremes, np.float32), rng.standard_normal(21).astype(np.float32)])


# ---- cases ------------------------------------------------------------------------------------------------------------


def conv2d(name, C, K, kernel, size=(2, 9, 11), bias=True, groups=1, **options):
    N, H, W = size
    inputs = {"x": normal(N, C, H, W), "weight": normal(K, C // groups, *kernel)} | ({"bias": normal(K)} if bias else {})

    def function(F, x, weight, bias=None):
        return F.conv2d(x, weight, bias, groups=groups, **options)

    return Case(f"conv2d/{name}", function, inputs)


CONV2D = [
    conv2d("3x3", 4, 6, (3, 3)),
    conv2d("1x1", 5, 7, (1, 1)),
    conv2d("no_bias", 3, 8, (3, 3), bias=False, padding=1),
    conv2d("one_channel_5x5", 1, 6, (5, 5), size=(3, 12, 12)),
    conv2d("7x7_stride2_padding3", 3, 8, (7, 7), size=(2, 15, 17), stride=2, padding=3),
    conv2d("stride_and_padding_per_axis", 4, 5, (3, 5), stride=(2, 1), padding=(0, 2)),
    conv2d("stride_beyond_kernel", 4, 5, (2, 2), stride=3),
    conv2d("1x1_stride2", 6, 9, (1, 1), stride=2),
    conv2d("dilation", 4, 6, (3, 3), dilation=2, padding=2),
    conv2d("dilation_per_axis", 3, 4, (2, 3), dilation=(3, 2), padding=(1, 3)),
    conv2d("groups", 6, 8, (3, 3), groups=2, padding=1),
    conv2d("depthwise", 5, 5, (3, 3), groups=5, padding=1, stride=2),
    conv2d("depthwise_two_filters_each", 4, 8, (3, 3), groups=4),
    conv2d("depthwise_3x3", 19, 19, (3, 3), groups=19, padding=1),
    conv2d("groups_of_four", 16, 16, (3, 3), groups=4, padding=1, stride=2),
    conv2d("same", 3, 4, (3, 5), padding="same"),
    conv2d("same_even_kernel_dilated", 3, 4, (2, 4), padding="same", dilation=(1, 3)),
    conv2d("valid", 3, 4, (3, 3), padding="valid"),
    conv2d("wide", 32, 40, (3, 3), size=(1, 6, 6), padding=1),
    conv2d("empty_batch", 3, 4, (3, 3), size=(0, 6, 6)),
]


def conv_transpose2d(name, C, K, kernel, size=(2, 5, 7), bias=True, groups=1, **options):
    N, H, W = size
    inputs = {"x": normal(N, C, H, W), "weight": normal(C, K // groups, *kernel)} | ({"bias": normal(K)} if bias else {})

    def function(F, x, weight, bias=None):
        return F.conv_transpose2d(x, weight, bias, groups=groups, **options)

    return Case(f"conv_transpose2d/{name}", function, inputs)


CONV_TRANSPOSE2D = [
    conv_transpose2d("3x3", 4, 6, (3, 3)),
    conv_transpose2d("1x1", 5, 7, (1, 1)),
    conv_transpose2d("2x2_stride2", 8, 4, (2, 2), stride=2),
    conv_transpose2d("4x4_stride2_padding1", 5, 5, (4, 4), stride=2, padding=1, bias=False),
    conv_transpose2d("3x3_stride2_output_padding", 6, 20, (3, 3), stride=2, padding=1, output_padding=1),
    conv_transpose2d("per_axis", 3, 5, (2, 3), stride=(3, 1), padding=(0, 1), output_padding=(2, 0), dilation=(1, 2)),
    conv_transpose2d("output_padding_below_dilation", 3, 4, (3, 2), dilation=3, output_padding=2),
    conv_transpose2d("stride_beyond_kernel", 4, 5, (2, 1), stride=3),
    conv_transpose2d("dilation_and_stride", 3, 4, (3, 3), stride=2, dilation=2, padding=3),
    conv_transpose2d("groups", 6, 8, (3, 3), groups=2, stride=2),
    conv_transpose2d("depthwise_bilinear_like", 5, 5, (4, 4), groups=5, stride=2, padding=1),
    conv_transpose2d("wide", 24, 20, (3, 3), size=(1, 4, 5), padding=1),
    conv_transpose2d("empty_batch", 3, 4, (3, 3), size=(0, 6, 6), stride=2),
]

GEMM = [
    Case(
        "gemm/linear",
        lambda F, x, weight, bias: F.linear(x, weight, bias),
        {"x": normal(7, 33), "weight": normal(19, 33), "bias": normal(19)},
    ),
    Case("gemm/linear_no_bias", lambda F, x, weight: F.linear(x, weight), {"x": normal(4, 10), "weight": normal(3, 10)}),
    Case(
        "gemm/linear_three_axes",
        lambda F, x, weight, bias: F.linear(x, weight, bias),
        {"x": normal(2, 5, 8), "weight": normal(6, 8), "bias": normal(6)},
    ),
    Case("gemm/matmul", lambda F, a, b: F.matmul(a, b), {"a": normal(13, 37), "b": normal(37, 11)}),
    Case("gemm/matmul_operator", lambda F, a, b: a @ b, {"a": normal(1, 5), "b": normal(5, 1)}),
    Case("gemm/matmul_after_transpose", lambda F, a, b: a.transpose(0, 1) @ b, {"a": normal(9, 4), "b": normal(9, 6)}),
]


def pool2d(name, op, *arguments, make=normal, shape=(2, 3, 9, 11), roundings=0, **options):
    def function(F, x):
        return getattr(F, op)(x, *arguments, **options)

    return Case(f"pool2d/{op}_{name}", function, {"x": make(*shape)}, roundings=roundings)


def ties(*shape):
    """Whole numbers 0, 1, 2 for a maximum to choose among."""
    return integers(0, 3, *shape)


def unpooled_again(F, x):
    pooled, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    return F.max_unpool2d(pooled, indices, 3, 2, 1, output_size=x.shape)


POOL2D = [
    pool2d("2", "max_pool2d", 2),
    pool2d("3_stride2", "max_pool2d", 3, 2),
    pool2d("3_stride2_padding1", "max_pool2d", 3, 2, 1),
    pool2d("per_axis", "max_pool2d", (2, 3), (1, 2), (1, 0)),
    pool2d("ceil_mode", "max_pool2d", 3, 2, ceil_mode=True, shape=(2, 3, 8, 10)),
    pool2d("ceil_mode_padding", "max_pool2d", 2, 2, 1, ceil_mode=True),
    pool2d("dilation", "max_pool2d", 3, 1, 1, 2, roundings=2),  # nine windows meet in an element of the gradient
    pool2d("ties", "max_pool2d", 3, 2, 1, make=ties),
    pool2d("indices", "max_pool2d", 3, 2, 1, return_indices=True, make=ties),
    pool2d("2", "avg_pool2d", 2),
    pool2d("3_stride2_padding1", "avg_pool2d", 3, 2, 1),
    pool2d("per_axis", "avg_pool2d", (2, 3), (1, 2), (1, 0)),
    pool2d("without_padding_in_count", "avg_pool2d", 3, 2, 1, count_include_pad=False),
    pool2d("ceil_mode", "avg_pool2d", 3, 2, ceil_mode=True, shape=(2, 3, 8, 10)),
    pool2d("ceil_mode_padding", "avg_pool2d", 3, 2, 1, ceil_mode=True, shape=(2, 3, 8, 10)),
    pool2d("ceil_mode_without_padding_in_count", "avg_pool2d", 3, 2, 1, True, False, shape=(2, 3, 8, 10)),
    pool2d("divisor_override", "avg_pool2d", 3, 2, 1, divisor_override=5),
    pool2d("global", "adaptive_avg_pool2d", 1),
    pool2d("overlapping", "adaptive_avg_pool2d", (4, 7)),
    pool2d("larger", "adaptive_avg_pool2d", (None, 13)),
    pool2d("global_ties", "adaptive_max_pool2d", 1, make=ties),
    pool2d("overlapping_indices", "adaptive_max_pool2d", (4, 7), return_indices=True, make=ties),
    Case("pool2d/max_unpool2d_2", lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
         {"x": normal(2, 3, 8, 10)}),
    Case("pool2d/max_unpool2d_overlapping_output_size", lambda F, x: unpooled_again(F, x), {"x": normal(2, 3, 9, 11)}),
]  # fmt: skip


def activation(op, name, make):
    return Case(f"activation/{op}_{name}", lambda F, x: getattr(F, op)(x), {"x": make})


ACTIVATION = [
    activation(op, name, make)
    for op in ("relu", "relu6", "tanh", "sigmoid", "leaky_relu")
    for name, make in {"normal": normal(5, 7, scale=3), "image": normal(2, 3, 4, 5), "special": special}.items()
    if (op, name) != ("relu6", "special")  # at NaN PyTorch's gradient is 0 in its vectors and dy in what is left over
]


def far_from_zero(*shape, scale=1.0):
    """Numbers around 1e10, some of them equal: a logarithm added to one of them would be rounded away."""
    return lambda rng: np.float32(1e10) + np.float32(1024) * rng.integers(0, 2, shape).astype(np.float32)


def softmax(name, op, dim, *shape, scale=1.0, make=normal):
    function = lambda F, x: getattr(F, op)(x, dim)
    return Case(f"softmax/{op}_{name}", function, {"x": make(*shape, scale=scale)}, roundings=2)  # sums of exp(x), of dy · y


SOFTMAX = [
    case
    for op in ("softmax", "log_softmax")
    for case in (
        softmax("rows", op, 1, 6, 10),
        softmax("last_axis", op, -1, 2, 3, 7),
        softmax("channels", op, 1, 2, 5, 3, 4),
        softmax("large", op, 1, 4, 9, scale=300.0),
        softmax("one_class", op, 1, 3, 1),
        softmax("far_from_zero", op, 1, 4, 9, make=far_from_zero),
    )
]


def cross_entropy(name, target, scale=1.0, make=normal, op="cross_entropy", **options):
    return Case(
        f"loss/{op}_{name}",
        lambda F, input, target: getattr(F, op)(input, target, **options),
        {"input": make(8, 10, scale=scale), "target": target},
    )


LOSS = [
    cross_entropy("mean", targets(10, 8)),
    cross_entropy("sum", targets(10, 8), reduction="sum"),
    cross_entropy("none", targets(10, 8), reduction="none"),
    cross_entropy("ignored", targets(10, 8, ignored=3)),
    cross_entropy("ignored_sum", targets(10, 8, ignored=3), reduction="sum"),
    cross_entropy("ignored_none", targets(10, 8, ignored=3), reduction="none"),
    cross_entropy("ignore_index", integers(0, 3, 8, dtype=np.int64), ignore_index=1),
    cross_entropy("large", targets(10, 8), scale=300.0),
    cross_entropy("far_from_zero", targets(10, 8), make=far_from_zero),
    cross_entropy("far_from_zero_smoothing", targets(10, 8), make=far_from_zero, label_smoothing=0.1),
    *(
        cross_entropy(reduction, targets(10, 8, ignored=3), op="nll_loss", reduction=reduction)
        for reduction in ("mean", "sum", "none")
    ),
    Case(
        "loss/nll_loss_pixels_weight",
        lambda F, input, target, weight: F.nll_loss(input, target, weight),
        {"input": normal(2, 5, 3, 4), "target": targets(5, 2, 3, 4, ignored=3), "weight": positive(5)},
        constants=("weight",),
    ),
]


def pointwise(op, name, make_target=normal, **options):
    return Case(
        f"loss/{op}_{name}",
        lambda F, input, target, **weights: getattr(F, op)(input, target, **options, **weights),
        {"input": normal(3, 4, 5, 2), "target": make_target(3, 4, 5, 2)},
    )


def probabilities(*shape):
    """Numbers between 0 and 1."""
    return lambda rng: rng.random(shape).astype(np.float32)


def soft(name, *shape, make=normal, **options):
    """Cross entropy with class probabilities; their gradient too."""
    return Case(
        f"loss/cross_entropy_probabilities_{name}",
        lambda F, input, target, **weight: F.cross_entropy(input, target, **weight, **options),
        {"input": make(*shape), "target": probabilities(*shape), "weight": positive(shape[1])},
        constants=("weight",),
        roundings=2,  # the sum of a row's exponentials, then that of its probabilities
    )


LOSS += [
    soft("mean", 8, 10),
    soft("none", 8, 10, reduction="none"),
    soft("smoothing_sum", 8, 10, reduction="sum", label_smoothing=0.2),
    soft("pixels", 2, 5, 3, 4, label_smoothing=0.1),
    soft("far_from_zero", 8, 10, make=far_from_zero),
    cross_entropy("smoothing", targets(10, 8), label_smoothing=0.1),
    cross_entropy("all_ignored", targets(10, 8, ignored=8)),
    cross_entropy("ignore_255", lambda rng: np.array([1, 255, 3, 0, 255, 9, 2, 2]), ignore_index=255, label_smoothing=0.1),
    Case("loss/cross_entropy_pixels_weight_smoothing",
         lambda F, input, target, weight: F.cross_entropy(input, target, weight, label_smoothing=0.1),
         {"input": normal(2, 5, 3, 4), "target": targets(5, 2, 3, 4, ignored=3), "weight": positive(5)}, constants=("weight",)),
] + [
    pointwise(op, reduction, make, reduction=reduction)
    for op, make in (
        ("mse_loss", normal), ("l1_loss", normal), ("smooth_l1_loss", normal),
        ("binary_cross_entropy_with_logits", probabilities),
    )
    for reduction in ("mean", "sum", "none")
] + [
    pointwise("smooth_l1_loss", "beta", beta=0.2),
    Case(
        "loss/binary_cross_entropy_with_logits_weights",
        lambda F, input, target, weight, pos_weight: F.binary_cross_entropy_with_logits(
            input, target, weight, pos_weight=pos_weight
        ),
        {"input": normal(6, 4, scale=30), "target": probabilities(6, 4), "weight": positive(6, 1), "pos_weight": positive(4)},
        constants=("weight", "pos_weight"),
    ),
]  # fmt: skip

STATISTICS = {"running_mean": normal(5), "running_var": positive(5)}


def batch_norm(name, training, affine=True, running=True, shape=(4, 5, 3, 7), **options):
    inputs = {"x": normal(*shape)} | (STATISTICS if running else {})
    if affine:
        inputs |= {"weight": normal(5), "bias": normal(5)}

    def function(F, x, weight=None, bias=None, running_mean=None, running_var=None):
        y = F.batch_norm(x, running_mean, running_var, weight, bias, training, **options)
        return {"y": y} | ({"running_mean": running_mean, "running_var": running_var} if running else {})

    return Case(f"normalization/batch_norm_{name}", function, inputs, constants=tuple(STATISTICS), depth=2)


NORMALIZATION = [
    batch_norm("training", True),
    batch_norm("training_momentum_eps", True, momentum=0.3, eps=1e-3),
    batch_norm("training_without_affine", True, affine=False),
    batch_norm("training_without_running_statistics", True, running=False),
    batch_norm("evaluation", False),
    batch_norm("evaluation_without_affine", False, affine=False, eps=1e-2),
]

LOCAL_RESPONSE_NORM = [
    Case(f"local_response_norm/{name}", function, {"x": normal(2, 9, 3, 4, scale=3)}, depth=3)
    for name, function in {
        "paper_numbers": lambda F, x: F.local_response_norm(x, 5, 1e-4, 0.75, 2.0),
        "large_alpha": lambda F, x: F.local_response_norm(x, 5, 0.5),
        "even_size": lambda F, x: F.local_response_norm(x, 4, 0.5, 0.6, 1.5),
        "wider_than_the_channels": lambda F, x: F.local_response_norm(x, 21, 0.9),
        "normalize_channels": lambda F, x: F.normalize(x),
        "normalize_width": lambda F, x: F.normalize(x, dim=-1, eps=4.0),
    }.items()
]

OPERATORS = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b}
BROADCASTS = {
    "same_shape": ((4, 5), (4, 5)),
    "row": ((4, 5), (5,)),
    "column": ((4, 5), (4, 1)),
    "outer": ((4, 1), (1, 5)),
    "scalar": ((3, 4), ()),
    "channels": ((2, 3, 4, 5), (3, 1, 1)),
    "channels_of_four_axes": ((1, 3, 1, 1), (2, 3, 4, 5)),
    "last_axis_of_four": ((2, 3, 4, 5), (5,)),
}


def operator(op, name, a, b):
    inputs = {"a": normal(*a), "b": positive(*b) if op == "div" else normal(*b)}
    return Case(f"elementwise/{op}_{name}", lambda F, a, b: OPERATORS[op](a, b), inputs)


def function_of(op, make, *arguments):
    name = "_".join([op, "special" if make is special else "normal", *map(str, arguments)])
    return Case(f"elementwise/{name}", lambda F, x: getattr(F, op)(x, *arguments), {"x": make})


FUNCTIONS = [
    (op, make, arguments)
    for op, arguments in (
        ("abs", ()), ("square", ()), ("rsqrt", ()), ("reciprocal", ()), ("clamp", (-0.5, 1.5)), ("clamp", (1.0, 0.0)),
        ("clamp", (0.25,)), ("pow", (2,)), ("pow", (3,)), ("pow", (0.5,)), ("pow", (-1.5,)), ("pow", (0,)), ("pow", (1,)),
    )
    for make in (positive(4, 5), special)
]  # fmt: skip
ELEMENTWISE = [operator(op, name, a, b) for op in OPERATORS for name, (a, b) in BROADCASTS.items()] + [
    Case("elementwise/number_on_the_left", lambda F, x: 2 * x + (1 - x) + 3 / x, {"x": positive(4, 5)}),
    Case("elementwise/number_on_the_right", lambda F, x: (x - 0.25) / 3 + x * 1.5 + 1, {"x": normal(4, 5)}),
    Case("elementwise/neg", lambda F, x: -x, {"x": normal(4, 5)}),
    Case("elementwise/exp", lambda F, x: F.exp(x), {"x": normal(4, 5)}),
    Case("elementwise/log", lambda F, x: F.log(x), {"x": positive(4, 5)}),
    Case("elementwise/sqrt", lambda F, x: F.sqrt(x), {"x": positive(4, 5)}),
    *(function_of(op, make, *arguments) for op, make, arguments in FUNCTIONS),
    *(
        Case(
            f"elementwise/{op}_{name}",
            lambda F, a, b, op=op: getattr(F, op)(a, b),
            {"a": integers(-1, 2, *a), "b": integers(-1, 2, *b)},
        )
        for op in ("maximum", "minimum")
        for name, (a, b) in BROADCASTS.items()
    ),
    Case("elementwise/used_twice", lambda F, x: x * x + x, {"x": normal(4, 5)}),
    Case(
        "elementwise/image_plus_plain",
        lambda F, x, b: F.relu(F.max_pool2d(x, 2) + b),
        {"x": normal(2, 3, 4, 6), "b": normal(2, 3)},
    ),
]


def reduction(op, name, *shape, make=normal, **options):
    return Case(f"reduce/{op}_{name}", lambda F, x: getattr(x, op)(**options), {"x": make(*shape)})


REDUCE = [
    case
    for op in ("sum", "mean")
    for case in (
        reduction(op, "all", 6, 7),
        reduction(op, "rows", 6, 7, dim=0),
        reduction(op, "last_kept", 6, 7, dim=-1, keepdim=True),
        reduction(op, "middle", 3, 4, 5, dim=1),
        reduction(op, "image_channels", 2, 3, 4, 5, dim=(0, 2, 3)),
        reduction(op, "image_pixels_kept", 2, 3, 4, 5, dim=(2, 3), keepdim=True),
    )
] + [
    reduction("max", "all", 6, 7),
    reduction("max", "all_ties", 6, 7, make=ties),
    reduction("max", "rows", 6, 7, dim=0),
    reduction("max", "last_kept_ties", 6, 7, make=ties, dim=-1, keepdim=True),
    reduction("max", "image_channels", 2, 3, 4, 5, dim=1),
]

SHAPE = [
    Case("shape/flatten_image", lambda F, x: F.flatten(F.max_pool2d(x, 2), 1), {"x": normal(2, 3, 4, 6)}),
    Case("shape/reshape", lambda F, x: F.reshape(x, (3, 8)), {"x": normal(2, 12)}),
    Case("shape/reshape_image", lambda F, x: F.reshape(F.max_pool2d(x, 2), (3, -1)), {"x": normal(2, 3, 4, 6)}),
    Case("shape/transpose", lambda F, x: F.transpose(x, 0, 2), {"x": normal(2, 3, 4)}),
    Case(
        "shape/conv_flatten_linear",
        lambda F, x, weight, matrix: F.linear(F.flatten(F.conv2d(x, weight), 1), matrix),
        {"x": normal(2, 3, 5, 6), "weight": normal(4, 3, 3, 3), "matrix": normal(7, 4 * 3 * 4)},
        depth=2,
        roundings=3,
    ),
]


def join(F, a, b):
    """An image of pixels that lie channels last, and one that lies in C order."""
    return F.cat([F.max_pool2d(a, 2), b], 1)


SHAPE += [
    Case("shape/cat_channels", join, {"a": normal(2, 3, 4, 6), "b": normal(2, 2, 2, 3)}),
    Case("shape/cat_rows", lambda F, a, b: F.cat((a, b, a)), {"a": normal(2, 5), "b": normal(1, 5)}),
    Case("shape/cat_last_axis", lambda F, a, b: F.concat([a, b], -1), {"a": normal(2, 3, 4), "b": normal(2, 3, 1)}),
    Case("shape/stack", lambda F, a, b: F.stack([a, b], 1), {"a": normal(2, 3), "b": normal(2, 3)}),
    Case(
        "shape/branches",
        lambda F, x, weight: F.cat([F.conv2d(part, weight, padding=1) for part in F.split(F.max_pool2d(x, 2), 2, 1)], 1),
        {"x": normal(2, 6, 8, 6), "weight": normal(3, 2, 3, 3)},
    ),
    Case("shape/split_sections", lambda F, x: F.split(x, [1, 3], 1), {"x": normal(3, 4)}),
    Case("shape/chunk", lambda F, x: F.chunk(x, 3, -1), {"x": normal(2, 7)}),
    Case("shape/narrow", lambda F, x: F.narrow(x, 2, 1, 2), {"x": normal(2, 3, 4, 5)}),
    Case("shape/index", lambda F, x: x[:, 1:3] * x[0, :2, ..., 1:2], {"x": normal(2, 3, 4, 5)}),
    Case("shape/pad", lambda F, x: F.pad(F.max_pool2d(x, 2), (1, 2, 0, 3), value=0.5), {"x": normal(2, 3, 4, 6)}),
    Case("shape/pad_negative", lambda F, x: F.pad(x, (-1, 2, 1, -2)), {"x": normal(2, 3, 4, 5)}),
    Case("shape/pad_channels", lambda F, x: F.pad(x, (0, 0, 0, 0, 2, 1)), {"x": normal(2, 3, 4, 5)}),
    Case("shape/channel_shuffle", lambda F, x: F.channel_shuffle(x, 3), {"x": normal(2, 6, 3, 4)}),
]


def resample(name, *size, **options):
    # Positions between pixels are float32, as in PyTorch: at pixel 17 off by 17 times the rounding of a weight.
    roundings = 17 if options.get("mode") == "bilinear" else 0
    return Case(f"resample/{name}", lambda F, x: F.interpolate(x, **options), {"x": normal(2, 3, *size)}, roundings=roundings)


RESAMPLE = [
    resample("nearest_double", 5, 7, scale_factor=2),
    resample("nearest_size", 5, 7, size=(8, 3)),
    resample("nearest_factor", 9, 11, scale_factor=1.7),
    resample("nearest_factor_recomputed", 9, 11, scale_factor=1.7, recompute_scale_factor=True),
    resample("bilinear_double", 5, 7, scale_factor=2, mode="bilinear"),
    resample("bilinear_double_corners", 5, 7, scale_factor=2, mode="bilinear", align_corners=True),
    resample("bilinear_size", 6, 9, size=(4, 17), mode="bilinear", align_corners=False),
    resample("bilinear_one_corner", 6, 9, size=(1, 4), mode="bilinear", align_corners=True),
    resample("bilinear_factors", 9, 11, scale_factor=(1.3, 0.6), mode="bilinear"),
    resample("bilinear_factors_recomputed", 9, 11, scale_factor=(1.3, 0.6), mode="bilinear", recompute_scale_factor=True),
    resample("bilinear_one_pixel", 1, 1, size=3, mode="bilinear"),
]


def steps(name, optimizer_name, lr=0.1, **settings):
    """Parameters after each of four steps with gradients given."""

    def function(F, p, **gradients):
        parameter = F.parameter(p)
        optimizer = getattr(F.optim, optimizer_name)([parameter], lr=lr, **settings)
        after = {}
        for step, gradient in gradients.items():
            optimizer.zero_grad()
            parameter.grad = gradient
            optimizer.step()
            after[step] = F.copy(parameter)
        return after

    inputs = {name: normal(5, 7) for name in ("p", "step1", "step2", "step3", "step4")}
    return Case(f"optim/{optimizer_name.lower()}_{name}", function, inputs, constants=tuple(inputs), depth=4)


def sgd(name, **settings):
    return steps(name, "SGD", **settings)


OPTIM = [
    sgd("plain"),
    sgd("momentum", momentum=0.9),
    sgd("dampening", momentum=0.9, dampening=0.3),
    sgd("nesterov", momentum=0.9, nesterov=True),
    sgd("weight_decay", weight_decay=0.1),
    sgd("nesterov_weight_decay", momentum=0.8, nesterov=True, weight_decay=0.01),
    steps("plain", "Adam", lr=0.01),
    steps("betas", "Adam", betas=(0.5, 0.9)),
    steps("no_memory", "Adam", betas=(0.0, 0.0), eps=0.1),
    steps("eps", "Adam", eps=0.1),
    steps("weight_decay", "Adam", weight_decay=0.1),
    steps("plain", "AdamW", lr=0.01),
    steps("weight_decay", "AdamW", betas=(0.8, 0.95), weight_decay=0.5),
]

LENET5 = {
    "c1.weight": (6, 1, 5, 5), "c1.bias": (6,), "c3.weight": (16, 6, 5, 5), "c3.bias": (16,), "c5.weight": (120, 400),
    "c5.bias": (120,), "f6.weight": (84, 120), "f6.bias": (84,), "output.weight": (10, 84), "output.bias": (10,),
}  # fmt: skip


def lenet5_weights() -> dict[str, Callable]:
    """Initial weights, normal with variance 2 / fan-in (He et al. 2015), small biases."""
    return {
        name: normal(*shape, scale=0.05 if len(shape) == 1 else (2 / np.prod(shape[1:])) ** 0.5) for name, shape in LENET5.items()
    }


def lenet5(F, x, target, **weights):
    """Logits, loss and gradients of the first step, parameters after three steps of SGD with momentum."""
    model = F.create_model("lenet5")
    F.load(model, weights)
    optimizer = F.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    results = {}
    for step in range(3):
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, target)
        loss.backward()
        if step == 0:
            results["logits"] = F.copy(logits)
            results |= {f"gradient.{name}": F.copy(p.grad) for name, p in model.named_parameters()}
        results[f"loss.{step}"] = F.copy(loss)
        optimizer.step()
    return results | {f"after.{name}": F.copy(p) for name, p in model.named_parameters()}


NETS = [
    Case("lenet5/three_steps", lenet5, {"x": normal(8, 1, 32, 32), "target": targets(10, 8)} | lenet5_weights(),
         constants=("x", *LENET5), depth=10),
]  # fmt: skip

CASES = [
    *CONV2D, *CONV_TRANSPOSE2D, *GEMM, *POOL2D, *ACTIVATION, *SOFTMAX, *LOSS, *NORMALIZATION, *LOCAL_RESPONSE_NORM, *ELEMENTWISE,
    *REDUCE, *SHAPE, *RESAMPLE, *OPTIM, *NETS,
]  # fmt: skip
