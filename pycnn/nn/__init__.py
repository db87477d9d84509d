"""Layers and models: :class:`Module` holds parameters and calls ops."""

from . import init, utils
from ..tensor import Buffer, Parameter
from .layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    MaxUnpool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from .module import Module, Sequential

__all__ = [
    "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Buffer", "Conv2d", "ConvTranspose2d",
    "CrossEntropyLoss", "Dropout", "Flatten", "Linear", "LocalResponseNorm", "MaxPool2d", "MaxUnpool2d", "Module", "Parameter",
    "ReLU", "Sequential", "Sigmoid", "Tanh", "init", "utils",
]  # fmt: skip
