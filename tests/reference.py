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


def conv2d_backward_data(dy, weight, sh):
    filters = weight.astype(np.float64).reshape(sh.groups, sh.K // sh.groups, sh.R, sh.S, sh.C // sh.groups)
    grouped = dy.astype(np.float64).reshape(sh.N, sh.P, sh.Q, sh.groups, sh.K // sh.groups)
    column = np.einsum("npqgk,gkrsc->npqrsgc", grouped, filters).reshape(sh.N, sh.P, sh.Q, sh.R, sh.S, sh.C)
    h, w, inside = taps(sh)
    dx = np.zeros((sh.N, sh.H, sh.W, sh.C))
    np.add.at(dx, (slice(None), h, w), np.where(inside, column, 0))
    return dx


def conv2d_backward_weight(dy, x, sh):
    grouped = dy.astype(np.float64).reshape(sh.N, sh.P, sh.Q, sh.groups, sh.K // sh.groups)
    dweight = np.einsum("npqgk,npqrsgc->gkrsc", grouped, columns(x, sh))
    return dweight.reshape(sh.K, sh.R, sh.S, sh.C // sh.groups)


def gemm(a, b, bias, trans_a, trans_b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    c = (a.T if trans_a else a) @ (b.T if trans_b else b)
    return c if bias is None else c + bias.astype(np.float64)
