"""A data set in memory: images as bytes, labels, and how bytes become numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


class DataError(RuntimeError):
    """A data set is unknown, absent or damaged."""


@dataclass(frozen=True)
class Dataset:
    """Images with one label each.

    Attributes:
        name: what it is called.
        images: uint8 (n, C, H, W).
        labels: int64 (n,), indices into `classes`.
        classes: one name per class.
        mean, std: of the training pixels / 255 without margins; :meth:`normalize` subtracts and divides by them.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: float
    std: float

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

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        """The i-th image, normalized float32 (C, H, W), and its label."""
        return self.normalize(self.images[i]), int(self.labels[i])

    def subset(self, indices) -> Dataset:
        """The images at `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Bytes to float32 (pixel / 255 - mean) / std. A table of 256 values, so the bits are the same everywhere."""
        table = ((np.arange(256) / 255 - self.mean) / self.std).astype(np.float32)
        return table[images]
