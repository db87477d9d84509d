"""DLPack, the protocol by which array libraries share memory (dmlc.github.io/dlpack/latest/python_spec.html), with bfloat16.

NumPy and CuPy do the work. What neither does is bfloat16: it travels between them as uint16, and only the type's code in the
capsule is exchanged.
"""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np

from .errors import DTypeError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
UINT_CODE, BFLOAT_CODE = 1, 4  # DLDataTypeCode
READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY

_is_valid, _get_pointer = ctypes.pythonapi.PyCapsule_IsValid, ctypes.pythonapi.PyCapsule_GetPointer
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class _Tensor(ctypes.Structure):
    """DLTensor, as far as the type's code."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
    )  # fmt: skip


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned, as far as the type's code."""

    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


def _look_into(capsule) -> tuple[_Tensor, int]:
    """The DLTensor in a capsule, and its flags."""
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _Versioned.from_address(_get_pointer(capsule, b"dltensor_versioned"))
        return managed.tensor, managed.flags
    return _Tensor.from_address(_get_pointer(capsule, b"dltensor")), 0  # DLManagedTensor begins with it


def export(array, **options):
    """A capsule of a NumPy or CuPy array."""
    options = {name: value for name, value in options.items() if value is not None}
    if array.dtype != BFLOAT16:
        return array.__dlpack__(**options)
    capsule = array.view(np.uint16).__dlpack__(**options)
    _look_into(capsule)[0].code = BFLOAT_CODE
    return capsule


class Producer:
    """Another library's array for NumPy's or CuPy's ``from_dlpack``, in the type they know.

    Attributes:
        read_only: whether the memory must not be written; known once it was taken.
        bfloat16: whether what was taken is bfloat16, as uint16.
    """

    read_only = bfloat16 = False

    def __init__(self, array):
        if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
            raise DTypeError(f"from_dlpack takes an object with __dlpack__ and __dlpack_device__, got a {type(array).__name__}")
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        capsule = self.array.__dlpack__(**options)
        tensor, flags = _look_into(capsule)
        self.read_only = bool(flags & READ_ONLY)
        self.bfloat16 = (tensor.code, tensor.bits, tensor.lanes) == (BFLOAT_CODE, 16, 1)
        if self.bfloat16:
            tensor.code = UINT_CODE
        return capsule

    def taken(self, array):
        """What NumPy or CuPy made of it, in its own type."""
        return array.view(BFLOAT16) if self.bfloat16 else array
