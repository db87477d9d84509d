"""Reads weights that others have trained: ``load_weights(model, "resnet18.safetensors")``.

Formats: ``.safetensors``; ``.npz`` (NumPy, without pickled objects); ``.caffemodel`` (see ``caffe.py``); and ``.pth``, ``.pt``,
``.th`` where PyTorch is installed, which reads them with ``weights_only=True``: tensors only, no code is run.

Names are torchvision's and timm's. Where no name of the file is one of the model's (Caffe's nets, whose layers have other names),
layers are assigned in their order: the file's convolutions, linear layers and batch norms to the model's, every shape equal.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import nn
from .caffe import CaffeError, caffe_state

TORCH_SUFFIXES = (".pth", ".pt", ".th")
SUFFIXES = (".safetensors", ".npz", ".caffemodel", *TORCH_SUFFIXES)
WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")  # what training scripts put the tensors under
SHOWN = 8  # names in a message
# (pattern, replacement): names that are not torchvision's of today.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),  # torchvision's DenseNet files, PyTorch 0.3
    (re.compile(r"^pre_logits\.fc1\."), "classifier.0."),  # timm's VGG, the three layers of the head
    (re.compile(r"^pre_logits\.fc2\."), "classifier.3."),
    (re.compile(r"^head\.fc\."), "classifier.6."),
)


class WeightsError(ValueError):
    """A file of weights cannot be read or does not fit the model; the model is as it was."""


# ---- reading ----------------------------------------------------------------------------------------------------------


def read_weights(file: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by name, in the file's order.

    Args:
        file: ``.safetensors``, ``.npz``, ``.caffemodel``, or with PyTorch installed ``.pth``, ``.pt`` or ``.th``.

    Raises:
        WeightsError: it is absent, damaged, of another format, or needs PyTorch and there is none.
    """
    file = Path(file)
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz, ".caffemodel": caffe_state}
    reader = readers.get(file.suffix, _read_torch if file.suffix in TORCH_SUFFIXES else None)
    if not file.is_file():
        raise WeightsError(f"there is no file {file}")
    if reader is None:
        raise WeightsError(f"{file}: weights are read from {', '.join(SUFFIXES)} files")
    try:
        return reader(file)
    except CaffeError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error.strerror or error})") from error


def safetensors_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, sorted by type and name, over the file's own memory (the format's NumPy reader does not
    know bfloat16).

    Args:
        content: of the file.

    Raises:
        ValueError: it is damaged, or an array has a type that is not read.
    """
    import ml_dtypes
    from safetensors import SafetensorError, deserialize

    types = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
    known = {name: np.dtype(code) for name, code in types.items()} | {"BF16": np.dtype(ml_dtypes.bfloat16)}
    try:
        views = dict(deserialize(content))
    except SafetensorError as error:
        raise ValueError(f"no safetensors file or a damaged one ({error})") from error
    if skipped := sorted(name for name, view in views.items() if view["dtype"] not in known):
        raise ValueError(f"{_list(skipped)} of type {views[skipped[0]]['dtype']}, which is not read")
    return {name: np.frombuffer(view["data"], known[view["dtype"]]).reshape(view["shape"]) for name, view in views.items()}


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    try:
        arrays = safetensors_arrays(file.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{file}: {error}") from error
    try:  # the format sorts by type and name; what `pycnn convert` writes says what the order was
        order = list(json.loads(safetensors_metadata(file).get("pycnn.order", "[]")))
    except (ValueError, TypeError):
        order = []
    return {name: arrays[name] for name in order} if set(order) == arrays.keys() else arrays


def safetensors_metadata(file: str | Path) -> dict[str, str]:
    """The texts that a safetensors file carries beside its tensors; empty for other files.

    Args:
        file: its path.
    """
    from safetensors import SafetensorError, safe_open

    if Path(file).suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="numpy") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("one array without a name")
        with arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise WeightsError(f"{file} is no .npz of arrays or a damaged one ({error})") from error


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{file.name} is PyTorch's format, which only PyTorch reads (pip install torch); "
            f"convert it once where there is one: pycnn convert {file.name} {file.stem}.safetensors"
        ) from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and PyTorch's own
        raise WeightsError(f"{file}: PyTorch refuses to read it as weights only ({str(error).splitlines()[0]})") from error
    while isinstance(found, Mapping) and (inner := next((k for k in WRAPPERS if isinstance(found.get(k), Mapping)), None)):
        found = found[inner]
    tensors = {name: t for name, t in found.items() if torch.is_tensor(t)} if isinstance(found, Mapping) else {}
    if not tensors:
        raise WeightsError(f"{file} holds no named tensors (a state_dict is what is read)")
    return {name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for name, t in tensors.items()}


# ---- loading ----------------------------------------------------------------------------------------------------------


def load_weights(
    model: nn.Module, file: str | Path | Mapping[str, np.ndarray], strict: bool = True, head: bool = True
) -> list[str]:
    """Set a model's parameters and buffers from a file of weights, all or nothing.

    The prefixes ``module.`` (DataParallel) and ``_orig_mod.`` (torch.compile) and wrappers such as ``state_dict.`` are
    stripped. A weight of (out, C, kH, kW) and one of (out, C·kH·kW) fit each other. What BatchNorm's counter
    ``num_batches_tracked`` is matters to training only, so it may be missing; so may auxiliary heads of a model built with
    ``aux_logits=False`` be there. See the module for formats and for names that are not the model's.

    Args:
        model: what to load into, on any device.
        file: a path (see :func:`read_weights`), or arrays by name.
        strict: refuse when names are missing or unexpected. Shapes must fit in any case.
        head: False leaves the layers named by the model's class attribute `head` as they are: those whose shape is the
            number of classes.

    Returns:
        the names of the model's parameters and buffers that the file has not set, BatchNorm's counters apart.

    Raises:
        WeightsError: the file cannot be read, or anything does not fit; nothing has changed then.
    """
    source = "the given arrays" if isinstance(file, Mapping) else str(file)
    own = {name: tensor.shape for name, tensor in model.named_tensors()}
    state = match_weights(model, dict(file) if isinstance(file, Mapping) else read_weights(file), source)
    heads = tuple(f"{path}." for path in getattr(model, "head", ()))
    if not head:
        if not heads:
            raise WeightsError(f"{type(model).__name__} does not say which layers are its head (class attribute `head`)")
        state = {name: array for name, array in state.items() if not name.startswith(heads)}
    elif heads:
        wrong = {n: a for n, a in state.items() if n in own and n.startswith(heads) and a.shape[:1] != own[n][:1]}
        if wrong:
            raise WeightsError(
                f"{source}: the head was trained for another number of classes: "
                + ", ".join(f"{n} {a.shape}, the model's is {own[n]}" for n, a in wrong.items())
                + "; head=False loads all but it"
            )
    if strict:
        optional = (lambda name: name.startswith(heads)) if not head else lambda name: False
        missing = [n for n in own if n not in state and not n.endswith(".num_batches_tracked") and not optional(n)]
        unexpected = [n for n in state if n not in own and not _unneeded(model, n)]
        if missing or unexpected:
            parts = [f"{len(l)} {what}: {_list(l)}" for l, what in ((missing, "missing"), (unexpected, "unexpected")) if l]
            raise WeightsError(f"{source} does not fit {type(model).__name__}: {'; '.join(parts)}")
    fitting = {name: _fit(source, name, array, own[name]) for name, array in state.items() if name in own}
    if not fitting:
        raise WeightsError(f"{source}: none of its names is one of {type(model).__name__}'s: {_list(list(state))}")
    model.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting and not name.endswith(".num_batches_tracked")]


def _unneeded(model: nn.Module, name: str) -> bool:
    auxiliary = getattr(model, "aux_logits", None) is False and re.match(r"aux\d*\.", name)
    return bool(auxiliary) or name.endswith(".num_batches_tracked")


def _fit(source: str, name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array in the model's shape: a fully connected layer is a convolution that sees its whole input, and the reverse."""
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise WeightsError(f"{source}: {name} is of type {array.dtype}, not of numbers")
    same = array.shape == shape or ({array.ndim, len(shape)} == {2, 4} and array.shape[0] == shape[0])
    if not same or array.size != np.prod(shape, dtype=np.int64):
        raise WeightsError(f"{source}: {name} has shape {array.shape}, the model's is {shape}")
    return array.reshape(shape)


def match_weights(model: nn.Module, state: dict[str, np.ndarray], source: str = "the file") -> dict[str, np.ndarray]:
    """Arrays of a file under the model's own names; names that are not among them stay, without their wrappers.

    Args:
        model: whose names to use.
        state: arrays by name, in the file's order.
        source: what to call the file in messages.

    Raises:
        WeightsError: two arrays get one name; or no name is the model's and the layers in their order do not fit either.
    """
    own = {name for name, _ in model.named_tensors()}
    names = [_own_name(name, own) for name in state]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise WeightsError(f"{source}: several arrays are named {_list(twice)} once prefixes are stripped")
    found = dict(zip(names, state.values(), strict=True))
    return found if own & found.keys() else _in_order(model, found, source)


def _own_name(name: str, own: set[str]) -> str:
    """A file's name without wrappers and in today's spelling, as little changed as makes it the model's."""
    bare = ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))
    inner = bare
    while inner.partition(".")[0] in WRAPPERS:
        inner = inner.partition(".")[2]
    candidates = [name, bare, inner, name.replace("/", "."), inner]
    for pattern, replacement in RENAMED:
        candidates.insert(-1, pattern.sub(replacement, inner))
    return next((candidate for candidate in candidates if candidate in own), inner)


# ---- layers in their order --------------------------------------------------------------------------------------------


def _in_order(model: nn.Module, state: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """A file's layers assigned to the model's by their order in both."""
    theirs = _merge_scale(_layers(state))
    learned = nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d
    mine = {
        path: {name: tensor for name, tensor in module.named_tensors() if name != "num_batches_tracked"}
        for path, module in model.named_modules()
        if isinstance(module, learned)
    }
    if len(theirs) != len(mine):
        raise WeightsError(
            f"{source}: none of its names is one of {type(model).__name__}'s, and in their order they do not fit either: "
            f"{len(theirs)} layers ({_list(list(theirs))}), the model has {len(mine)} ({_list(list(mine))})"
        )
    matched: dict[str, np.ndarray] = {}
    heads = getattr(model, "head", ())
    for (their_path, arrays), (path, tensors) in zip(theirs.items(), mine.items(), strict=True):
        shapes = {name: array.shape for name, array in arrays.items()}
        expected = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes.keys() != expected.keys() or (path not in heads and not _alike(shapes, expected)):
            raise WeightsError(
                f"{source}: its layers do not fit the model's in their order: {their_path} has {_shapes(shapes)}, "
                f"{path} needs {_shapes(expected)}"
            )
        matched |= {f"{path}.{name}": array for name, array in arrays.items()}
    return matched


def _layers(state: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        path, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            layers.setdefault(path, {})[leaf] = array
    return layers


def _merge_scale(layers: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Caffe's BatchNorm and the Scale after it are one layer elsewhere."""
    merged: dict[str, dict[str, np.ndarray]] = {}
    before: dict[str, np.ndarray] = {}
    for path, arrays in layers.items():
        if before.keys() == {"running_mean", "running_var"} and arrays.get("weight", np.empty((0, 0))).ndim == 1:
            before |= arrays
        else:
            before = merged[path] = dict(arrays)
    return merged


def _alike(shapes: dict[str, tuple], expected: dict[str, tuple]) -> bool:
    return all(s == expected[n] or {len(s), len(expected[n])} == {2, 4} for n, s in shapes.items())  # _fit looks closer


def _shapes(shapes: dict[str, tuple]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _list(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
