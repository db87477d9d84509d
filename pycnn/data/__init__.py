"""Data sets, transforms, and the loader that cuts them into batches.

``train, test = pycnn.data.load("digits")`` and "digit-scenes" need no download; "mnist", "fashion-mnist", "cifar10" and
"cifar100" are read from their files; any other folder of pictures is read in ImageNet's layout.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from . import transforms
from .cifar import load_cifar10, load_cifar100
from .dataset import CorruptImage, DataError, Dataset, LabeledImages
from .digit_scenes import DigitScenes, load_digit_scenes
from .digits import load_digits
from .image_folder import ImageFolder, load_image_folder, read_image
from .loader import DataLoader
from .mnist import load_fashion_mnist, load_mnist

DATASETS: dict[str, Callable[..., tuple[LabeledImages, LabeledImages]]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "digit-scenes": load_digit_scenes,
}


def list_datasets() -> list[str]:
    """Names that :func:`load` knows."""
    return list(DATASETS)


def load(name: str | Path, **options) -> tuple:
    """The training and the test part of a data set, each a :class:`LabeledImages`.

    Args:
        name: "digits" (1,797 scans, shipped with pycnn) and "mnist", "fashion-mnist" with images uint8 (n, 1, 32, 32); "cifar10",
            "cifar100" (n, 3, 32, 32); "digit-scenes" (n, 3, 64, 64), see :class:`DigitScenes`; or the path of a folder with
            ``train/<class>/`` and ``val/<class>/``, see :func:`load_image_folder`.
        options: `split` for digits ("stratified" or "last360"); `size`, `n`, `channels`, `seed` for digit-scenes; `formats`,
            `on_error`, `max_pixels` for a folder; `data_dir` for the others (see :func:`load_mnist`).

    Raises:
        DataError: there is no data set of that name, a file is absent and cannot be downloaded, or a file is damaged.
    """
    if name in DATASETS:
        return DATASETS[str(name)](**options)
    if Path(name).is_dir():
        return load_image_folder(name, **options)
    near = difflib.get_close_matches(str(name), DATASETS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(f"there is no data set {str(name)!r}; {hint}There are {', '.join(DATASETS)}, and folders of pictures")


__all__ = [
    "CorruptImage", "DataError", "DataLoader", "Dataset", "DigitScenes", "ImageFolder", "LabeledImages", "list_datasets", "load",
    "load_cifar10", "load_cifar100", "load_digit_scenes", "load_digits", "load_fashion_mnist", "load_image_folder", "load_mnist",
    "read_image", "transforms",
]  # fmt: skip
