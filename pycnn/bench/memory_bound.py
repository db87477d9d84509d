"""Ops that wait for memory. Forward passes and gradients go through the public functions of both sides (autograd included), with
a fresh result in every run; copy and the bias gradient, which are steps inside other ops, call the kernel.

Every element of a result is checked against fp64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import ops, optim
from ..tensor import Parameter, Tensor, no_grad
from .contest import Contest, Setting, random, worst

CLASSES, POOL, POOL_STRIDE, LR = 1000, 3, 2, 1e-3
BLOCKS = 7  # rows and columns that adaptive pooling leaves


def shape(setting: Setting) -> tuple[int, int, int, int]:
    """Of the images: ResNet's first stage. 12.8 MB in fp32 on a CPU, 51 MB on a GPU."""
    n = 64 if setting.device != "cpu" else 4 if setting.quick else 16
    return (n, 64, 56, 56)


def vgg_shape(setting: Setting) -> tuple[int, int, int, int]:
    """Of the images that VGG-16 pools first, 2 x 2: 51 MB in fp32 on a CPU."""
    n = 32 if setting.device != "cpu" else 1 if setting.quick else 4
    return (n, 64, 224, 224)


def logits_shape(setting: Setting) -> tuple[int, int]:
    """Rows and classes of the logits: 16 MB on a CPU, 66 MB on a GPU."""
    rows = 16384 if setting.device != "cpu" else 512 if setting.quick else 4096
    return (rows, CLASSES)


@dataclass(frozen=True)
class MemoryRow:
    """A memory-bound row: how many bytes must move for given extents, and how to prepare it."""

    op: str
    bytes: Callable[[Setting], float]
    prepare: Callable[[Setting], Contest]


def _passes(count: float) -> Callable[[Setting], float]:
    """`count` times the bytes of the images."""
    return lambda setting: count * 4 * float(np.prod(shape(setting)))


def _pooled(setting: Setting) -> int:
    """Elements after pooling."""
    n, c, h, w = shape(setting)
    return n * c * (((h + 2 - POOL) // POOL_STRIDE + 1) * ((w + 2 - POOL) // POOL_STRIDE + 1))


def _pool_bytes(setting: Setting) -> float:
    """Of the input and the output."""
    return _passes(1)(setting) + 4 * _pooled(setting)


def _vgg_bytes(setting: Setting) -> float:
    """Of VGG's input and output."""
    return 1.25 * 4 * float(np.prod(vgg_shape(setting)))


def _unpool_bytes(setting: Setting) -> float:
    """Of both images and the indices, which are 8 bytes each."""
    return _passes(1 + 1 / 4 + 2 / 4)(setting)


def _pixel_bytes(count: float) -> Callable[[Setting], float]:
    """`count` times the bytes of the logits of 21 classes a pixel."""
    return lambda setting: count * 4 * 21 / 64 * float(np.prod(vgg_shape(setting)))


def _logit_bytes(count: float) -> Callable[[Setting], float]:
    """`count` times the bytes of the logits."""
    return lambda setting: count * 4 * float(np.prod(logits_shape(setting)))


def functional(make, apply, gradient: bool = False, image: bool = True):
    """A row of one function applied to random inputs.

    Args:
        make: setting -> the inputs by name, NumPy arrays; the first is what a gradient is taken of.
        apply: (ops, *inputs) -> result, the same for both sides.
        gradient: measure the gradient with respect to the first input instead of the function.
        image: four-axis inputs are images: NHWC in pycnn, both layouts in PyTorch.
    """

    def prepare(setting: Setting, expected) -> Contest:
        arrays = make(setting)
        theirs = lambda layout: _torch_side(setting, arrays, apply, gradient, layout)
        rivals = setting.layouts(theirs) if image else setting.rival("torch", lambda: theirs("NCHW"))
        return Contest(_pycnn_side(setting, arrays, apply, gradient, image), rivals, lambda *y: expected(y[0], *arrays))

    return prepare


def upstream(like) -> np.ndarray:
    """The gradient that arrives at a result of this shape."""
    return random(*like, seed=9)


def _pycnn_side(setting, arrays, apply, gradient, image):
    layout = lambda a: "image" if image and a.ndim == 4 else "plain"
    inputs = [Tensor(a, gradient and i == 0, setting.device, layout=layout(a)) for i, a in enumerate(arrays)]
    if not gradient:
        return no_grad()(lambda: apply(ops, *inputs))
    x, y = inputs[0], apply(ops, *inputs)
    dy = Tensor(upstream(y.shape), device=setting.device, layout=y.layout)
    backend, extents, dtype = setting.backend, x.data.shape, x.dtype

    def backward():
        x.use_grad_memory(backend.empty(extents, dtype))
        y.backward(dy, retain_graph=True)
        return x.grad

    return backward


def _torch_side(setting, arrays, apply, gradient, layout):
    torch = setting.torch
    inputs = [setting.torch_tensor(a, layout if a.ndim == 4 else "NCHW") for a in arrays]
    namespace = _TorchOps(torch)
    if not gradient:
        return torch.inference_mode()(lambda: apply(namespace, *inputs))
    x = inputs[0].requires_grad_()
    y = apply(namespace, *inputs)
    dy = setting.torch_tensor(upstream(y.shape), layout if y.ndim == 4 else "NCHW")
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)[0]


class _TorchOps:
    """PyTorch's functions under the names pycnn.ops has them."""

    def __init__(self, torch):
        self.torch = torch

    def __getattr__(self, name):
        return getattr(self.torch.nn.functional, name, None) or getattr(self.torch, name)


# ---- fp64 references: (result, *inputs) -> the largest error in units of its bound ------------------------------------


def _elementwise(function, ulp=1):
    """|error| <= 4·2⁻²⁴·sqrt(ulp)·|y|."""

    def error(y, *inputs):
        expected = function(*(a.astype(np.float64) for a in inputs))
        return worst(y, expected, expected**2, ulp)

    return error


def _tanh_backward(dx, x):
    y, dy = np.tanh(x.astype(np.float64)), upstream(x.shape)
    return worst(dx, dy * (1 - y * y), dy.astype(np.float64) ** 2, 4)


def _windows(x: np.ndarray, fill: float) -> np.ndarray:
    """x padded by 1 with `fill`, as windows (N, C, P, Q, 3, 3)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (POOL, POOL), (2, 3))[:, :, ::POOL_STRIDE, ::POOL_STRIDE]


def _scatter(contributions: np.ndarray, extents) -> np.ndarray:
    """The sum over windows (N, C, P, Q, 3, 3) of what each adds to the pixels it covers."""
    n, c, h, w = extents
    p, q = contributions.shape[2:4]
    total = np.zeros((n, c, h + 2 + POOL_STRIDE, w + 2 + POOL_STRIDE))
    for r in range(POOL):
        for s in range(POOL):
            total[:, :, r : r + p * POOL_STRIDE : POOL_STRIDE, s : s + q * POOL_STRIDE : POOL_STRIDE] += contributions[..., r, s]
    return total[:, :, 1 : h + 1, 1 : w + 1]


def _max_pool(y, x):
    return worst(y, _windows(x, -np.inf).max((4, 5)).astype(np.float64), 0.0, 1)


def _max_pool_backward(dx, x):
    windows = _windows(x, -np.inf)
    first = windows.reshape(*windows.shape[:4], -1).argmax(-1)
    dy = upstream(first.shape).astype(np.float64)
    at = (np.arange(POOL * POOL) == first[..., None]).reshape(windows.shape)
    return worst(dx, _scatter(at * dy[..., None, None], x.shape), _scatter(at * dy[..., None, None] ** 2, x.shape), 4)


def _avg_pool(y, x):
    windows = _windows(x, 0.0).astype(np.float64)
    return worst(y, windows.mean((4, 5)), (windows**2).sum((4, 5)) / POOL**4, POOL**2)


def _avg_pool_backward(dx, x):
    n, c, h, w = x.shape
    extents = (n, c, (h + 2 - POOL) // POOL_STRIDE + 1, (w + 2 - POOL) // POOL_STRIDE + 1)
    dy = np.broadcast_to((upstream(extents) / np.float64(POOL**2))[..., None, None], (*extents, POOL, POOL))
    return worst(dx, _scatter(dy, x.shape), _scatter(dy**2, x.shape), 4)


def _tiles(x: np.ndarray) -> np.ndarray:
    """x as windows of 2 x 2 that do not overlap, (N, C, P, Q, 4)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def _untiled(windows: np.ndarray) -> np.ndarray:
    n, c, p, q, _ = windows.shape
    return windows.reshape(n, c, p, q, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, 2 * p, 2 * q)


def _max_tiles(y, x):
    return worst(y, _tiles(x).max(-1).astype(np.float64), 0.0, 1)


def _max_tiles_backward(dx, x):
    at = np.arange(4) == _tiles(x).argmax(-1)[..., None]
    return worst(dx, _untiled(at * upstream(at.shape[:-1])[..., None]).astype(np.float64), 0.0, 1)


def _global(y, x):
    x = x.astype(np.float64)
    return worst(y, x.mean((2, 3), keepdims=True), (x**2).sum((2, 3), keepdims=True) / x[0, 0].size ** 2, x[0, 0].size)


def _global_backward(dx, x):
    share = np.broadcast_to(upstream((*x.shape[:2], 1, 1)) / np.float64(x[0, 0].size), x.shape)
    return worst(dx, share, share**2, 1)


def _global_max(y, x):
    return worst(y, x.max((2, 3), keepdims=True).astype(np.float64), 0.0, 1)


def _global_max_backward(dx, x):
    n, c, h, w = x.shape
    at = np.arange(h * w) == x.reshape(n, c, -1).argmax(-1)[..., None]
    return worst(dx, at.reshape(x.shape) * upstream((n, c, 1, 1)).astype(np.float64), 0.0, 1)


def _blocks(x):
    n, c, h, w = x.shape
    return x.astype(np.float64).reshape(n, c, BLOCKS, h // BLOCKS, BLOCKS, w // BLOCKS)


def _adaptive(y, x):
    blocks = _blocks(x)
    terms = blocks[0, 0, 0, :, 0].size
    return worst(y, blocks.mean((3, 5)), (blocks**2).sum((3, 5)) / terms**2, terms)


def _adaptive_backward(dx, x):
    n, c, h, w = x.shape
    side = h // BLOCKS
    share = upstream((n, c, BLOCKS, BLOCKS)).astype(np.float64).repeat(side, 2).repeat(side, 3) / side**2
    return worst(dx, share, share**2, 1)


def _unpool(y, x, places):
    n, c, p, q = x.shape
    expected = np.zeros((n, c, 4 * p * q))
    np.put_along_axis(expected, places.reshape(n, c, -1), x.reshape(n, c, -1).astype(np.float64), 2)
    return worst(y, expected.reshape(n, c, 2 * p, 2 * q), 0.0, 1)


def _unpool_backward(dx, x, places):
    n, c, p, q = x.shape
    dy = upstream((n, c, 2 * p, 2 * q)).reshape(n, c, -1)
    return worst(dx, np.take_along_axis(dy, places.reshape(n, c, -1), 2).reshape(x.shape).astype(np.float64), 0.0, 1)


def _window_sums(x):
    """Over 5 neighboring channels, zeros beyond the ends."""
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    return sum(padded[:, i : i + x.shape[1]] for i in range(5))


def _response(y, x):
    expected = x.astype(np.float64) * (2 + 1e-4 / 5 * _window_sums(x.astype(np.float64) ** 2)) ** -0.75
    return worst(y, expected, expected**2, 9)


def _response_backward(dx, x):
    x, dy = x.astype(np.float64), upstream(x.shape).astype(np.float64)
    s = 2 + 1e-4 / 5 * _window_sums(x**2)
    own, others = dy * s**-0.75, dy * x * s**-1.75
    expected = own - 1.5e-4 / 5 * x * _window_sums(others)
    return worst(dx, expected, own**2 + (1.5e-4 / 5 * x) ** 2 * _window_sums(others**2), 9)


def _unit(y, x):
    expected = x / np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True))
    return worst(y, expected, expected**2, 9)


def _unit_backward(dx, x):
    x, dy = x.astype(np.float64), upstream(x.shape).astype(np.float64)
    norm = np.sqrt((x**2).sum(1, keepdims=True))
    u = x / norm
    return worst(dx, (dy - u * (dy * u).sum(1, keepdims=True)) / norm, ((np.abs(dy) + np.abs(u)) / norm) ** 2, 64)


def _normalized(x):
    x = x.astype(np.float64)
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5), 1 / np.sqrt(variance + 1e-5)


def _batch_norm(y, x, weight, bias):
    xhat, _ = _normalized(x)
    weight, bias = (a.astype(np.float64)[:, None, None] for a in (weight, bias))
    return worst(y, xhat * weight + bias, (weight * (np.abs(xhat) + 1)) ** 2 + bias**2, 4)


def _batch_norm_backward(dx, x, weight, bias):
    xhat, scale = _normalized(x)
    dy, scale = upstream(x.shape).astype(np.float64), scale * weight.astype(np.float64)[:, None, None]
    means = [v.mean((0, 2, 3), keepdims=True) for v in (dy, dy * xhat)]  # off by 4·2⁻²⁴ of their terms' rms, which is 1
    return worst(dx, scale * (dy - means[0] - xhat * means[1]), (scale * (np.abs(dy) + np.abs(xhat) + 1)) ** 2, 4)


def _log_sum(x):
    x = x.astype(np.float64)
    most = x.max(1, keepdims=True)
    return most + np.log(np.exp(x - most).sum(1, keepdims=True))


def _cross_entropy(loss, x, target):
    terms = _log_sum(x) - np.take_along_axis(x.astype(np.float64), target[:, None], 1)
    return worst(loss, terms.mean(), np.sum((terms / terms.size) ** 2), terms.size)


def _cross_entropy_backward(dx, x, target):
    expected = np.exp(x.astype(np.float64) - _log_sum(x))
    hits = np.take_along_axis(expected, target[:, None], 1)
    np.put_along_axis(expected, target[:, None], hits - 1, 1)
    scale = upstream(()) / target.size
    return worst(dx, expected * scale, (expected * scale) ** 2 + (2.0**-24 * scale) ** 2, 64)


# ---- inputs -----------------------------------------------------------------------------------------------------------


def one_image(setting):
    return [random(*shape(setting), seed=1)]


def vgg_image(setting):
    return [random(*vgg_shape(setting), seed=1)]


def pooled_image(setting):
    """Maxima of 2 x 2 and their places in the image."""
    x = random(*shape(setting), seed=1)
    n, c, h, w = x.shape
    taps = _tiles(x).argmax(-1)
    rows, columns = 2 * np.arange(h // 2)[:, None] + taps // 2, 2 * np.arange(w // 2) + taps % 2
    return [_tiles(x).max(-1), rows * w + columns]


def two_images(setting):
    return [random(*shape(setting), seed=1), random(*shape(setting), seed=2)]


def image_and_bias(setting):
    return [random(*shape(setting), seed=1), random(shape(setting)[1], 1, 1, seed=2)]


def image_and_affine(setting):
    return [random(*shape(setting), seed=1), random(shape(setting)[1], seed=2), random(shape(setting)[1], seed=3)]


def logits(setting):
    rows, classes = logits_shape(setting)
    return [random(rows, classes, seed=1), np.random.Generator(np.random.Philox(2)).integers(0, classes, rows)]


def pixel_logits(setting):
    """21 classes a pixel, as in PASCAL VOC."""
    n, _, h, w = vgg_shape(setting)
    return [random(n, 21, h, w, seed=1), np.random.Generator(np.random.Philox(2)).integers(0, 21, (n, h, w))]


# ---- steps inside other ops -------------------------------------------------------------------------------------------


def copy(setting: Setting) -> Contest:
    """y = x, all bytes."""
    x = random(*shape(setting), seed=1)
    ours, backend = setting.image(x), setting.backend

    def pycnn():
        y = backend.empty(ours.data.shape, ours.dtype)
        backend.run("copy", (y.size, 0), y.dtype, ours.data, y)
        return Tensor.from_memory(y, "image")

    def torch():
        theirs = setting.torch_tensor(x)
        return lambda: theirs.clone()

    return Contest(pycnn, setting.rival("clone", torch), lambda y: 0.0 if np.array_equal(y, x) else np.inf)


def bias_gradient(setting: Setting) -> Contest:
    """dbias[c] = the sum of dy over images and pixels."""
    dy = random(*shape(setting), seed=1)
    ours, backend = setting.image(dy), setting.backend
    channels = dy.shape[1]
    wide = dy.astype(np.float64)
    expected, squares = wide.sum((0, 2, 3)), (wide**2).sum((0, 2, 3))

    def pycnn():
        dbias = backend.empty((channels,), ours.dtype)
        backend.run("bias_backward", (dy.size // channels, channels, 0), ours.dtype, ours.data, dbias)
        return Tensor.from_memory(dbias, "plain")

    def torch(layout):
        theirs = setting.torch_tensor(dy, layout)
        return lambda: theirs.sum((0, 2, 3))

    return Contest(pycnn, setting.layouts(torch), lambda d: worst(d, expected, squares, dy.size // channels))


def concat_gradient(setting: Setting) -> Contest:
    """The gradient of the first of two images that were joined, as an array of its own."""
    a, b = two_images(setting)
    dy = random(*(a.shape[0], 2 * a.shape[1], *a.shape[2:]), seed=9)
    first, gradient = setting.image(a, True), setting.image(dy)
    joined = ops.cat([first, setting.image(b)], 1)

    def pycnn():
        first.use_grad_memory(setting.backend.empty(first.data.shape, first.dtype))
        joined.backward(gradient, retain_graph=True)
        return first.grad

    def torch(layout):
        x = setting.torch_tensor(a, layout).requires_grad_()
        y = setting.torch.cat([x, setting.torch_tensor(b, layout)], 1)
        upstream = setting.torch_tensor(dy, layout)
        return lambda: setting.torch.autograd.grad(y, x, upstream, retain_graph=True)[0].clone()

    expected = dy[:, : a.shape[1]].astype(np.float64)
    return Contest(pycnn, setting.layouts(torch), lambda dx: worst(dx, expected, 0.0, 1))


def _optimizer_step(setting: Setting, name: str, expected, **options) -> Contest:
    """A step of the optimizer `name` on six 256→256 3×3 filters (14 MB of parameters, 56 MB on a GPU).

    The first step is checked: expected(parameter, gradient) -> (new parameter, the sum of the squares of its terms, in fp64).
    """
    count = 6 if setting.device == "cpu" else 24
    if setting.quick:
        count = 2
    extents = (256, 256, 3, 3)
    start = [random(*extents, seed=i) for i in range(count)]
    grads = [random(*extents, seed=100 + i) for i in range(count)]

    parameters = [Parameter(p.copy(), device=setting.device, layout="image") for p in start]
    optimizer = getattr(optim, name)(parameters, lr=LR, **options)
    for p, g in zip(parameters, grads, strict=True):
        p.grad = setting.image(g)

    def pycnn():
        optimizer.step()
        return parameters[0]

    def torch(**kind):
        import torch

        theirs = [torch.nn.Parameter(setting.torch_tensor(p.copy())) for p in start]
        step = getattr(torch.optim, name)(theirs, lr=LR, **options, **kind).step
        for p, g in zip(theirs, grads, strict=True):
            p.grad = setting.torch_tensor(g)

        def run():
            step()
            return theirs[0]

        return run

    def error(p):
        return worst(p, *expected(start[0].astype(np.float64), grads[0].astype(np.float64)), 2)

    rivals = setting.rival("fused", lambda: torch(fused=True)) | setting.rival("foreach", lambda: torch(foreach=True))
    return Contest(pycnn, rivals, error)


def sgd(setting: Setting) -> Contest:
    """SGD with momentum; its first step takes the gradient."""
    return _optimizer_step(setting, "SGD", lambda p, g: (p - LR * g, p**2 + (LR * g) ** 2), momentum=0.9)


def adam(setting: Setting) -> Contest:
    """Adam; its first step takes the gradient's sign, all but for eps."""
    return _optimizer_step(setting, "Adam", lambda p, g: (p - LR * g / (np.abs(g) + 1e-8), p**2 + LR**2))


def _optimizer_bytes(count: float) -> Callable[[Setting], float]:
    """`count` times the bytes of the parameters: parameters and state are read and written, gradients read."""
    return lambda setting: count * 4 * 256 * 256 * 9 * (2 if setting.quick else 6 if setting.device == "cpu" else 24)


def _row(op, count, apply, expected, make=one_image, gradient=False, image=True) -> MemoryRow:
    prepare = functional(make, apply, gradient, image)
    return MemoryRow(op, count, lambda setting: prepare(setting, expected))


def _relu(F, x):
    return F.relu(x)


def _max_pool2d(F, x):
    return F.max_pool2d(x, POOL, POOL_STRIDE, 1)


def _avg_pool2d(F, x):
    return F.avg_pool2d(x, POOL, POOL_STRIDE, 1)


def _max_pool2d_2(F, x):
    return F.max_pool2d(x, 2)


def _global_average(F, x):
    return F.adaptive_avg_pool2d(x, 1)


def _global_maximum(F, x):
    return F.adaptive_max_pool2d(x, 1)


def _adaptive_average(F, x):
    return F.adaptive_avg_pool2d(x, BLOCKS)


def _max_unpool2d(F, x, places):
    return F.max_unpool2d(x, places, 2)


def _local_response_norm(F, x):
    return F.local_response_norm(x, 5, 1e-4, 0.75, 2.0)


def _normalize(F, x):
    return F.normalize(x)


def _norm(F, x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, True)


def _loss(F, x, target):
    return F.cross_entropy(x, target)


def _cat(F, *images):
    return F.cat(images, 1)


def _split(F, x):
    """The halves of the channels, each used once."""
    first, second = F.split(x, x.shape[1] // 2, 1)
    return F.cat([second, first], 1)


def _halves_exchanged(x):
    return np.roll(x, x.shape[1] // 2, 1).astype(np.float64)


def _nearest(F, x):
    return F.interpolate(x, scale_factor=2)


def _bilinear(F, x):
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def _doubled_pixels(x):
    return x.astype(np.float64).repeat(2, 2).repeat(2, 3)


def _quarters(size):
    """(2·size, size): how twice as many pixels mix their neighbors, 3 : 1, along one axis."""
    at = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(size)), 0)


def _bilinear_forward(y, x):
    rows, columns = _quarters(x.shape[2]), _quarters(x.shape[3])
    mixed = rows @ x.astype(np.float64) @ columns.T
    return worst(y, mixed, rows**2 @ x.astype(np.float64) ** 2 @ (columns**2).T, 4)


def _bilinear_backward(dx, x):
    rows, columns = _quarters(x.shape[2]), _quarters(x.shape[3])
    dy = upstream((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])).astype(np.float64)
    return worst(dx, rows.T @ dy @ columns, (rows**2).T @ dy**2 @ columns**2, 16)


def _nearest_backward(dx, x):
    n, c, h, w = x.shape
    dy = upstream((n, c, 2 * h, 2 * w)).astype(np.float64).reshape(n, c, h, 2, w, 2)
    return worst(dx, dy.sum((3, 5)), (dy**2).sum((3, 5)), 4)


def _relu_backward(dx, x):
    return worst(dx, np.where(x > 0, upstream(x.shape), 0).astype(np.float64), 0.0, 1)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softmax(x):
    return np.exp(x.astype(np.float64) - _log_sum(x))


def _softmax_backward(dx, x):
    y, dy = _softmax(x), upstream(x.shape).astype(np.float64)
    inner = (dy * y).sum(1, keepdims=True)
    return worst(dx, y * (dy - inner), (y * (np.abs(dy) + 1)) ** 2, 64)


def _sigmoid_backward(dx, x):
    y, dy = _sigmoid(x.astype(np.float64)), upstream(x.shape)
    return worst(dx, dy * (1 - y) * y, dy.astype(np.float64) ** 2, 4)


def _leaky_backward(dx, x):
    return worst(dx, np.where(x > 0, 1, np.float32(0.1)) * upstream(x.shape).astype(np.float64), 0.0, 1)


def _smooth_l1(loss, x, t):
    d = np.abs(x.astype(np.float64) - t)
    terms = np.where(d < 1, d * d / 2, d - 0.5)
    return worst(loss, terms.mean(), np.sum((terms / x.size) ** 2), x.size)


def _binary(loss, x, t):
    terms = np.logaddexp(0, x.astype(np.float64)) - x.astype(np.float64) * t
    return worst(loss, terms.mean(), np.sum((terms / x.size) ** 2), x.size)


def _smooth_l1_backward(dx, x, t):
    expected = np.clip(x.astype(np.float64) - t, -1, 1) * upstream(()) / x.size
    return worst(dx, expected, expected**2 + (2.0**-24 / x.size) ** 2, 4)


def _binary_backward(dx, x, t):
    expected = (_sigmoid(x.astype(np.float64)) - t) * upstream(()) / x.size
    return worst(dx, expected, expected**2 + ((1 + np.abs(t)) * upstream(()) / x.size) ** 2, 4)


def _squares(loss, x, t):
    terms = (x.astype(np.float64) - t) ** 2
    return worst(loss, terms.mean(), np.sum((terms / x.size) ** 2), x.size)


def _squares_backward(dx, x, t):
    expected = 2 * (x.astype(np.float64) - t) * upstream(()) / x.size
    return worst(dx, expected, expected**2 + ((np.abs(x) + np.abs(t)) * upstream(()) / x.size) ** 2, 4)


def _dropped(y, whole):
    """Half of the elements of `whole` twofold, the others 0."""
    kept = y != 0
    if abs(kept.mean() - 0.5) > 4 / np.sqrt(y.size):
        return np.inf
    return worst(y, np.where(kept, 2 * whole.astype(np.float64), 0), 0.0, 1)


def _dropout(F, x):
    return F.dropout(x, 0.5, True)


def _mse(F, x, t):
    return F.mse_loss(x, t)


def _smooth(F, x, t):
    return F.smooth_l1_loss(x, t)


def _logits(F, x, t):
    return F.binary_cross_entropy_with_logits(x, t)


def _leaky(F, x):
    return F.leaky_relu(x, 0.1)


ROWS: dict[str, MemoryRow] = {
    "copy": MemoryRow("copy", _passes(2), copy),
    "relu forward": _row("relu", _passes(2), _relu, _elementwise(lambda x: np.maximum(x, 0))),
    "relu backward": _row("relu_backward", _passes(3), _relu, _relu_backward, gradient=True),
    "tanh forward": _row("tanh", _passes(2), lambda F, x: F.tanh(x), _elementwise(np.tanh)),
    "tanh backward": _row("tanh_backward", _passes(3), lambda F, x: F.tanh(x), _tanh_backward, gradient=True),
    "add": _row("add", _passes(3), lambda F, a, b: F.add(a, b), _elementwise(np.add), two_images),
    "bias": _row("broadcast_add", _passes(2), lambda F, x, b: F.add(x, b), _elementwise(np.add), image_and_bias),
    "bias gradient": MemoryRow("bias_backward", _passes(1), bias_gradient),
    "max pool forward": _row("max_pool2d_forward", _pool_bytes, _max_pool2d, _max_pool),
    "max pool backward": _row("max_pool2d_backward", _pool_bytes, _max_pool2d, _max_pool_backward, gradient=True),
    "average pool forward": _row("avg_pool2d_forward", _pool_bytes, _avg_pool2d, _avg_pool),
    "average pool backward": _row("avg_pool2d_backward", _pool_bytes, _avg_pool2d, _avg_pool_backward, gradient=True),
    "max pool 2x2 forward": _row("max_pool2d_forward", _vgg_bytes, _max_pool2d_2, _max_tiles, vgg_image),
    "max pool 2x2 backward": _row(
        "max_pool2d_backward", _vgg_bytes, _max_pool2d_2, _max_tiles_backward, vgg_image, gradient=True
    ),
    "global average pool forward": _row("adaptive_avg_pool2d_forward", _passes(1), _global_average, _global),
    "global average pool backward": _row(
        "adaptive_avg_pool2d_backward", _passes(1), _global_average, _global_backward, gradient=True
    ),
    "global max pool forward": _row("adaptive_max_pool2d_forward", _passes(1), _global_maximum, _global_max),
    "global max pool backward": _row(
        "adaptive_max_pool2d_backward", _passes(1), _global_maximum, _global_max_backward, gradient=True
    ),
    "adaptive average pool forward": _row("adaptive_avg_pool2d_forward", _passes(1), _adaptive_average, _adaptive),
    "adaptive average pool backward": _row(
        "adaptive_avg_pool2d_backward", _passes(1), _adaptive_average, _adaptive_backward, gradient=True
    ),
    "max unpool forward": _row("max_unpool2d_forward", _unpool_bytes, _max_unpool2d, _unpool, pooled_image),
    "max unpool backward": _row(
        "max_unpool2d_backward", _unpool_bytes, _max_unpool2d, _unpool_backward, pooled_image, gradient=True
    ),
    "local response norm forward": _row("local_response_norm_forward", _passes(2), _local_response_norm, _response),
    "local response norm backward": _row(
        "local_response_norm_backward", _passes(3), _local_response_norm, _response_backward, gradient=True
    ),
    "l2 normalize forward": _row("l2_normalize_forward", _passes(2), _normalize, _unit),
    "l2 normalize backward": _row("l2_normalize_backward", _passes(3), _normalize, _unit_backward, gradient=True),
    "batch norm forward": _row("batch_norm_forward", _passes(3), _norm, _batch_norm, image_and_affine),
    "batch norm backward": _row("batch_norm_backward", _passes(5), _norm, _batch_norm_backward, image_and_affine, gradient=True),
    "concat forward": _row(
        "copy_rows", _passes(4), _cat, lambda y, a, b: worst(y, np.concatenate([a, b], 1).astype(np.float64), 0.0, 1), two_images
    ),
    "concat backward": MemoryRow("copy_rows", _passes(2), concat_gradient),
    "split forward": _row("copy_rows", _passes(2), _split, lambda y, x: worst(y, _halves_exchanged(x), 0.0, 1)),
    "split backward": _row(
        "copy_rows", _passes(2), _split, lambda dx, x: worst(dx, _halves_exchanged(upstream(x.shape)), 0.0, 1), gradient=True
    ),
    "upsample nearest forward": _row(
        "resample_forward", _passes(5), _nearest, lambda y, x: worst(y, _doubled_pixels(x), 0.0, 1)
    ),
    "upsample nearest backward": _row("resample_backward", _passes(5), _nearest, _nearest_backward, gradient=True),
    "upsample bilinear forward": _row("resample_forward", _passes(5), _bilinear, _bilinear_forward),
    "upsample bilinear backward": _row("resample_backward", _passes(5), _bilinear, _bilinear_backward, gradient=True),
    "softmax + cross entropy forward": _row(
        "cross_entropy_forward", _logit_bytes(1), _loss, _cross_entropy, logits, image=False
    ),
    "softmax + cross entropy backward": _row(
        "cross_entropy_backward", _logit_bytes(2), _loss, _cross_entropy_backward, logits, gradient=True, image=False
    ),
    "sgd with momentum": MemoryRow("sgd", _optimizer_bytes(5), sgd),
    "adam": MemoryRow("adam", _optimizer_bytes(7), adam),
    "leaky relu forward": _row("leaky_relu", _passes(2), _leaky, _elementwise(lambda x: np.where(x > 0, x, x * np.float32(0.1)))),
    "leaky relu backward": _row("leaky_relu_backward", _passes(3), _leaky, _leaky_backward, gradient=True),
    "sigmoid forward": _row("sigmoid", _passes(2), lambda F, x: F.sigmoid(x), _elementwise(_sigmoid)),
    "sigmoid backward": _row("sigmoid_backward", _passes(3), lambda F, x: F.sigmoid(x), _sigmoid_backward, gradient=True),
    "softmax forward": _row(
        "softmax_forward", _logit_bytes(2), lambda F, x, _: F.softmax(x, 1),
        lambda y, x, _: worst(y, _softmax(x), _softmax(x) ** 2, 64), logits, image=False
    ),
    "softmax backward": _row(
        "softmax_backward", _logit_bytes(3), lambda F, x, _: F.softmax(x, 1), lambda dx, x, _: _softmax_backward(dx, x), logits,
        gradient=True, image=False
    ),
    "cross entropy per pixel forward": _row("cross_entropy_forward", _pixel_bytes(1), _loss, _cross_entropy, pixel_logits),
    "cross entropy per pixel backward": _row(
        "cross_entropy_backward", _pixel_bytes(2), _loss, _cross_entropy_backward, pixel_logits, gradient=True
    ),
    "dropout forward": _row("dropout", _passes(2), _dropout, _dropped),
    "dropout backward": _row(
        "dropout", _passes(2), _dropout, lambda dx, x: _dropped(dx, upstream(x.shape)), gradient=True
    ),
    "mse forward": _row("mse_loss_forward", _passes(2), _mse, _squares, two_images),
    "mse backward": _row("mse_loss_backward", _passes(3), _mse, _squares_backward, two_images, gradient=True),
    "smooth l1 forward": _row("smooth_l1_loss_forward", _passes(2), _smooth, _smooth_l1, two_images),
    "smooth l1 backward": _row("smooth_l1_loss_backward", _passes(3), _smooth, _smooth_l1_backward, two_images, gradient=True),
    "binary cross entropy forward": _row("bce_with_logits_forward", _passes(2), _logits, _binary, two_images),
    "binary cross entropy backward": _row(
        "bce_with_logits_backward", _passes(3), _logits, _binary_backward, two_images, gradient=True
    ),
}  # fmt: skip
