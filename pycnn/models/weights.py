"""Which trained weights there are, where from, and how an image must be prepared for them: the records of ``weights.json``.

A record's name is the model's and the data's, "resnet18.imagenet1k_v1". torchvision's records are torchvision's own
(``resnet18-f37072fd.pth``: the digits are the start of the file's sha256); its ``.pth`` files are read by an installed PyTorch.
GoogLeNet's weights were trained on (pixel - 0.5) / 0.5, which torchvision reaches through ``transform_input``; here it is the
recorded mean and std.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .weight_files import WeightsError, safetensors_metadata

CHANNELS = ("RGB", "BGR", "L")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a model's input: resize, crop, (pixel · scale - mean) / std.

    Attributes:
        resize: pixels of the shorter side, or (height, width) whatever the image's proportions; None: as it is.
        crop: pixels of the centered square that is cut out; None: all of it.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos"; shrinking averages, as in Pillow and
            torchvision.
        mean, std: one number per channel, or one for all; `mean` may be an array (C, H, W): the mean image.
        channels: "RGB", "BGR" (Caffe's ImageNet nets) or "L" (one channel of gray).
        scale: of a pixel of 0 … 255, before mean and std.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] | np.ndarray = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "RGB"
    scale: float = 1 / 255

    def __post_init__(self):
        if self.channels not in CHANNELS:
            raise ValueError(f"channels must be one of {', '.join(CHANNELS)}, got {self.channels!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}")
        sizes = [self.resize] if isinstance(self.resize, int) else [*(self.resize or ())]
        for size in [*sizes, *([self.crop] if self.crop is not None else [])]:
            if not 1 <= size <= 16384:
                raise ValueError(f"resize and crop must be 1 … 16384 pixels, got {size}")
        count = 1 if self.channels == "L" else 3
        for name, value in (("mean", self.mean), ("std", self.std)):
            if len(value) not in (1, count):
                raise ValueError(f"{name} must be one number or {count} ({self.channels}), got {len(value)}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")

    def __str__(self):
        mean = f"an image {self.mean.shape}" if isinstance(self.mean, np.ndarray) else " ".join(f"{m:g}" for m in self.mean)
        size = "×".join(map(str, self.resize)) if isinstance(self.resize, tuple) else self.resize
        std = " ".join(f"{s:g}" for s in self.std)
        sizes = f"resize {size} ({self.interpolation}), " * bool(size) + f"crop {self.crop}, " * bool(self.crop)
        return f"{sizes}{self.channels}, (pixel · {self.scale:.6g} - {mean}) / {std}"


@dataclass(frozen=True)
class Weights:
    """A record of trained weights.

    Attributes:
        name: "resnet18.imagenet1k_v1".
        model: the registered model that they fit.
        url: where they are published.
        sha256: of the file; for torchvision's its first digits, which are part of the file's name.
        licence: as far as it is stated.
        preprocessing: what the model wants of an image.
        classes: their names, in the order of the outputs.
        accuracy: published: "top1" and "top5" in percent, "on" which images.
        mean_file: of a mean image that is used if it lies beside the weights.
    """

    name: str
    model: str
    url: str
    sha256: str
    licence: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    accuracy: dict
    mean_file: str | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@cache
def _records() -> dict[str, Weights]:
    content = json.loads(Path(__file__).with_name("weights.json").read_text("utf-8"))
    records = {}
    for name, record in content["weights"].items():
        prepared = dict(content["preprocessing"][record["preprocessing"]])
        mean_file = prepared.pop("mean_file", None)
        settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in prepared.items()}
        classes = content["classes"].get(record["classes"]) or imagenet_classes()
        licence = content["licences"].get(record["licence"], record["licence"])
        found = record | {"licence": licence, "preprocessing": Preprocessing(**settings), "classes": tuple(classes)}
        records[name] = Weights(name=name, mean_file=mean_file, **found)
    return records


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet's challenge in the order of their synsets, torchvision's short names."""
    return tuple(Path(__file__).with_name("imagenet1k.txt").read_text("utf-8").splitlines())


def list_weights(pattern: str = "*") -> list[str]:
    """Names of recorded weights that match a shell pattern ("resnet*"), sorted."""
    return sorted(name for name in _records() if fnmatch(name, pattern))


def get_weights(name: str) -> Weights:
    """The record of that name, or of a model's first weights ("resnet18").

    Raises:
        WeightsError: there is none.
    """
    records = _records()
    found = name if name in records else next(iter(list_weights(f"{name}.*")), None)
    if found is None:
        raise WeightsError(f"there is no record of weights {name!r}; list_weights() names them all")
    return records[found]


def find_weights(file: str | Path) -> Weights | None:
    """The record of a file by its sha256, or by that of the file which it was converted from; None if there is none.

    Args:
        file: a path.
    """
    digest = safetensors_metadata(file).get("pycnn.source_sha256") or file_sha256(file)
    found = next((record for record in _records().values() if digest.startswith(record.sha256)), None)
    if found and found.mean_file and (mean := Path(file).parent / found.mean_file).is_file():
        found = replace(found, preprocessing=replace(found.preprocessing, mean=np.load(mean, allow_pickle=False)))
    return found


def file_sha256(file: str | Path) -> str:
    """The sha256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def weights_folder() -> Path:
    """Where downloaded weights are kept: ``weights`` in $PYCNN_CACHE, else in ~/.cache/pycnn."""
    return Path(os.environ.get("PYCNN_CACHE") or Path.home() / ".cache" / "pycnn").expanduser() / "weights"


def fetch_weights(name: str) -> Path:
    """The file of a record of weights, downloaded if it is not there yet. It gets its name when its sha256 is right.

    Args:
        name: of a record, or of a model (see :func:`get_weights`).

    Raises:
        WeightsError: there is no such record, the file cannot be fetched, or it is not the one recorded.
    """
    record = get_weights(name)
    path = weights_folder() / record.file
    if path.is_file():
        _check(path, record)
        return path
    import pooch

    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel("WARNING")
        pooch.retrieve(record.url, known_hash=None, fname=partial.name, path=partial.parent)
        _check(partial, record)
        os.replace(partial, path)
    except (OSError, ValueError) as error:  # those of requests are OSErrors
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{record.file} is not here and {record.url} cannot be fetched ({type(error).__name__}); "
            f"put the file at {path}, or name another"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _check(path: Path, record: Weights) -> None:
    digest = file_sha256(path)
    if not digest.startswith(record.sha256):
        raise WeightsError(
            f"{path.name} from {record.url} has sha256 {digest}, not {record.sha256}; delete {path} if it is there"
        )
