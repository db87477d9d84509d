"""``pycnn predict``: the most likely classes of pictures, with weights that were trained here or elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from . import data, no_grad, ops
from .data import DataError, read_image, transforms
from .models import WeightsError, create_model, load_weights
from .models.registry import entry
from .models.weights import Preprocessing, Weights, fetch_weights, find_weights, list_weights
from .nn import Module
from .tensor import Tensor
from .train import RunError, newest_checkpoint
from .train.build import load_model

MOST_CLASSES_BYTES = 16 << 20
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


# ---- pictures ---------------------------------------------------------------------------------------------------------


def resize_and_crop(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The part of a picture that a model is shown: uint8 (3, H, W) -> uint8 (3, h, w).

    Args:
        image: red, green, blue.
        preprocessing: whose `resize`, `interpolation` and `crop` count; rounding is torchvision's.

    Raises:
        DataError: the picture is smaller than the crop, or resizing would make it too large.
    """
    try:
        if preprocessing.resize is not None:
            image = transforms.Resize(preprocessing.resize, preprocessing.interpolation)(image)
        return image if preprocessing.crop is None else transforms.CenterCrop(preprocessing.crop).batch(image[None])[0]
    except ValueError as error:
        raise DataError(f"the picture cannot be prepared: {error}") from error


def normalize(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What a model is given: uint8 (3, H, W) -> float32 (C, H, W), (pixel · scale - mean) / std.

    Args:
        image: red, green, blue.
        preprocessing: whose `channels`, `scale`, `mean` and `std` count.

    Raises:
        DataError: `mean` is an image of another size.
    """
    if preprocessing.channels == "L":
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("L"))[None]
    elif preprocessing.channels == "BGR":
        image = image[::-1]
    mean = np.asarray(preprocessing.mean, np.float64)
    if mean.ndim == 3 and mean.shape != image.shape:
        raise DataError(f"the mean is an image of shape {mean.shape}, the model's input has {image.shape}")
    mean = mean if mean.ndim == 3 else mean[:, None, None]
    std = np.asarray(preprocessing.std, np.float64)[:, None, None]
    return ((image * preprocessing.scale - mean) / std).astype(np.float32)


# ---- models with their weights ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classifier:
    """A model that is ready to classify.

    Attributes:
        model: in evaluation mode, its weights loaded.
        preprocessing: what it wants of a picture.
        classes: a name per output; None where nobody has said them.
        recorded: whether `preprocessing` is recorded for these weights; else it is a guess by the model's image size.
    """

    model: Module
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None
    recorded: bool

    def input(self, image: np.ndarray) -> Tensor:
        """A picture, uint8 (3, H, W), as the model's input (1, C, H, W) on its device."""
        x = normalize(resize_and_crop(image, self.preprocessing), self.preprocessing)
        return Tensor(x[None], device=next(self.model.parameters()).device)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Softmax of the model's logits for a picture, uint8 (3, H, W): float32 (classes,)."""
        with no_grad():
            logits = self.model(self.input(image))
            if logits.ndim != 2:
                raise WeightsError(f"the model's output has shape {logits.shape}, a classifier's has (N, classes)")
            return ops.softmax(logits, 1).numpy()[0]

    def class_name(self, index: int) -> str:
        """What a class is called."""
        return self.classes[index] if self.classes else f"class {index}"


def load_classifier(
    name: str,
    weights: str | Path | None = None,
    classes: str | Path | None = None,
    device: str = "cpu",
    options: dict | None = None,
    **changes,
) -> Classifier:
    """A model with trained weights and all that is known about them.

    Args:
        name: a registered model, or ``file.py:ClassName``.
        weights: a file (see :func:`~pycnn.models.load_weights`), a run's folder, whose newest checkpoint is taken, or the name of
            a record (``pycnn weights``), which is downloaded unless it was before. Left out: the model's own record.
        classes: a file with a name per line, in the order of the outputs.
        device: where to compute.
        options: of the model's own (``{"relu6": True}``), beside those of the run.
        changes: of the :class:`~pycnn.models.weights.Preprocessing`; None changes nothing.

    Raises:
        WeightsError, RunError, CheckpointError, DataError: something is absent, damaged or does not fit.
    """
    guess = guess_preprocessing(name)
    known = read_classes(classes) if classes else None
    preprocessing = None
    of_run: dict = {}
    file: Path | dict[str, np.ndarray]
    if weights is not None and Path(weights).is_dir():
        file, known_by_run, preprocessing, of_run = _run(Path(weights), name)
        known = known or known_by_run
    else:
        if weights is None and not list_weights(f"{name}.*"):
            raise WeightsError(f"no weights are recorded for {name}; name a file or a run's folder: --weights")
        if weights is None or (not Path(weights).exists() and str(weights) in list_weights()):
            weights = fetch_weights(str(weights or name))
        file = Path(weights)
        if record := find_weights(file) if file.is_file() else None:
            _check_model(record, name)
            preprocessing, known = record.preprocessing, known or record.classes
    model = _build(name, known, of_run | (options or {}))
    load_weights(model, file)
    given = {key: value for key, value in changes.items() if value is not None}
    if isinstance(given.get("resize"), tuple):
        given = {"crop": None} | given  # the whole picture, squeezed
    try:
        used = replace(preprocessing or guess, **given)
    except ValueError as error:
        raise WeightsError(f"preprocessing: {error}") from error
    return Classifier(model.eval().to(device), used, known, preprocessing is not None or {"mean", "std"} <= given.keys())


def _check_model(record: Weights, name: str) -> None:
    if ":" not in name and record.model != name:
        raise WeightsError(f"these are the weights {record.name}, of the model {record.model}, not of {name}")


def _build(name: str, classes: Sequence[str] | None, options: dict) -> Module:
    if ":" in name:
        return load_model(name, **options)
    try:
        return create_model(name, **(({"num_classes": len(classes)} if classes else {}) | options))
    except (ValueError, TypeError) as error:
        raise RunError(str(error)) from error


def _run(folder: Path, name: str) -> tuple[dict[str, np.ndarray], tuple[str, ...], Preprocessing, dict]:
    """The newest weights of a run's folder, its data set's classes, how it prepared images, and the model's options."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        trained, data_name = config["model"], config["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} is no run of pycnn train: config.json: {error}") from error
    if trained != name:
        raise RunError(f"{folder} trained {trained}, not {name}")
    checkpoint = newest_checkpoint(folder / "checkpoints")
    where = {"split": config.get("split", "stratified")} if data_name == "digits" else {}
    if config.get("data_dir"):
        where["data_dir"] = config["data_dir"]
    _, test = data.load(data_name, **where)
    options = config.get("model_options") or {}
    usual = guess_preprocessing(name)
    repeated = ":" not in name and usual.channels == "RGB" and "in_channels" not in options  # gray images for a net of colors
    channels = "L" if len(test.mean) == 1 and not repeated else "RGB"
    prepared = replace(usual, mean=test.mean, std=test.std, channels=channels)
    if size := config.get("image_size"):
        side = entry(name).image[1] if size == "model" else size
        prepared = replace(prepared, resize=(side, side), crop=None)
    elif isinstance(test, data.Dataset):  # of one size, which the model was trained on
        prepared = replace(prepared, resize=tuple(test.images.shape[2:]), crop=None)
    if config.get("val_resize_size"):
        prepared = replace(prepared, resize=config["val_resize_size"])
    if config.get("val_crop_size"):
        prepared = replace(prepared, crop=config["val_crop_size"])
    return checkpoint.model, tuple(test.classes), prepared, options


def guess_preprocessing(name: str) -> Preprocessing:
    """What is usual for images of a model's size: ImageNet's mean and std in color, 0 … 1 in gray; above 64 pixels resized by 8/7
    and cropped.

    Args:
        name: a registered model, or ``file.py:ClassName`` (taken for one of 224×224 color).

    Raises:
        RunError: there is no such model.
    """
    try:
        channels, height, width = (3, 224, 224) if ":" in name else entry(name).image
    except ValueError as error:
        raise RunError(f"{error} (an own one is named file.py:ClassName)") from error
    settings: dict = {"channels": "L"} if channels == 1 else IMAGENET
    if height != width or height <= 64:
        return Preprocessing((height, width), **settings)
    return Preprocessing(round(height * 8 / 7), height, **settings)


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Names of classes, one a line; quotes around a line are dropped.

    Args:
        path: a text file, UTF-8.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        if Path(path).stat().st_size > MOST_CLASSES_BYTES:
            raise WeightsError(f"{path} is too large for a list of classes")
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: the classes cannot be read ({error})") from error
    return tuple(line.strip().strip("'\"") for line in lines if line.strip())


# ---- the command ------------------------------------------------------------------------------------------------------

COLUMNS = ("image", "rank", "index", "class", "probability")


def predict(classifier: Classifier, path: str | Path, top: int = 5) -> list[dict]:
    """The most likely classes of a picture, best first.

    Args:
        classifier: see :func:`load_classifier`.
        path: of the picture.
        top: how many.

    Returns:
        a list of {"image", "rank", "index", "class", "probability"}.

    Raises:
        DataError: the picture cannot be read, or is smaller than the crop.
    """
    probabilities = classifier.probabilities(read_image(path))
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [
        dict(zip(COLUMNS, (str(path), rank, int(i), classifier.class_name(i), float(probabilities[i])), strict=True))
        for rank, i in enumerate(best, 1)
    ]


def as_text(rows: list[dict]) -> str:
    """Rows of :func:`predict` for people: the picture's name, then a line per class."""
    lines = []
    for row in rows:
        if row["rank"] == 1:
            lines.append(row["image"])
        lines.append(f"  {100 * row['probability']:6.2f} %  {row['class']}")
    return "\n".join(lines) + "\n"


def as_csv(rows: list[dict]) -> str:
    """Rows of :func:`predict` as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(rows: list[dict]) -> str:
    """Rows of :func:`predict` as a JSON list."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


WRITERS = {"text": as_text, "csv": as_csv, "json": as_json}
