"""Data sets and the loader that cuts them into batches.

``train, test = pycnn.data.load("digits")`` needs no download; "mnist" and "fashion-mnist" read IDX files.
"""

from __future__ import annotations

import difflib

from .dataset import DataError, Dataset
from .digits import load_digits
from .loader import DataLoader
from .mnist import load_fashion_mnist, load_mnist

DATASETS = {"digits": load_digits, "mnist": load_mnist, "fashion-mnist": load_fashion_mnist}


def list_datasets() -> list[str]:
    """Names that :func:`load` knows."""
    return list(DATASETS)


def load(name: str, **options) -> tuple[Dataset, Dataset]:
    """The training and the test part of a data set, images uint8 (n, 1, 32, 32).

    Args:
        name: "digits" (1,797 scans, shipped with pycnn), "mnist" or "fashion-mnist".
        options: `split` for digits ("stratified" or "last360"), `data_dir` for the others (see :func:`load_mnist`).

    Raises:
        DataError: there is no data set of that name, a file is absent and cannot be downloaded, or a file is damaged.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"there is no data set {name!r}; {hint}There are {', '.join(DATASETS)}")
    return DATASETS[name](**options)


__all__ = ["DataError", "DataLoader", "Dataset", "list_datasets", "load", "load_digits", "load_fashion_mnist", "load_mnist"]
