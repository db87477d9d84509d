"""digit-scenes: pictures of several handwritten digits in several sizes, with class, box and pixel labels.

Composed of the UCI digits that come with pycnn, by whole numbers alone: the same bits on every machine. Scene i depends on seed,
size, channels, part and i, not on how many there are. Training scenes show training scans, test scenes test scans.

A scene holds 1 to 4 digits, each of another size, in its own color over a plain background. They overlap, the later one on top,
but each keeps at least two thirds of its pixels in sight. The class of the largest digit is the scene's label: six 3×3
convolutions with batch norm get 90 % of the test scenes right after ten epochs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .dataset import DataError, Dataset
from .digits import bilinear, load_scans

LEAST_SIZE = 32
SMALLEST = 12  # side of the smallest digit's square; each scale is 3/2 of the one before, up to 3/4 of the scene
MOST_DIGITS = 4
ATTEMPTS = 20  # places tried for a digit before it is left out
INK = 128  # of 255: from there on a pixel counts as the digit's


@dataclass(frozen=True)
class DigitScenes(Dataset):
    """Scenes in memory. The label of a scene is the class of its largest digit; what a detector or segmenter needs is here too.

    Attributes:
        name, images, labels, classes, mean, std: see :class:`Dataset`; images are uint8 (n, C, size, size).
        boxes: of each scene int64 (k, 4): x1, y1, x2, y2 in pixels around each whole digit, covered parts included; x2 and y2 lie
            behind the last pixel.
        box_labels: of each scene int64 (k,): the classes 0 … 9 of its boxes.
        masks: uint8 (n, size, size): 0 background, 1 … 10 digit + 1, of what is in sight.
    """

    boxes: tuple[np.ndarray, ...]
    box_labels: tuple[np.ndarray, ...]
    masks: np.ndarray

    def subset(self, indices) -> DigitScenes:
        """The scenes at `indices`, in that order."""
        chosen = np.arange(len(self))[indices]
        return replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            boxes=tuple(self.boxes[i] for i in chosen),
            box_labels=tuple(self.box_labels[i] for i in chosen),
            masks=self.masks[indices],
        )


def load_digit_scenes(
    size: int = 64, n: tuple[int, int] = (4000, 1000), channels: int = 3, seed: int = 0
) -> tuple[DigitScenes, DigitScenes]:
    """Training and test part.

    Args:
        size: height and width of a scene, at least 32.
        n: how many training and test scenes; each takes (channels + 1)·size² bytes.
        channels: 3 for color, 1 for grey.
        seed: of the scenes.

    Raises:
        DataError: a number is out of range.
    """
    if size < LEAST_SIZE:
        raise DataError(f"digit-scenes: size must be at least {LEAST_SIZE}, got {size}")
    if len(n) != 2 or min(n) < 1:
        raise DataError(f"digit-scenes: n must be two positive numbers of scenes, got {n}")
    if channels not in (1, 3):
        raise DataError(f"digit-scenes: channels must be 1 or 3, got {channels}")
    if seed < 0:
        raise DataError(f"digit-scenes: seed must be at least 0, got {seed}")
    scans, labels, test = load_scans()
    train = np.setdiff1d(np.arange(len(labels)), test)
    parts = [
        [_scene(scans[used], labels[used], size, channels, seed, part, i) for i in range(count)]
        for part, (used, count) in enumerate(zip((train, test), n, strict=True))
    ]
    pixels = np.stack([image for image, *_ in parts[0]])
    # Exact sums, then operations that IEEE 754 rounds correctly: mean and deviation are the same everywhere, too.
    mean = [float(s) / (255 * pixels[:, 0].size) for s in pixels.sum((0, 2, 3), np.int64)]
    squares = [float(s) / (255**2 * pixels[:, 0].size) for s in (pixels.astype(np.int64) ** 2).sum((0, 2, 3))]
    std = [float(np.sqrt(s - m * m)) for s, m in zip(squares, mean, strict=True)]
    made = []
    for scenes in parts:
        images, masks, boxes, box_labels, largest = zip(*scenes, strict=True)
        made.append(
            DigitScenes(
                "digit-scenes",
                np.stack(images),
                np.array(largest),
                tuple("0123456789"),
                tuple(mean),
                tuple(std),
                boxes,
                box_labels,
                np.stack(masks),
            )  # fmt: skip
        )
    return made[0], made[1]


def scales(size: int) -> list[int]:
    """Sides of the squares that digits are drawn in, in a scene of that size."""
    sides = [SMALLEST]
    while sides[-1] * 3 // 2 <= size * 3 // 4:
        sides.append(sides[-1] * 3 // 2)
    return sides


def _scene(scans, labels, size: int, channels: int, seed: int, part: int, i: int):
    """Image uint8 (C, size, size), mask uint8 (size, size), boxes int64 (k, 4), their labels int64 (k,), the largest's label."""
    most = 4 + MOST_DIGITS * (5 + 2 * ATTEMPTS)  # numbers that are drawn
    numbers = iter(np.random.Philox(key=seed, counter=[0, i, part, size]).random_raw(most).tolist())

    def draw(n: int) -> int:
        return (next(numbers) >> 32) % n

    sides = scales(size)
    count = 1 + draw(min(MOST_DIGITS, len(sides)))
    chosen = [sides.pop(draw(len(sides))) for _ in range(count)]  # no two alike: one is the largest
    image = np.empty((3, size, size), np.uint16)
    image[...] = [[[draw(96)]] for _ in range(3)]
    mask = np.zeros((size, size), np.uint8)
    owner = np.zeros((size, size), np.uint8)  # 0, or 1 + the place in the lists below
    boxes: list[list[int]] = []
    box_labels: list[int] = []
    placed: list[int] = []  # sides
    wholes: list[int] = []  # pixels of each digit, covered or not
    in_sight: list[int] = []
    for side in chosen:
        scan = draw(len(scans))
        color = np.array([[[128 + draw(128)]] for _ in range(3)], np.uint16)
        ink = bilinear(scans[scan], side).astype(np.uint16)
        own = ink >= INK
        for _ in range(ATTEMPTS):
            top, left = draw(size - side + 1), draw(size - side + 1)
            window = np.s_[..., top : top + side, left : left + side]
            covered = np.bincount(owner[window][own], minlength=len(boxes) + 1)[1:].tolist()
            remaining = [seen - lost for seen, lost in zip(in_sight, covered, strict=True)]
            if all(3 * seen >= 2 * whole for seen, whole in zip(remaining, wholes, strict=True)):
                break
        else:
            continue
        image[window] = (image[window] * (255 - ink) + color * ink + 127) // 255  # at most 65,152: fits into 16 bits
        owner[window][own] = len(boxes) + 1
        mask[window][own] = labels[scan] + 1
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        boxes.append([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1])
        box_labels.append(int(labels[scan]))
        placed.append(side)
        wholes.append(int(own.sum()))
        in_sight = [*remaining, wholes[-1]]
    largest = box_labels[placed.index(max(placed))]
    return image[:channels].astype(np.uint8), mask, np.array(boxes, np.int64), np.array(box_labels, np.int64), largest
