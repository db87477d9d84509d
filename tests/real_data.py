"""Real images and published weights, in $PYCNN_DATA and no part of the project: tests that need them are skipped without."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn.tensor import Tensor


def real_data(path: str) -> Path:
    """A file or folder of $PYCNN_DATA, or skip."""
    base = os.environ.get("PYCNN_DATA")
    if not base:
        pytest.skip("real data: PYCNN_DATA is not set")
    if not (found := Path(base) / path).exists():
        pytest.skip(f"real data: {path} is not in PYCNN_DATA")
    return found


def cifar10(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training images, uint8 (count, 3, 32, 32), and their labels, from sheets of 1,000 (a row of pixels each)."""
    from PIL import Image

    folder = real_data("cifar10")
    sheets = [np.asarray(Image.open(folder / f"cifar10_batch_{i:02d}.png")) for i in range(-(-count // 1000))]
    images = np.concatenate([sheet.reshape(1000, 32, 32, 3) for sheet in sheets]).transpose(0, 3, 1, 2)
    return images[:count], np.fromfile(folder / "labels_10000.u8", np.uint8)[:count]


def run_batches(model, images: np.ndarray, batch: int = 250) -> np.ndarray:
    """A model's outputs for float32 images (n, C, H, W), in evaluation mode."""
    model.eval()
    with pycnn.no_grad():
        return np.concatenate([model(Tensor(images[i : i + batch])).numpy() for i in range(0, len(images), batch)])
