"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32×32 in color (A. Krizhevsky 2009, Learning multiple
layers of features from tiny images).

Read from the binary version, a record per image: its label (CIFAR-100: the coarse, then the fine one), then 1,024 bytes each
of red, green, blue. The version "for Python" is a pickle, which can run any code, and is not read.
"""

from __future__ import annotations

import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np

from .dataset import DataError, Dataset
from .files import data_folder, download

URLS = ("https://www.cs.toronto.edu/~kriz/",)
PIXELS = 3 * 32 * 32

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Of the 50,000 training images; so are CIFAR-100's.
CIFAR10_MEAN, CIFAR10_STD = (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)

CIFAR100_ARCHIVE = "cifar-100-binary.tar.gz"
CIFAR100_SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
CIFAR100_CLASSES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
    forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
    mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm""".split()
)
CIFAR100_MEAN, CIFAR100_STD = (0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)

# The first training images as lossless pictures: ten PNG of 1000×1024, row r = image r, column = 32·y + x, and their labels.
SHEETS = tuple(f"cifar10_batch_{i:02}.png" for i in range(10))
SHEET_LABELS = "labels_10000.u8"
SHEETS_TRAIN = 8000  # of the 10,000; the rest takes the place of the test images


def load_cifar10(data_dir: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """Training and test part of CIFAR-10, images uint8 (n, 3, 32, 32).

    A folder that holds only the first 10,000 training images, as PNG sheets, is read too, with a warning: 8,000 of them are for
    training and 2,000 for testing, and what is measured on those is not what papers report.

    Args:
        data_dir: a folder with the files (``data_batch_1.bin`` …), with ``cifar-10-binary.tar.gz`` or with the sheets, or one
            with a folder ``cifar10`` of them; the absent archive is downloaded there. Left out: $PYCNN_DATA, else ~/.cache/pycnn.

    Raises:
        DataError: a file is damaged, or absent and cannot be downloaded.
    """
    files = CIFAR10_TRAIN + CIFAR10_TEST
    folder = _folder(data_dir, "cifar10", (files[0], CIFAR10_ARCHIVE, SHEETS[0]))
    if (folder / SHEETS[0]).is_file() and not any((folder / f).is_file() for f in (files[0], CIFAR10_ARCHIVE)):
        return _load_sheets(folder)
    content = _read("cifar10", folder, files, CIFAR10_ARCHIVE, CIFAR10_SHA256)
    parts = [
        _part("cifar10", folder, {f: content[f] for f in part}, 1, CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD)
        for part in (CIFAR10_TRAIN, CIFAR10_TEST)
    ]
    return parts[0], parts[1]


def load_cifar100(data_dir: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """Training and test part of CIFAR-100 with its 100 fine labels; like :func:`load_cifar10`, in a folder ``cifar100``."""
    files = ("train.bin", "test.bin")
    folder = _folder(data_dir, "cifar100", (files[0], CIFAR100_ARCHIVE))
    content = _read("cifar100", folder, files, CIFAR100_ARCHIVE, CIFAR100_SHA256)
    parts = [_part("cifar100", folder, {f: content[f]}, 2, CIFAR100_CLASSES, CIFAR100_MEAN, CIFAR100_STD) for f in files]
    return parts[0], parts[1]


def _folder(data_dir, name: str, files: tuple[str, ...]) -> Path:
    base = data_folder(data_dir)
    return base if any((base / file).is_file() for file in files) else base / name


def _read(name: str, folder: Path, files: tuple[str, ...], archive: str, sha256: str) -> dict[str, bytes]:
    """The contents of `files`, from the folder or from the archive in it, which is downloaded if neither is there."""
    try:
        if (folder / files[0]).is_file():
            return {file: (folder / file).read_bytes() for file in files}
        path = folder / archive
        if not path.is_file():
            advice = f"Put {archive} or {', '.join(files)} into a folder and name it with --data-dir"
            download(name, archive, URLS, sha256, folder, f"{advice}, or use --data digits, which needs no download")
        content = {}
        with tarfile.open(path, "r|gz") as members:  # read as a stream, nothing is unpacked to disk
            for member in members:
                base = Path(member.name).name
                if member.isfile() and base in files:
                    content[base] = members.extractfile(member).read(60000 * (PIXELS + 2))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged archive ({error}); delete it to download it again") from error
    except OSError as error:
        raise DataError(f"{name}: {error.filename or folder} cannot be read ({error.strerror or error})") from error
    if absent := [file for file in files if file not in content]:
        raise DataError(f"{path}: holds no {', '.join(absent)}; delete it to download it again")
    return content


def _part(name, folder, content: dict[str, bytes], label_bytes: int, classes, mean, std) -> Dataset:
    """One part from the records of its files; the last of `label_bytes` is the label."""
    record = label_bytes + PIXELS
    for file, data in content.items():
        if not data or len(data) % record:
            raise DataError(f"{folder / file}: {len(data):,} bytes are not a whole number of records of {record:,}")
        labels = np.frombuffer(data, np.uint8)[label_bytes - 1 :: record]
        if labels.max() >= len(classes):
            raise DataError(f"{folder / file}: label {labels.max()} is not one of 0 … {len(classes) - 1}")
    records = np.concatenate([np.frombuffer(data, np.uint8).reshape(-1, record) for data in content.values()])
    images = np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32)
    return Dataset(name, images, records[:, label_bytes - 1].astype(np.int64), classes, mean, std)


def _load_sheets(folder: Path) -> tuple[Dataset, Dataset]:
    from .image_folder import read_image

    images = []
    for sheet in SHEETS:
        pixels = read_image(folder / sheet, formats=("PNG",))
        if pixels.shape != (3, 1000, 1024):
            raise DataError(f"{folder / sheet}: shape {pixels.shape}, must be (3, 1000, 1024)")
        images.append(pixels.transpose(1, 0, 2).reshape(1000, 3, 32, 32))
    try:
        labels = np.frombuffer((folder / SHEET_LABELS).read_bytes(), np.uint8).astype(np.int64)
    except OSError as error:
        raise DataError(f"{folder / SHEET_LABELS} cannot be read ({error.strerror})") from error
    warnings.warn(
        f"{folder} holds the first 10,000 training images of CIFAR-10 and no test images: {SHEETS_TRAIN:,} are for training, the "
        f"other {10000 - SHEETS_TRAIN:,} for testing; accuracies are not comparable with published ones",
        stacklevel=4,  # of whoever called load()
    )
    everything = Dataset("cifar10", np.concatenate(images), labels, CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD)
    return everything.subset(slice(SHEETS_TRAIN)), everything.subset(slice(SHEETS_TRAIN, None))
