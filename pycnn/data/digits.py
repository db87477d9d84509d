"""The UCI optical digits: 1,797 scans of handwriting (origin and license: ``uci_digits/README.md``).

Split "stratified" is fixed by the indices in ``uci_digits/test_indices.txt``, the output of this script
(RandomState's numbers are frozen by NumPy; a test runs it again)::

    shuffle = np.random.RandomState(0).permutation
    share = np.bincount(labels) * 360 / 1797                    # test images due to each class
    count = np.floor(share).astype(int)
    count[np.argsort(count - share, kind="stable")[: 360 - count.sum()]] += 1    # largest remainders
    test = np.sort(np.concatenate([shuffle(np.flatnonzero(labels == c))[: count[c]] for c in range(10)]))

"last360" tests on the last 360 in file order. Neighbors in the file tend to be of one hand, so it asks for hands
the net has hardly seen: a few percent more errors.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from .dataset import DataError, Dataset

FOLDER = Path(__file__).with_name("uci_digits")
SPLITS = ("stratified", "last360")
SIZE = 28  # the scan's extent within the 32×32 image; the rest is margin, as LeNet-5 wants it


@cache
def load_scans() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (1797, 8, 8) with ink 0 … 16, labels, and the stratified split's test indices."""
    with np.load(FOLDER / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"].astype(np.int64)
    return images, labels, np.loadtxt(FOLDER / "test_indices.txt", dtype=np.int64)


def load_digits(split: str = "stratified") -> tuple[Dataset, Dataset]:
    """Training and test part, 1,437 and 360 images, enlarged from 8×8 to 28×28 and centered in 32×32.

    Args:
        split: "stratified" (every class in proportion, fixed) or "last360" (the last 360 in file order).

    Raises:
        DataError: there is no such split.
    """
    if split not in SPLITS:
        raise DataError(f"digits: there is no split {split!r}; there are {', '.join(SPLITS)}")
    scans, labels, stratified = load_scans()
    everything = Dataset("digits", enlarge(scans), labels, tuple("0123456789"), mean=0.3058111, std=0.3251374)
    test = stratified if split == "stratified" else np.arange(len(labels) - 360, len(labels))
    return everything.subset(np.setdiff1d(np.arange(len(labels)), test)), everything.subset(test)


def enlarge(scans: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Scans (n, 8, 8) with ink 0 … 16 to images uint8 (n, 1, 32, 32), `size` pixels wide and high in the middle."""
    margin = (32 - size) // 2
    return np.pad(bilinear(scans, size).astype(np.uint8), ((0, 0), (margin, margin), (margin, margin)))[:, None]


def bilinear(scans: np.ndarray, size: int) -> np.ndarray:
    """Scans (…, 8, 8) with ink 0 … 16 to pixels 0 … 255, int64 (…, size, size). Whole numbers throughout, so exact.

    Pixel i of the large image lies at (i + ½)·8/size - ½ of the small one, clamped to its outermost pixel centers.
    """
    weights = _weights(size)
    ink = weights @ scans.astype(np.int64) @ weights.T
    most = 16 * (2 * size) ** 2
    return (2 * 255 * ink + most) // (2 * most)  # 255·ink/most, rounded


@cache
def _weights(size: int) -> np.ndarray:
    """What each scan pixel gives to each large one along an axis, in units of 1/(2·size), int64 (size, 8)."""
    place = np.clip(8 * (2 * np.arange(size) + 1) - size, 0, 7 * 2 * size)  # in units of 1/(2·size) scan pixels
    left = np.minimum(place // (2 * size), 6)
    weights = np.zeros((size, 8), np.int64)
    weights[np.arange(size), left] = 2 * size - (place - left * 2 * size)
    weights[np.arange(size), left + 1] = place - left * 2 * size
    return weights
