"""Reads Caffe's ``.caffemodel``: a binary protobuf NetParameter, of which few fields are needed.

Field numbers are those of BVLC/caffe src/caffe/proto/caffe.proto; the wire format is protobuf.dev's "Encoding": a message is a
row of fields, each a varint key (number · 8 + wire type) and a value (0: varint, 1: 8 bytes, 2: a length and so many bytes,
5: 4 bytes). Every length is checked against what is left of the message that it lies in, so a damaged file cannot make the
reader read or allocate more than the file's own size.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
LAYER, V1_LAYERS = 100, 2  # fields of NetParameter
MOST_AXES = 32  # Caffe's kMaxBlobAxes


class CaffeError(ValueError):
    """A file is no caffemodel, or a damaged one; the message says where."""


@dataclass(frozen=True)
class CaffeLayer:
    """A layer that learned something.

    Attributes:
        name: as in the prototxt.
        type: "Convolution", "InnerProduct" …; of an old file the number of V1LayerParameter's LayerType.
        blobs: weight and bias, float32, in Caffe's shapes: (out, in / groups, kH, kW) of a convolution, (out, in) of an inner
            product, (out,) of a bias. Old files have four axes throughout: (1, 1, out, in) and (1, 1, 1, out).
    """

    name: str
    type: str
    blobs: tuple[np.ndarray, ...]


def read_caffemodel(path: str | Path) -> list[CaffeLayer]:
    """The layers with parameters of a ``.caffemodel``, in the file's order.

    Args:
        path: a file with the new ``layer`` field (2014 and later) or the old ``layers`` (V1LayerParameter).

    Raises:
        CaffeError: it is no such file, is cut short, or announces sizes that do not fit.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise CaffeError(f"{path} is empty")
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if whole[:8] == b"\x89HDF\r\n\x1a\n":
        raise CaffeError(f"{path} is HDF5 (Caffe's .caffemodel.h5); only the binary protobuf format is read")
    try:
        layers = list(_layers(whole))
    except CaffeError as error:
        raise CaffeError(f"{path} is no caffemodel or a damaged one: {error}") from None
    if not layers:
        raise CaffeError(f"{path} holds no layer with parameters (is it a .caffemodel, not a prototxt or a solver's state?)")
    return layers


def _layers(net: memoryview) -> Iterator[CaffeLayer]:
    for number, wire_type, value in _fields(net, "the net"):
        if number in (LAYER, V1_LAYERS) and wire_type == BYTES:
            new = number == LAYER
            layer = _layer(value, *((1, 2, 7) if new else (4, 5, 6)))  # name, type, blobs
            if layer.blobs:
                yield layer


def _layer(message: memoryview, name_field: int, type_field: int, blobs_field: int) -> CaffeLayer:
    name, kind = "", ""
    blobs: list[np.ndarray] = []
    for number, wire_type, value in _fields(message, "a layer"):
        if number == name_field and wire_type == BYTES:
            name = _text(value)
        elif number == type_field:
            kind = _text(value) if wire_type == BYTES else str(value)
        elif number == blobs_field and wire_type == BYTES:
            blobs.append(_blob(value, f"blob {len(blobs)} of layer {name!r}"))
    return CaffeLayer(name, kind, tuple(blobs))


def _blob(message: memoryview, what: str) -> np.ndarray:
    """BlobProto: num, channels, height, width = 1 … 4 (old), data = 5, shape = 7, double_data = 8."""
    legacy: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    data: dict[int, list[memoryview]] = {5: [], 8: []}
    for number, wire_type, value in _fields(message, what):
        if number in (1, 2, 3, 4) and wire_type == VARINT:
            legacy[number] = value
        elif number == 7 and wire_type == BYTES:
            shape = _dimensions(value, what)
        elif number in data and wire_type in (BYTES, FOUR_BYTES, EIGHT_BYTES):  # packed, or each value by itself
            data[number].append(value)
    numbers = _numbers(data[8], "<f8", what) if data[8] else _numbers(data[5], "<f4", what)
    if shape is None:
        shape = tuple(legacy.get(axis, 1) for axis in (1, 2, 3, 4)) if legacy else (len(numbers),)
    if len(shape) > MOST_AXES or math.prod(shape) != len(numbers):
        text = " × ".join(map(str, shape[:MOST_AXES]))
        raise CaffeError(f"{what} has shape {text} = {math.prod(shape):,} numbers, but {len(numbers):,} of them are there")
    return numbers.reshape(shape)


def _numbers(pieces: list[memoryview], dtype: str, what: str) -> np.ndarray:
    """Little-endian numbers of all pieces as one float32 array (a copy)."""
    for piece in pieces:
        if len(piece) % np.dtype(dtype).itemsize:
            raise CaffeError(f"{what} holds {len(piece):,} bytes of data, no multiple of {np.dtype(dtype).itemsize}")
    arrays = [np.frombuffer(piece, dtype) for piece in pieces]
    return np.concatenate(arrays, dtype=np.float32, casting="same_kind") if arrays else np.empty(0, np.float32)


def _dimensions(message: memoryview, what: str) -> tuple[int, ...]:
    """BlobShape: dim = 1, repeated int64, packed or not."""
    found: list[int] = []
    for number, wire_type, value in _fields(message, f"the shape of {what}"):
        if number == 1 and wire_type == VARINT:
            found.append(value)
        elif number == 1 and wire_type == BYTES:
            at = 0
            while at < len(value):
                dimension, at = _varint(value, at, f"the shape of {what}")
                found.append(dimension)
    return tuple(found)


def _fields(message: memoryview, what: str) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field of a message; the value is an int, or the bytes."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at, what)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise CaffeError(f"{what} has a field of number 0 at byte {start:,}")
        if wire_type == VARINT:
            value, at = _varint(message, at, what)
            yield number, wire_type, value
            continue
        if wire_type == BYTES:
            size, at = _varint(message, at, what)
        elif wire_type in (FOUR_BYTES, EIGHT_BYTES):
            size = 4 if wire_type == FOUR_BYTES else 8
        else:
            raise CaffeError(f"{what} has wire type {wire_type} at byte {start:,}, which no field of Caffe's has")
        if size > len(message) - at:
            raise CaffeError(f"{what} is cut short: field {number} needs {size:,} bytes, {len(message) - at:,} are left")
        yield number, wire_type, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int, what: str) -> tuple[int, int]:
    """The number at `at`, seven bits a byte, lowest first, and where it ends."""
    value = 0
    for i in range(10):
        if at + i >= len(message):
            raise CaffeError(f"{what} is cut short in the middle of a number")
        byte = message[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise CaffeError(f"{what} has a number of more than 10 bytes at byte {at:,}")


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


# ---- names and shapes as the rest of pycnn has them -------------------------------------------------------------------

CONVOLUTION = ("Convolution", "4", "Deconvolution", "39")
INNER_PRODUCT = ("InnerProduct", "14")


def caffe_state(path: str | Path) -> dict[str, np.ndarray]:
    """The parameters of a ``.caffemodel`` as a state_dict: "conv1.weight", "conv1.bias" …, in the file's order.

    Inner products become (out, in), biases (out,). BatchNorm gives running_mean and running_var (divided by the scale that
    Caffe keeps as a third blob), Scale weight and bias, each under its own layer's name. Filters stay in the order of the
    channels they were trained with: Caffe's ImageNet nets take BGR.

    Args:
        path: the file.

    Raises:
        CaffeError: as :func:`read_caffemodel`; or a layer of another type has parameters, or two layers one name.
        OSError: it cannot be read.
    """
    state: dict[str, np.ndarray] = {}
    for layer in read_caffemodel(path):
        if f"{layer.name}.weight" in state or f"{layer.name}.running_mean" in state:
            raise CaffeError(f"{path}: there are two layers with parameters named {layer.name!r}")
        try:
            state |= {f"{layer.name}.{name}": array for name, array in _parameters(layer).items()}
        except ValueError as error:
            shapes = ", ".join(str(blob.shape) for blob in layer.blobs)
            raise CaffeError(f"{path}: layer {layer.name!r} ({layer.type}) has blobs of shapes {shapes}: {error}") from None
    return state


def _parameters(layer: CaffeLayer) -> dict[str, np.ndarray]:
    """A layer's blobs by the names of PyTorch's layers; ValueError says what is wrong with them."""
    weight: np.ndarray
    first, *rest = layer.blobs
    if layer.type == "BatchNorm":
        if len(rest) != 2 or rest[0].shape != first.shape or rest[1].size != 1:
            raise ValueError("BatchNorm has a mean, a variance and one scale")
        scale = float(rest[1].reshape(())) or 1.0
        return {"running_mean": first.reshape(-1) / scale, "running_var": rest[0].reshape(-1) / scale}
    if layer.type in INNER_PRODUCT:
        if first.ndim < 2 or math.prod(first.shape[:-2]) != 1:
            raise ValueError("the weights of an inner product are (out, in) or (1, 1, out, in)")
        weight = first.reshape(first.shape[-2:])
    elif layer.type in CONVOLUTION:
        if first.ndim != 4:
            raise ValueError("the filters of a 2-D convolution have four axes")
        weight = first
    elif layer.type == "Scale":
        weight = first.reshape(-1)
    else:
        raise ValueError("only Convolution, Deconvolution, InnerProduct, BatchNorm and Scale are read")
    if len(rest) > 1:
        raise ValueError("there are a weight and a bias at most")
    return {"weight": weight} | ({"bias": rest[0].reshape(-1)} if rest else {})
