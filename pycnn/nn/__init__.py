"""Layers and models: :class:`Module` holds parameters and calls ops."""

from ..tensor import Buffer, Parameter
from . import init, utils
from .layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BCEWithLogitsLoss,
    ChannelShuffle,
    Conv2d,
    ConvTranspose2d,
    CrossEntropyLoss,
    Dropout,
    DropPath,
    Flatten,
    Identity,
    L1Loss,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    MaxPool2d,
    MaxUnpool2d,
    MSELoss,
    NLLLoss,
    ReLU,
    ReLU6,
    Sigmoid,
    SmoothL1Loss,
    Softmax,
    Tanh,
    Upsample,
    ZeroPad2d,
)
from .module import Module, Sequential

__all__ = [
    "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Buffer",
    "ChannelShuffle", "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "DropPath", "Dropout", "Flatten", "Identity", "L1Loss",
    "LeakyReLU", "Linear", "LocalResponseNorm", "LogSoftmax", "MSELoss", "MaxPool2d", "MaxUnpool2d", "Module", "NLLLoss",
    "Parameter", "ReLU", "ReLU6", "Sequential", "Sigmoid", "SmoothL1Loss", "Softmax", "Tanh", "Upsample", "ZeroPad2d", "init",
    "utils",
]  # fmt: skip
