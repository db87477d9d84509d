"""The exceptions pycnn raises, the same on both backends and always before anything is launched."""

from typing import Any


class ShapeError(ValueError):
    """An array has the wrong shape, or the shapes of an op do not fit together. `layer` is the layer it is about, if the op was
    given layers."""

    layer: Any = None


class DTypeError(TypeError):
    """An array is stored in a type the op does not take."""


class DeviceError(RuntimeError):
    """An array is on another device than the op, or the device cannot be used."""


class NotSupported(RuntimeError):
    """No version of an op (or not the one asked for) can do this problem; the message gives the reason."""


class LaunchError(RuntimeError):
    """A kernel could not be launched, or failed while it ran."""


class GraphError(RuntimeError):
    """A graph was used twice, or a gradient was asked for where there is none."""
