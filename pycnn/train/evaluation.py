"""What ``pycnn eval`` does: accuracies of one net, or of several whose answers are averaged, on one crop or on ten."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend, no_grad
from ..data import DataLoader
from ..nn import Module
from .augment import eval_transform
from .build import eval_loader, find_model, fit_channels, image_size, load_data, make_model
from .checkpoint import load_checkpoint, newest_checkpoint, replace_durably
from .config import Config, RunError, read_config


@dataclass(frozen=True)
class Scores:
    """How well answers fit.

    Attributes:
        top1, top5: the part of images, 0 … 1, whose class is the likeliest, or among the five likeliest.
        loss: mean of -log(probability of the image's class).
        confusion: int64 (classes, classes): how many images of the row's class were taken for the column's.
    """

    top1: float
    top5: float
    loss: float
    confusion: np.ndarray

    @property
    def images(self) -> int:
        """How many images there were."""
        return int(self.confusion.sum())

    def per_class(self) -> np.ndarray:
        """(classes,) the part of each class's images that was recognized; NaN where there is none."""
        counts = self.confusion.sum(axis=1)
        return np.where(counts, np.diag(self.confusion) / np.maximum(counts, 1), np.nan)


def score(log_probabilities: np.ndarray, labels: np.ndarray) -> Scores:
    """Compare answers, (n, classes) logarithms of probabilities, with `labels`, (n,)."""
    n, classes = log_probabilities.shape
    largest = np.argsort(-log_probabilities, axis=1, kind="stable")[:, :5]
    right = largest == labels[:, None]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, largest[:, 0]), 1)
    loss = -log_probabilities[np.arange(n), labels].mean()
    return Scores(float(right[:, 0].mean()), float(right.any(axis=1).mean()), float(loss), confusion)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) to logarithms of probabilities, in float64."""
    x = logits.astype(np.float64)
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def mean_of_softmax(logs: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The logarithm of the mean of probabilities whose logarithms are given, k arrays of (n, classes)."""
    return np.logaddexp.reduce(np.asarray(logs), axis=0) - np.log(len(logs))


def answers(model: Module, loader: Iterable) -> tuple[np.ndarray, np.ndarray]:
    """What a model says to the images of a loader.

    Args:
        model: maps images (n, C, H, W) to logits (n, classes).
        loader: yields batches of n labels and k·n images; the probabilities of the k images of a label, which lie side by side,
            are averaged.

    Returns:
        Logarithms of probabilities, float64 (n, classes), and the labels, int64 (n,).
    """
    model.eval()
    found, labels = [], []
    with no_grad():
        for images, its in loader:
            logs = log_softmax(model(images).numpy())
            found.append(mean_of_softmax(logs.reshape(len(its), -1, logs.shape[1]).swapaxes(0, 1)))
            labels.append(its.numpy())
    return np.concatenate(found), np.concatenate(labels)


def evaluate(
    weights: Sequence[str | Path],
    given: dict | None = None,
    ten_crop: bool = False,
    best: bool = False,
    json_file: str | Path | None = None,
    csv_file: str | Path | None = None,
) -> Scores:
    """Measure nets on the test part of a data set, print the result and return it; of several nets that of their ensemble, whose
    probabilities are the mean of theirs.

    Args:
        weights: folders of runs, whose newest checkpoint is taken, or files, for which `given` names the model.
        given: settings of :class:`Config` in the place of the runs' own (data, device, sizes of test images).
        ten_crop: average over the four corners, the middle, and their mirror images.
        best: take the checkpoint with the best test accuracy instead of the newest.
        json_file: write all figures there: per net, per class, and the confusion matrix.
        csv_file: write a line per class there: images, accuracy, and what its images were taken for.

    Raises:
        RunError: there are no such weights, or they are of another model, or the nets differ in their data.
    """
    given = given or {}
    found, names, labels, dataset = [], [], np.zeros(0, np.int64), None
    for path in map(Path, weights):
        config = _config(path, given)
        if config.threads is not None:
            backend.set_num_threads(config.threads)
        if dataset is None or config.data != dataset[0].data:
            if dataset is not None:
                raise RunError(f"{path} learned {config.data_name}, {weights[0]} {dataset[0].data_name}: name one with --data")
            dataset = config, load_data(config)[1]
        logs, labels = answers(*_prepare(path, config, dataset[1], ten_crop, best))
        if logs.shape[1] != len(dataset[1].classes):
            raise RunError(f"{path} knows {logs.shape[1]} classes, {config.data_name} has {len(dataset[1].classes)}")
        found.append(logs)
        names.append(f"{config.model} ({path})")
        _say(names[-1], score(logs, labels))
    if dataset is None:
        raise RunError("name runs or files of weights, for example: pycnn eval runs/*")
    scores = [score(logs, labels) for logs in found]
    together = score(mean_of_softmax(found), labels)
    if len(found) > 1:
        _say(f"ensemble of {len(found)}, mean of softmax", together)
    classes = dataset[1].classes
    if json_file is not None:
        members = [{"model": name, **_figures(each)} for name, each in zip(names, scores, strict=True)]
        content = _figures(together) | {
            "data": dataset[0].data_name,
            "ten_crop": ten_crop,
            "models": members,
            "classes": list(classes),
            "per_class": [None if np.isnan(part) else part for part in together.per_class().tolist()],
            "confusion": together.confusion.tolist(),
        }
        _write(Path(json_file), json.dumps(content, indent=1) + "\n")
    if csv_file is not None:
        _write(Path(csv_file), _csv(together, classes))
    return together


def _config(path: Path, given: dict) -> Config:
    if not path.exists():
        raise RunError(f"there is no run and no file {path}")
    if not path.is_dir():
        if "model" not in given:
            raise RunError(f"{path} is a file of weights: name its model with --model")
        return Config(**given)
    config = read_config(path)
    if ":" in config.model and "model" not in given:
        raise RunError(f"{path} is of {config.model}; code is run only if you name it: --model {config.model}")
    if given.get("model", config.model) != config.model:
        raise RunError(f"{path} is of {config.model}, not of {given['model']}")
    # A run's split belongs to its data set.
    return replace(config, **({"split": Config.split} if given.get("data", config.data) != config.data else {}) | given)


def _prepare(path: Path, config: Config, dataset: Any, ten_crop: bool, best: bool) -> tuple[Module, DataLoader]:
    found = find_model(config.model)
    dataset, resize = fit_channels(dataset, config, found), image_size(config, found)
    model = make_model(config, found, len(dataset.classes))
    if path.is_dir():
        checkpoint = newest_checkpoint(path / "checkpoints")
        if best and checkpoint.state["best"]["step"] != checkpoint.state["step"]:
            checkpoint = _of_step(path, checkpoint.state["best"]["step"])
        try:
            model.load_state_dict(checkpoint.model)
        except (KeyError, ValueError) as error:
            raise RunError(f"{path} does not fit {config.model} with the classes of {config.data_name}: {error}") from error
    else:
        from ..models import load_weights

        try:
            load_weights(model, path)
        except ValueError as error:
            raise RunError(f"{path} does not fit {config.model} with the classes of {config.data_name}: {error}") from error
    model.to(config.device)
    return model, eval_loader(dataset, config, eval_transform(config, resize, ten_crop))


def _of_step(path: Path, step: int):
    for folder in sorted((path / "checkpoints").glob(f"*-step-{step:08d}")):
        return load_checkpoint(folder)
    raise RunError(f"{path} has no checkpoint of step {step}, its best")


def _say(name: str, scores: Scores) -> None:
    print(
        f"{name}: top-1 {100 * scores.top1:.2f} %, top-5 {100 * scores.top5:.2f} %, loss {scores.loss:.4f} "
        f"({scores.images:,} images)",
        flush=True,
    )


def _figures(scores: Scores) -> dict:
    return {"top1": scores.top1, "top5": scores.top5, "loss": scores.loss, "images": scores.images}


def _csv(scores: Scores, classes: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("class", "images", "accuracy", *classes))
    for name, accuracy, row in zip(classes, scores.per_class(), scores.confusion, strict=True):
        writer.writerow((name, row.sum(), accuracy, *row))
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    try:
        replace_durably(path, text.encode())
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from error
