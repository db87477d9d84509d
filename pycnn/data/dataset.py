"""Labeled images, and how their bytes become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


class DataError(RuntimeError):
    """A data set is unknown, absent or damaged."""


class CorruptImage(DataError):
    """A file is not an image that can be used: damaged, of another format, or far too large. The message names it."""


class LabeledImages:
    """What every data set offers, in memory or on disk; a data set of one's own sets these and overrides :meth:`image`.

    Attributes:
        name: what it is called.
        labels: int64 (n,), indices into `classes`.
        classes: one name per class.
        mean, std: of the training pixels / 255, one number per channel.
    """

    name: str
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        """The i-th image, normalized float32 (C, H, W), and its label."""
        return self.normalize(self.image(i)), int(self.labels[i])

    def image(self, i: int) -> np.ndarray:
        """The i-th image as bytes, uint8 (C, H, W)."""
        raise NotImplementedError

    def where(self, i: int) -> str:
        """How messages call the i-th image."""
        return f"{self.name}, image {i}"

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Pixels 0 … 255, uint8 or float32 (…, C, H, W), to float32 (pixel / 255 - mean) / std. The memory order stays."""
        return normalize(images, self.mean, self.std)


def normalize(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """See :meth:`LabeledImages.normalize`. Bytes go through a table of 256 values, so the bits are the same everywhere.

    Raises:
        DataError: `mean` and `std` are for another number of channels.
    """
    if images.shape[-3] != len(mean):
        raise DataError(f"the images have {images.shape[-3]} channels, mean and std are of {len(mean)}")
    normalized = np.empty_like(images, np.float32)
    for c in range(len(mean)):
        channel = images[..., c, :, :]
        if images.dtype == np.uint8:
            normalized[..., c, :, :] = np.take(((np.arange(256) / 255 - mean[c]) / std[c]).astype(np.float32), channel)
        else:
            normalized[..., c, :, :] = channel * np.float32(1 / (255 * std[c])) - np.float32(mean[c] / std[c])
    return normalized


def per_channel(value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """A number for all channels, or one for each, as a tuple of one for each."""
    return tuple(float(v) for v in value) if isinstance(value, Sequence) else (float(value),) * channels


@dataclass(frozen=True)
class Dataset(LabeledImages):
    """Images in memory with one label each.

    Attributes:
        name: what it is called.
        images: uint8 (n, C, H, W).
        labels: int64 (n,), indices into `classes`.
        classes: one name per class.
        mean, std: of the training pixels / 255 without margins, a number per channel (or one for all);
            :meth:`normalize` subtracts and divides by them.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: Any  # float or tuple when made, a tuple of floats from then on
    std: Any

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or len(self.images) != len(self.labels):
            raise DataError(
                f"{self.name}: images must be uint8 (n, C, H, W) with one label each, "
                f"got {self.images.dtype} {self.images.shape} and {len(self.labels)} labels"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise DataError(
                f"{self.name}: labels must be 0 … {len(self.classes) - 1}, got {self.labels.min()} … {self.labels.max()}"
            )
        for name in ("mean", "std"):
            values = per_channel(getattr(self, name), self.images.shape[1])
            if len(values) != self.images.shape[1]:
                raise DataError(f"{self.name}: {name} must be {self.images.shape[1]} numbers, one per channel, got {values}")
            object.__setattr__(self, name, values)

    def image(self, i: int) -> np.ndarray:
        """The i-th image, uint8 (C, H, W), a view."""
        return self.images[i]

    def subset(self, indices) -> Dataset:
        """The images at `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])
