"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28×28, in IDX files, gzipped or not.

MNIST: LeCun, Cortes, Burges (1998). Fashion-MNIST: Xiao, Rasul, Vollgraf (2017), arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from .dataset import DataError, Dataset
from .files import data_folder, download

MOST_BYTES = 1 << 30  # a header that announces more than this is not believed
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
ADVICE = (
    f"Put {', '.join(FILES)} (.gz or not) into a folder and name it with --data-dir, "
    "or use --data digits, which needs no download"
)
# Mirrors, and the sha256 of each .gz, in the order of FILES.
MNIST_URLS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
MNIST_SHA256 = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
FASHION_URLS = ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",)
FASHION_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)
FASHION_CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def load_mnist(data_dir: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """Training and test part of MNIST, padded from 28×28 to 32×32 (LeNet-5's input).

    Args:
        data_dir: a folder with the four files, or one with a folder ``mnist`` of them; absent files are downloaded
            there. Left out: $PYCNN_DATA, else ~/.cache/pycnn.

    Raises:
        DataError: a file is damaged, or absent and cannot be downloaded.
    """
    return _load("mnist", data_dir, MNIST_URLS, MNIST_SHA256, tuple("0123456789"), mean=0.1306605, std=0.3081078)


def load_fashion_mnist(data_dir: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """Training and test part of Fashion-MNIST; like :func:`load_mnist`, in a folder ``fashion-mnist``."""
    return _load("fashion-mnist", data_dir, FASHION_URLS, FASHION_SHA256, FASHION_CLASSES, mean=0.2860406, std=0.3530242)


def _load(name, data_dir, urls, sha256, classes, mean, std) -> tuple[Dataset, Dataset]:
    base = data_folder(data_dir)
    folder = base if any(_find(base, file) for file in FILES) else base / name
    paths = [
        _find(folder, file) or download(name, file + ".gz", urls, digest, folder, ADVICE)
        for file, digest in zip(FILES, sha256, strict=True)
    ]

    def part(images_path: Path, labels_path: Path) -> Dataset:
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if images.shape[1:] != (28, 28):
            raise DataError(f"{images_path}: the images are {images.shape[1]}×{images.shape[2]}, must be 28×28")
        if len(images) != len(labels):
            raise DataError(f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels")
        if labels.size and labels.max() >= len(classes):
            raise DataError(f"{labels_path}: label {labels.max()} is not one of 0 … {len(classes) - 1}")
        return Dataset(name, np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None], labels.astype(np.int64), classes, mean, std)

    return part(*paths[:2]), part(*paths[2:])


def _find(folder: Path, file: str) -> Path | None:
    """The file as it comes, unpacked, or with a dot before idx as some archives spell it."""
    for name in (file, file.replace("-idx", ".idx")):
        for path in (folder / name, folder / (name + ".gz")):
            if path.is_file():
                return path
    return None


def read_idx(path: str | Path, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not.

    The format: two zero bytes, 0x08 for uint8, the rank, one big-endian uint32 per extent, the values in C order.

    Raises:
        DataError: it is not an IDX file of uint8 and that rank, or its length is not what its header says.
    """
    path = Path(path)
    try:
        with open(path, "rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if gzipped else open(path, "rb") as file:
            header = file.read(4 + 4 * rank)
            if len(header) < 4 + 4 * rank or header[:4] != bytes([0, 0, 8, rank]):
                raise DataError(f"{path}: not an IDX file of uint8 with {rank} axes (it starts with {header[:4].hex(' ')})")
            shape = struct.unpack(f">{rank}I", header[4:])
            size = int(np.prod([int(n) for n in shape], dtype=object))
            if size > MOST_BYTES:
                raise DataError(f"{path}: the header announces {size:,} bytes, at most {MOST_BYTES:,} are read")
            values = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); delete it to download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(values) != size:
        more = "more" if len(values) > size else f"{len(values):,}"
        raise DataError(f"{path}: the header announces {size:,} bytes of shape {shape}, the file holds {more}")
    return np.frombuffer(values, np.uint8).reshape(shape)
