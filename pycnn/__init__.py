"""pycnn: a convolutional-network engine that can be read from ``import pycnn`` down to the last CUDA thread."""

from . import errors, ops
from .backend import get_default_device, get_num_threads, kernels, list_kernels, set_default_device, set_num_threads
from .random import manual_seed
from .tensor import Buffer, Function, Parameter, Tensor, enable_grad, from_dlpack, is_grad_enabled, no_grad

__version__ = "0.1.0"


def __getattr__(name: str):
    """Rooms are imported when first used, so that ``import pycnn`` stays quick."""
    import importlib

    if name in ("nn", "optim", "models", "data", "train", "bench", "arithmetic"):
        return importlib.import_module(f".{name}", __name__)
    if name == "gradcheck":
        return importlib.import_module(".gradient_check", __name__).gradcheck
    if name == "summary":
        return importlib.import_module(".arithmetic", __name__).summary
    raise AttributeError(f"module 'pycnn' has no attribute {name!r}")


__all__ = [
    "Buffer", "Function", "Parameter", "Tensor", "enable_grad", "errors", "from_dlpack", "get_default_device", "get_num_threads",
    "gradcheck", "is_grad_enabled", "kernels", "list_kernels", "manual_seed", "no_grad", "ops", "set_default_device",
    "set_num_threads", "summary",
]  # fmt: skip
