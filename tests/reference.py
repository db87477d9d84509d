"""The definition of every op, in float64 NumPy, 3-8 lines each. Arrays are in memory order: images N,H,W,C, filters K,R,S,C."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# ---- conv2d and gemm ----


class ConvShape(NamedTuple):
    """The problem of the three passes, kernels/common/conv_shape.h."""

    N: int
    H: int
    W: int
    C: int
    K: int
    R: int
    S: int
    P: int
    Q: int
    stride_h: int = 1
    stride_w: int = 1
    pad_h: int = 0
    pad_w: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    accumulate: int = 0


def taps(sh):
    """Row and column of x that each output pixel (p, q) sees through each tap (r, s), and whether it lies in the image."""
    h = (np.arange(sh.P)[:, None] * sh.stride_h - sh.pad_h + np.arange(sh.R) * sh.dilation_h)[:, None, :, None]
    w = (np.arange(sh.Q)[:, None] * sh.stride_w - sh.pad_w + np.arange(sh.S) * sh.dilation_w)[None, :, None, :]
    inside = (h >= 0) & (h < sh.H) & (w >= 0) & (w < sh.W)
    return np.clip(h, 0, sh.H - 1), np.clip(w, 0, sh.W - 1), inside[..., None]  # broadcast to P, Q, R, S


def columns(x, sh):
    """im2col: N, P, Q, R, S, groups, C/groups; zero in the padding."""
    h, w, inside = taps(sh)
    seen = np.where(inside, x.astype(np.float64)[:, h, w], 0)
    return seen.reshape(*seen.shape[:-1], sh.groups, sh.C // sh.groups)


def conv2d_forward(x, weight, bias, sh):
    filters = weight.astype(np.float64).reshape(sh.groups, sh.K // sh.groups, sh.R, sh.S, sh.C // sh.groups)
    y = np.einsum("npqrsgc,gkrsc->npqgk", columns(x, sh), filters).reshape(sh.N, sh.P, sh.Q, sh.K)
    return y if bias is None else y + bias.astype(np.float64)


def conv2d_backward_data(dy, weight, bias, sh):
    filters = weight.astype(np.float64).reshape(sh.groups, sh.K // sh.groups, sh.R, sh.S, sh.C // sh.groups)
    grouped = dy.astype(np.float64).reshape(sh.N, sh.P, sh.Q, sh.groups, sh.K // sh.groups)
    column = np.einsum("npqgk,gkrsc->npqrsgc", grouped, filters).reshape(sh.N, sh.P, sh.Q, sh.R, sh.S, sh.C)
    h, w, inside = taps(sh)
    dx = np.zeros((sh.N, sh.H, sh.W, sh.C))
    np.add.at(dx, (slice(None), h, w), np.where(inside, column, 0))
    return dx if bias is None else dx + bias.astype(np.float64)


def conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation):
    """The definition, in logical order: x (N, C, H, W), weight (C, K / groups, R, S), numbers per axis as pairs."""
    (N, C, H, W), (_, width, R, S) = x.shape, weight.shape
    whole = np.zeros((N, width * groups, *((np.array((H, W)) - 1) * stride + np.array(dilation) * (R - 1, S - 1) + 1)))
    for c, k, r, s in np.ndindex(C, width, R, S):  # each pixel of x adds its multiple of the filter
        channel, h, w = c // (C // groups) * width + k, r * dilation[0], s * dilation[1]
        whole[:, channel, h :: stride[0], w :: stride[1]][:, :H, :W] += x[:, c].astype(np.float64) * float(weight[c, k, r, s])
    whole = np.pad(whole, ((0, 0), (0, 0), (0, output_padding[0]), (0, output_padding[1])))
    y = whole[:, :, padding[0] : whole.shape[2] - padding[0], padding[1] : whole.shape[3] - padding[1]]
    return y if bias is None else y + bias.astype(np.float64)[:, None, None]


def conv2d_backward_weight(dy, x, sh):
    grouped = dy.astype(np.float64).reshape(sh.N, sh.P, sh.Q, sh.groups, sh.K // sh.groups)
    dweight = np.einsum("npqgk,npqrsgc->gkrsc", grouped, columns(x, sh))
    return dweight.reshape(sh.K, sh.R, sh.S, sh.C // sh.groups)


def gemm(a, b, bias, trans_a, trans_b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    c = (a.T if trans_a else a) @ (b.T if trans_b else b)
    return c if bias is None else c + bias.astype(np.float64)


# ---- pool2d ----


class PoolShape(NamedTuple):
    """The problem of pooling, kernels/pool2d/pool2d.h; average pooling sends the last two fields too."""

    N: int
    H: int
    W: int
    C: int
    R: int
    S: int
    P: int
    Q: int
    stride_h: int = 1
    stride_w: int = 1
    pad_h: int = 0
    pad_w: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    accumulate: int = 0
    count_include_pad: int = 1
    divisor: int = 0


def pooled_size(size, kernel, stride, pad, dilation, ceil_mode):
    """How many windows start inside the input or its left padding and, but for ceil_mode, end inside the right padding."""
    starts = np.arange(-pad, size if ceil_mode else size + pad - dilation * (kernel - 1), stride)
    ends_before = starts + dilation * (kernel - 1) - stride < size + pad - 1  # the window before it left something over
    return int((ends_before | (starts == -pad)).sum())


def max_pool2d(x, sh):
    """y and the tap r*S+s it came from: the last NaN, else the first maximum inside the image."""
    h, w, inside = taps(sh)
    windows = np.where(inside, x[:, h, w].astype(np.float64), -np.inf).reshape(sh.N, sh.P, sh.Q, sh.R * sh.S, sh.C)
    inside = np.broadcast_to(inside, (sh.P, sh.Q, sh.R, sh.S, 1)).reshape(sh.P, sh.Q, sh.R * sh.S, 1)
    nan, y = np.isnan(windows), windows.max(3)
    first = ((windows == y[..., None, :]) & inside).argmax(3)
    return y, np.where(nan.any(3), sh.R * sh.S - 1 - nan[..., ::-1, :].argmax(3), first)


def max_pool2d_backward(dy, argmax, sh):
    h, w, inside = taps(sh)
    chosen = (argmax[..., None, :] == np.arange(sh.R * sh.S)[:, None]).reshape(sh.N, sh.P, sh.Q, sh.R, sh.S, sh.C) & inside
    dx = np.zeros((sh.N, sh.H, sh.W, sh.C))
    np.add.at(dx, (slice(None), h, w), np.where(chosen, dy.astype(np.float64)[:, :, :, None, None], 0))
    return dx


def avg_pool2d_divisor(sh):
    h = np.arange(sh.P)[:, None] * sh.stride_h - sh.pad_h + np.arange(sh.R)
    w = np.arange(sh.Q)[:, None] * sh.stride_w - sh.pad_w + np.arange(sh.S)
    margin_h, margin_w = (sh.pad_h, sh.pad_w) if sh.count_include_pad else (0, 0)
    rows = ((h >= -margin_h) & (h < sh.H + margin_h)).sum(1)
    columns = ((w >= -margin_w) & (w < sh.W + margin_w)).sum(1)
    return np.full((sh.P, sh.Q, 1), sh.divisor) if sh.divisor else (rows[:, None] * columns)[..., None]


def avg_pool2d(x, sh):
    h, w, inside = taps(sh)
    return np.where(inside, x[:, h, w].astype(np.float64), 0).sum((3, 4)) / avg_pool2d_divisor(sh)


def avg_pool2d_backward(dy, sh):
    h, w, inside = taps(sh)
    share = (dy.astype(np.float64) / avg_pool2d_divisor(sh))[:, :, :, None, None]
    dx = np.zeros((sh.N, sh.H, sh.W, sh.C))
    np.add.at(dx, (slice(None), h, w), np.where(inside, share, 0))
    return dx


def shares(parts, whole):
    """For each part i the positions floor(i·whole/parts) <= j < ceil((i+1)·whole/parts), as a matrix of 0 and 1."""
    i, j = np.arange(parts)[:, None], np.arange(whole)
    return ((j >= i * whole // parts) & (j < -(-(i + 1) * whole // parts))).astype(np.float64)


def adaptive_avg_pool2d(x, size):
    rows, columns = shares(size[0], x.shape[1]), shares(size[1], x.shape[2])
    sums = np.einsum("ph,qw,nhwc->npqc", rows, columns, x.astype(np.float64))
    return sums / np.outer(rows.sum(1), columns.sum(1))[..., None]


def adaptive_avg_pool2d_backward(dy, size):
    rows, columns = shares(dy.shape[1], size[0]), shares(dy.shape[2], size[1])
    share = dy.astype(np.float64) / np.outer(rows.sum(1), columns.sum(1))[..., None]
    return np.einsum("ph,qw,npqc->nhwc", rows, columns, share)


def adaptive_max_pool2d(x, size):
    """y and h*W+w of the last NaN, else of the first maximum."""
    N, H, W, C = x.shape
    inside = np.einsum("ph,qw->pqhw", shares(size[0], H), shares(size[1], W)).reshape(*size, H * W, 1) > 0
    pixels = np.broadcast_to(x.astype(np.float64).reshape(N, 1, 1, H * W, C), (N, *size, H * W, C))
    y, nan = np.where(inside, pixels, -np.inf).max(3), np.isnan(pixels) & inside
    first = ((pixels == y[..., None, :]) & inside).argmax(3)
    return y, np.where(nan.any(3), H * W - 1 - nan[..., ::-1, :].argmax(3), first)


def at_places(values, places, size):
    """The sum of the values at each place h*W+w of an image."""
    N, P, Q, C = values.shape
    image = np.zeros((N, size[0] * size[1], C))
    at = np.arange(N)[:, None, None], places.reshape(N, P * Q, C), np.arange(C)
    np.add.at(image, at, values.astype(np.float64).reshape(N, P * Q, C))
    return image.reshape(N, *size, C)


def max_unpool2d(x, places, size):
    N, P, Q, C = x.shape
    y = np.zeros((N, size[0] * size[1], C))
    for n, p, q, c in np.ndindex(x.shape):  # of several the last stays
        y[n, places[n, p, q, c], c] = x[n, p, q, c]
    return y.reshape(N, *size, C)


# ---- normalization: x is rows, channels ----


def response_window(channels, size):
    """For each channel c the channels c - size//2 ... c + (size-1)//2, as a matrix of 0 and 1."""
    offset = np.arange(channels) - np.arange(channels)[:, None]
    return ((offset >= -(size // 2)) & (offset <= (size - 1) // 2)).astype(np.float64)


def local_response_norm(x, size, alpha, beta, k):
    x = x.astype(np.float64)
    return x * (k + alpha * x**2 @ response_window(x.shape[1], size).T) ** -beta


def local_response_norm_backward(dy, x, size, alpha, beta, k):
    dy, x, window = dy.astype(np.float64), x.astype(np.float64), response_window(x.shape[1], size)
    s = k + alpha * x**2 @ window.T
    return dy * s**-beta - 2 * alpha * beta * x * ((dy * x * s ** (-beta - 1)) @ window)


def l2_normalize(x, eps):
    x = x.astype(np.float64)
    return x / np.maximum(np.sqrt((x**2).sum(1, keepdims=True)), eps)


def l2_normalize_backward(dy, x, eps):
    dy, x = dy.astype(np.float64), x.astype(np.float64)
    norm = np.sqrt((x**2).sum(1, keepdims=True))
    u = x / np.maximum(norm, eps)
    return (dy - np.where(norm < eps, 0, u * (dy * u).sum(1, keepdims=True))) / np.maximum(norm, eps)


def batch_norm(x, mean, variance, weight, bias, eps, residual=0.0, relu=False):
    y = (x.astype(np.float64) - mean) / np.sqrt(variance + eps) * weight + bias + residual
    return np.maximum(y, 0) if relu else y


def batch_norm_backward(dy, x, mean, variance, weight, eps, of_batch=True):
    """dx, dweight, dbias."""
    dy, deviation = dy.astype(np.float64), np.sqrt(variance + eps)
    xhat = (x.astype(np.float64) - mean) / deviation
    dweight, dbias = (dy * xhat).sum(0), dy.sum(0)
    through_statistics = (dbias + xhat * dweight) / len(x) if of_batch else 0
    return weight / deviation * (dy - through_statistics), dweight, dbias


# ---- random ----


def philox(counter, key):
    """Philox-4x32-10: four words of a 128-bit counter (4, ...) and a 64-bit key (2)."""
    a, b, c, d = (np.asarray(word, np.uint64) for word in counter)
    low = np.uint64(0xFFFFFFFF)
    for i in range(10):
        left, right = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        key0, key1 = ((int(key[0]) + i * 0x9E3779B9) % 2**32, (int(key[1]) + i * 0xBB67AE85) % 2**32)
        a, b, c, d = right >> 32 ^ b ^ np.uint64(key0), right & low, left >> 32 ^ d ^ np.uint64(key1), left & low
    return np.stack([a, b, c, d]).astype(np.uint32)


def dropout_keep(shape, p, seed, counter, op_index):
    """Which elements dropout keeps; shape is logical: (N, C, L)."""
    N, C, L = shape
    blocks = -(-L // 4)
    block = np.arange(N * C * blocks, dtype=np.uint64)
    words = philox((block, op_index, counter & 0xFFFFFFFF, counter >> 32), (seed & 0xFFFFFFFF, seed >> 32))
    return words.T.reshape(N, C, blocks * 4)[:, :, :L] >= int(p * 2**32 + 0.5)


# ---- elementwise ----

MAPS = {
    "copy": lambda x: x,
    "neg": lambda x: -x,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "relu": lambda x: np.where(x < 0, 0, x),
    "relu6": lambda x: np.where(x < 0, 0, np.where(x > 6, 6, x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "equal": lambda a, b: np.where(a == b, 1.0, 0.0),
    "relu_backward": lambda dy, y: np.where(y <= 0, 0, dy),
    "relu6_backward": lambda dy, y: np.where((y <= 0) | (y >= 6), 0, dy),
    "sigmoid_backward": lambda dy, y: dy * (1 - y) * y,
    "tanh_backward": lambda dy, y: dy * (1 - y * y),
    "sqrt_backward": lambda dy, y: dy / (2 * y),
    "abs": np.abs,
    "square": np.square,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "leaky_relu": lambda x, slope, _: np.where(x > 0, x, x * slope),
    "clamp": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "pow": lambda x, exponent, _: np.power(x, exponent),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "share": lambda dy, part: np.where(part == 0, 0, dy * part),
    "not_less": lambda a, b: np.where(a < b, 0, np.where(a == b, 0.5, 1)),
    "rsqrt_backward": lambda dy, y: -0.5 * dy * (y * y * y),
    "reciprocal_backward": lambda dy, y: -dy * (y * y),
    "abs_backward": lambda dy, x: np.where(x > 0, dy, np.where(x < 0, -dy, 0)),
    "square_backward": lambda dy, x: 2 * x * dy,
    "leaky_relu_backward": lambda dy, x, slope, _: np.where(x > 0, dy, dy * slope),
    "clamp_backward": lambda dy, x, low, high: np.where((x >= low) & (x <= high), dy, 0),
    "pow_backward": lambda dy, x, exponent, _: dy * (exponent * np.power(x, exponent - 1)),
}

# ---- reduce: x is outer, reduced, inner ----


def sum(x, divisor=1.0):
    return x.astype(np.float64).sum(1) / divisor


def sum_backward(dy, reduced, divisor=1.0):
    return np.repeat(dy.astype(np.float64)[:, None], reduced, axis=1) / divisor


def max(x):
    index = np.argmax(x, axis=1)  # the first NaN, else the first maximum
    return np.take_along_axis(x, index[:, None], 1)[:, 0], index


def max_backward(dy, index, reduced):
    return np.where(np.arange(reduced)[:, None] == index[:, None], dy.astype(np.float64)[:, None], 0)


# ---- softmax and losses: rows, classes ----


def log_softmax(x):
    x = x.astype(np.float64)
    centered = x - x.max(1, keepdims=True)
    return centered - np.log(np.exp(centered).sum(1, keepdims=True))


def softmax_forward(x, log):
    return log_softmax(x) if log else np.exp(log_softmax(x))


def softmax_backward(dy, y, log):
    dy, y = dy.astype(np.float64), y.astype(np.float64)
    if log:
        return dy - np.exp(y) * dy.sum(1, keepdims=True)
    return y * (dy - (dy * y).sum(1, keepdims=True))


def cross_entropy_parts(x, target, weight, ignore_index, smoothing):
    """(-log P, the label distribution times the class weights, the rows' weights in a mean)."""
    classes, valid = x.shape[1], target != ignore_index
    weight = np.ones(classes) if weight is None else weight.astype(np.float64)
    one_hot = np.eye(classes)[np.where(valid, target, 0)]
    labels = valid[:, None] * weight * ((1 - smoothing) * one_hot + smoothing / classes)
    return -log_softmax(x), labels, valid * weight[np.where(valid, target, 0)]


def cross_entropy_forward(x, target, weight=None, ignore_index=-100, smoothing=0.0):
    costs, labels, row_weight = cross_entropy_parts(x, target, weight, ignore_index, smoothing)
    return np.stack([(labels * costs).sum(1), row_weight])


def cross_entropy_backward(dloss, x, target, weight=None, ignore_index=-100, smoothing=0.0):
    costs, labels, _ = cross_entropy_parts(x, target, weight, ignore_index, smoothing)
    return dloss[:, None] * (np.exp(-costs) * labels.sum(1, keepdims=True) - labels)


def soft_cross_entropy(x, t, weight=None, smoothing=0.0):
    weight = np.ones(x.shape[1]) if weight is None else weight.astype(np.float64)
    return (weight * ((1 - smoothing) * t.astype(np.float64) + smoothing / x.shape[1]) * -log_softmax(x)).sum(1)


def soft_cross_entropy_backward(dloss, x, t, weight=None, smoothing=0.0):
    """By the logits and by the probabilities."""
    weight = np.ones(x.shape[1]) if weight is None else weight.astype(np.float64)
    labels, costs = weight * ((1 - smoothing) * t.astype(np.float64) + smoothing / x.shape[1]), -log_softmax(x)
    by_logits = np.exp(-costs) * labels.sum(1, keepdims=True) - labels
    return dloss[:, None] * by_logits, dloss[:, None] * (1 - smoothing) * weight * costs


def pointwise_loss(kind, x, t, pos_weight=1.0, beta=0.0):
    """The terms, and their derivatives by x and by t."""
    d, size = x - t, np.abs(x - t)
    if kind == "mse_loss":
        return d * d, 2 * d, -2 * d
    if kind == "l1_loss":
        return size, np.sign(d), -np.sign(d)
    if kind == "smooth_l1_loss":
        near = size < beta
        slope = np.where(near, d / beta, np.sign(d))
        return np.where(near, d * d / (2 * beta), size - beta / 2), slope, -slope
    positive, negative = np.logaddexp(0, -x), np.logaddexp(0, x)  # -log sigmoid(x), -log(1 - sigmoid(x))
    slope = (1 - t) * np.exp(-positive) - pos_weight * t * np.exp(-negative)
    return pos_weight * t * positive + (1 - t) * negative, slope, pos_weight * positive - negative


# ---- optim ----


def sgd(param, grad, buffer, first, lr, momentum, dampening, weight_decay, nesterov):
    """The new parameters and the new buffer."""
    g = grad + weight_decay * param
    if momentum:
        buffer = g if first else momentum * buffer + (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    return param - lr * g, buffer


def adam(param, grad, mean, square, t, lr, beta1, beta2, eps, weight_decay, decoupled):
    """The new parameters, mean and square; t counts from 1."""
    param, grad = (param * (1 - lr * weight_decay), grad) if decoupled else (param, grad + weight_decay * param)
    mean, square = beta1 * mean + (1 - beta1) * grad, beta2 * square + (1 - beta2) * grad**2
    corrected_mean, corrected_square = mean / (1 - beta1**t), square / (1 - beta2**t)
    return param - lr * corrected_mean / (np.sqrt(corrected_square) + eps), mean, square


# ---- resample ----


def resample_weights(size, out, scale, nearest, align_corners):
    """The part of each input position (columns) in each output position (rows) along one axis."""
    i = np.arange(out)
    if size == out:
        return np.eye(out)
    if nearest and out == 2 * size:
        position = i // 2
    elif nearest:  # in float32, as PyTorch
        position = np.minimum(np.floor(i.astype(np.float32) * np.float32(scale)), size - 1)
    else:
        position = np.clip(scale * i if align_corners else scale * (i + 0.5) - 0.5, 0, size - 1)
    return np.maximum(1 - np.abs(position[:, None].astype(np.float64) - np.arange(size)), 0)  # a hat over each input position


def resample_forward(x, rows, columns):
    return np.einsum("ph,nhwc,qw->npqc", rows, x.astype(np.float64), columns)


def resample_backward(dy, rows, columns):
    return np.einsum("ph,npqc,qw->nhwc", rows, dy.astype(np.float64), columns)
