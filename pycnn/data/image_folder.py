"""Pictures in folders, one folder per class, as ImageNet's: decoded when asked for, by Pillow.

What comes out is always RGB: grey is repeated, palettes are looked up, CMYK is converted, alpha is dropped, 16-bit grey keeps
its upper 8 bits, of an animation the first frame is taken. The orientation in EXIF data is ignored. All this as torchvision's
``ImageFolder`` does it (but for 16 bit, which it clips), since accuracies of published weights are measured so.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .dataset import CorruptImage, DataError, LabeledImages, per_channel

# Formats of Pillow that may be read, with the endings that files of classes are found by.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "WEBP": (".webp",),
}
MOST_PIXELS = 1 << 26  # 67 million: 200 MB of RGB; a file of a few kB can announce far more
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of 0 … 1


def read_image(path: str | Path, formats: Sequence[str] = tuple(FORMATS), max_pixels: int = MOST_PIXELS) -> np.ndarray:
    """A picture as uint8 (3, H, W), a view of (H, W, 3) memory.

    Args:
        path: the file.
        formats: what Pillow may take it for, by its content: of JPEG, PNG, BMP, GIF, PPM, WEBP.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        DataError: the file cannot be read.
        CorruptImage: it is damaged, of another format, or too large.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        with Image.open(io.BytesIO(content), formats=list(formats)) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(f"{image.width}×{image.height} pixels, at most {max_pixels:,} are decoded")
            if image.mode == "F":
                raise ValueError("its pixels are floating-point numbers")
            if image.mode.startswith("I"):  # 16-bit grey; convert() would clip it at 255
                rgb = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
            else:
                rgb = image.convert("RGB")
    except Image.UnidentifiedImageError as error:
        raise CorruptImage(f"{path}: not an image of the formats {', '.join(formats)}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise CorruptImage(f"{path}: {error or type(error).__name__}") from error
    return np.asarray(rgb).transpose(2, 0, 1)


class ImageFolder(LabeledImages):
    """The pictures below ``root/<class>/``, in the order of their paths; nothing is decoded before it is asked for.

    Files are found by their endings (and names with a leading dot left out), and decoded by their contents.

    Args:
        root: the folder with a folder per class.
        classes: their names, in the order of the labels; left out, all folders, sorted. Give a validation part the training
            part's.
        formats: which kinds of file are found and decoded, a subset of JPEG, PNG, BMP, GIF, PPM, WEBP.
        on_error: what a :class:`DataLoader` does with a :class:`CorruptImage`: "raise", or "skip" it with a warning that names
            the file, so that its batch is smaller.
        max_pixels: larger pictures are refused as corrupt before they are decoded.
        mean, std: of the training pixels / 255, one number per channel; ImageNet's if left out.
        name: what it is called; the folder's name if left out.

    Attributes:
        paths: the files, in the order of the labels.

    Raises:
        DataError: there is no such folder, it has no class or no picture, or a folder that is none of `classes`.
        ValueError: a setting is not one of those above.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str] | None = None,
        *,
        formats: Sequence[str] = tuple(FORMATS),
        on_error: str = "raise",
        max_pixels: int = MOST_PIXELS,
        mean: float | Sequence[float] = IMAGENET_MEAN,
        std: float | Sequence[float] = IMAGENET_STD,
        name: str | None = None,
    ):
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        if unknown := [f for f in formats if f not in FORMATS]:
            raise ValueError(f"formats must be of {', '.join(FORMATS)}, got {unknown[0]!r}")
        self.root, self.formats, self.on_error, self.max_pixels = Path(root), tuple(formats), on_error, max_pixels
        self.name = name or self.root.name
        self.mean, self.std = per_channel(mean, 3), per_channel(std, 3)
        found = _class_folders(self.root)
        self.classes = tuple(found if classes is None else classes)
        if foreign := [c for c in found if c not in set(self.classes)]:
            raise DataError(f"{self.root}: the folder {foreign[0]!r} is none of the {len(self.classes)} classes")
        endings = tuple(ending for f in self.formats for ending in FORMATS[f])
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, c in enumerate(self.classes):
            files = _pictures(self.root / c, endings)
            self.paths += files
            labels += [label] * len(files)
        if not labels:
            raise DataError(f"{self.root}: no folder of a class holds a file that ends in {', '.join(endings)}")
        self.labels = np.array(labels, np.int64)

    def image(self, i: int) -> np.ndarray:
        """The i-th picture, decoded anew, uint8 (3, H, W).

        Raises:
            DataError: the file cannot be read.
            CorruptImage: it is no picture that can be used; both name it.
        """
        return read_image(self.paths[i], self.formats, self.max_pixels)

    def where(self, i: int) -> str:
        """The file of the i-th picture."""
        return str(self.paths[i])

    def subset(self, indices) -> ImageFolder:
        """The pictures at `indices`, in that order."""
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        chosen = np.arange(len(self))[indices]
        part.paths, part.labels = [self.paths[i] for i in chosen], self.labels[chosen]
        return part


def load_image_folder(
    root: str | Path, *, formats: Sequence[str] = tuple(FORMATS), on_error: str = "raise", max_pixels: int = MOST_PIXELS
) -> tuple[ImageFolder, ImageFolder]:
    """Training and validation part of a folder in ImageNet's layout, ``train/<class>/*.jpg`` and ``val/<class>/*.jpg``.

    Args:
        root: the folder that holds ``train`` and ``val``.
        formats, on_error, max_pixels: see :class:`ImageFolder`.

    Raises:
        DataError: see :class:`ImageFolder`.
    """
    root = Path(root)
    settings: dict = {"formats": formats, "on_error": on_error, "max_pixels": max_pixels}
    train = ImageFolder(root / "train", name=root.name, **settings)
    return train, ImageFolder(root / "val", train.classes, name=root.name, **settings)


def _class_folders(root: Path) -> list[str]:
    try:
        found = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{root}: cannot be read ({error.strerror}); ImageNet's layout is train/<class>/*.jpg and val/<class>/*.jpg"
        ) from error
    if not found:
        raise DataError(f"{root}: holds no folders; each class must have one, with its pictures in it")
    return found


def _pictures(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files below a folder, sorted; none if it is absent."""
    return sorted(
        Path(place, file)
        for place, _, files in os.walk(folder)
        for file in files
        if file.lower().endswith(endings) and not file.startswith(".")
    )
