"""What is done to images before they become Tensors: names, defaults and results of torchvision's v2 transforms (on pictures of
Pillow), and :class:`PCALighting` and :class:`RandomShift`.

A transform is called as ``t(image, rng)`` with an image (C, H, W), uint8 unless it says otherwise, and a NumPy Generator, and
returns the image to use instead, or a list of them (:class:`TenCrop`). Any function of that form is one. A :class:`DataLoader`
gives each image a generator of its own that depends on seed, epoch and index alone.

Those that only move pixels also have ``batch(images, numbers)`` for images (N, C, H, W) of one size and the first `draws` raw
numbers of each image's generator, uint64 (N, draws): the same result for a whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageEnhance

from .image_folder import MOST_PIXELS

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


class _Mover:
    """Moves pixels: takes `draws` numbers per image, and does all images of a batch alike."""

    draws: ClassVar[int]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        numbers = rng.bit_generator.random_raw(self.draws) if self.draws else np.empty(0, np.uint64)
        return self.batch(image[None], numbers[None])[0]

    def batch(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The same for images (N, C, H, W) with their numbers, uint64 (N, draws)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Compose:
    """One transform after the other.

    Attributes:
        transforms: what to do, in that order. What follows a list of images (:class:`TenCrop`) is done to each of them.
    """

    transforms: Sequence[Any]

    def __post_init__(self):
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def __call__(self, image, rng: np.random.Generator):
        for t in self.transforms:
            image = [t(one, rng) for one in image] if isinstance(image, list) else t(image, rng)
        return image

    @property
    def draws(self) -> int | None:
        """Numbers that an image takes; None if not every transform has ``batch``."""
        draws = 0
        for t in self.transforms:
            if (more := getattr(t, "draws", None)) is None:
                return None
            draws += more
        return draws

    def batch(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The same for images (N, C, H, W) with their numbers, uint64 (N, draws)."""
        for t in self.transforms:
            images, numbers = t.batch(images, numbers[:, : t.draws]), numbers[:, t.draws :]
        return images


@dataclass(frozen=True)
class Resize:
    """Scale to `size`; every source pixel counts when it gets smaller (antialiased), as Pillow does it.

    Attributes:
        size: the length of the shorter side, the longer one following in proportion (rounded down), or (height, width); what
            would make more than 2²⁶ pixels of an image is a ValueError.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"

    def __post_init__(self):
        _check_size("size", self.size)
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}")

    def __call__(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        height, width = image.shape[1:]
        if not isinstance(self.size, int):
            height, width = self.size
        elif height <= width:
            height, width = self.size, int(self.size * width / height)
        else:
            height, width = int(self.size * height / width), self.size
        return _resized(image, height, width, self.interpolation)


@dataclass(frozen=True)
class CenterCrop(_Mover):
    """Cut `size` out of the middle; uint8 or float32.

    Attributes:
        size: side of the square, or (height, width); larger than the image is a ValueError.
    """

    size: int | tuple[int, int]
    draws: ClassVar[int] = 0

    def __post_init__(self):
        _check_size("size", self.size)

    def batch(self, images: np.ndarray, numbers: np.ndarray | None = None) -> np.ndarray:
        """The same for images (N, C, H, W)."""
        height, width = _fitting(self.size, images)
        top, left = (round((had - have) / 2) for had, have in zip(images.shape[2:], (height, width), strict=True))
        return images[:, :, top : top + height, left : left + width]


@dataclass(frozen=True)
class RandomCrop(_Mover):
    """Cut `size` out anywhere, after a margin of zeros was added; uint8 or float32.

    Attributes:
        size: side of the square, or (height, width); larger than the image with its margin is a ValueError.
        padding: width of the margin, on all sides.
    """

    size: int | tuple[int, int]
    padding: int = 0
    draws: ClassVar[int] = 2

    def __post_init__(self):
        _check_size("size", self.size)
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, got {self.padding}")

    def batch(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The same for images (N, C, H, W) with their numbers, uint64 (N, 2)."""
        padded = _padded(images, self.padding)
        height, width = _fitting(self.size, padded)
        tops = _below(numbers[:, 0], padded.shape[2] - height + 1).tolist()
        lefts = _below(numbers[:, 1], padded.shape[3] - width + 1).tolist()
        cut = np.empty_like(padded, shape=(*images.shape[:2], height, width))
        for to, of, top, left in zip(cut, padded, tops, lefts, strict=True):
            to[...] = of[:, top : top + height, left : left + width]
        return cut


@dataclass(frozen=True)
class RandomShift(_Mover):
    """Move by up to `pixels` in y and x; what moves in is 0. uint8 or float32.

    Attributes:
        pixels: the most; as much as a side of the image is a ValueError.
    """

    pixels: int
    draws: ClassVar[int] = 2

    def __post_init__(self):
        if self.pixels < 0:
            raise ValueError(f"pixels must not be negative, got {self.pixels}")

    def batch(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The same for images (N, C, H, W) with their numbers, uint64 (N, 2)."""
        if self.pixels >= min(images.shape[2:]):
            raise ValueError(f"pixels must be less than the image's sides {images.shape[2:]}, got {self.pixels}")
        return RandomCrop((images.shape[2], images.shape[3]), self.pixels).batch(images, numbers)


@dataclass(frozen=True)
class RandomHorizontalFlip(_Mover):
    """Mirror left and right with probability `p`; uint8 or float32.

    Attributes:
        p: 0 … 1.
    """

    p: float = 0.5
    draws: ClassVar[int] = 1

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be 0 … 1, got {self.p}")

    def batch(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The same for images (N, C, H, W) with their numbers, uint64 (N, 1)."""
        mirrored = _fraction(numbers[:, 0]) < self.p
        if len(images) == 1:
            return images[..., ::-1] if mirrored[0] else images
        images = images.copy("K")
        images[mirrored] = images[mirrored][..., ::-1]
        return images


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a part of random area and shape and scale it to `size`: GoogLeNet's augmentation (Szegedy et al. 2015, section 6).

    Ten times a part is drawn that may not fit into the image; then the largest middle part with an allowed shape is taken.

    Attributes:
        size: side of the square, or (height, width).
        scale: the least and the most of the image's area.
        ratio: the least and the most of width / height; its logarithm is uniform.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        _check_size("size", self.size)
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two rising positive numbers, got {(low, high)}")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left, height, width = self.place(image.shape[1], image.shape[2], rng)
        return _resized(image[:, top : top + height, left : left + width], *_pair(self.size))

    def place(self, H: int, W: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part of an image H×W."""
        for _ in range(10):
            area = H * W * _uniform(rng, *self.scale)
            ratio = math.exp(_uniform(rng, math.log(self.ratio[0]), math.log(self.ratio[1])))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= W and 0 < height <= H:
                return _integer(rng, H - height + 1), _integer(rng, W - width + 1), height, width
        if W / H < self.ratio[0]:
            height, width = round(W / self.ratio[0]), W
        elif W / H > self.ratio[1]:
            height, width = H, round(H * self.ratio[1])
        else:
            height, width = H, W
        return (H - height) // 2, (W - width) // 2, height, width


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, in random order, each by a factor of its own.

    Attributes:
        brightness, contrast, saturation: factors are uniform in 1 - value … 1 + value, or between two given numbers.
        hue: shift of the color circle, uniform in -hue … hue of at most 0.5, or between two given numbers.
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0
    hue: float | tuple[float, float] = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation", "hue"):
            low, high = self._range(name)
            least, most = (-0.5, 0.5) if name == "hue" else (0.0, math.inf)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must be within {least} … {most}, got {getattr(self, name)}")

    def _range(self, name: str) -> tuple[float, float]:
        value = getattr(self, name)
        if isinstance(value, tuple):
            return value
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
        return (-value, value) if name == "hue" else (max(0.0, 1 - value), 1 + value)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changes = list(_CHANGES)
        for last in (3, 2, 1):  # Fisher and Yates
            i = _integer(rng, last + 1)
            changes[i], changes[last] = changes[last], changes[i]
        picture = _to_picture(image)
        for name in changes:
            low, high = self._range(name)
            factor = _uniform(rng, low, high)
            if (low, high) != _UNCHANGED[name]:
                picture = _CHANGES[name](picture, factor)
        return _from_picture(picture)


def _change_hue(picture: Image.Image, shift: float) -> Image.Image:
    if picture.mode == "L":
        return picture
    hue, saturation, value = picture.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(shift * 255) % 256)  # uint8 goes round as the circle does
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


_CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    "contrast": lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    "saturation": lambda picture, factor: ImageEnhance.Color(picture).enhance(factor),
    "hue": _change_hue,
}
_UNCHANGED = {"brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": (0.0, 0.0)}


@dataclass(frozen=True)
class PCALighting:
    """Add to all pixels of an image one color, a random mix of the principal components of ImageNet's colors: AlexNet's
    augmentation (Krizhevsky, Sutskever, Hinton 2012, section 4.1). uint8 or float32 (3, H, W) to float32, not clipped.

    The color is Σ αᵢ λᵢ pᵢ, αᵢ normal with deviation `std`. The paper gives neither λ nor p; these are the ones in general use,
    of pixels 0 … 1, from facebookarchive/fb.resnet.torch, datasets/imagenet.lua.

    Attributes:
        std: deviation of α; the paper's is 0.1.
    """

    std: float = 0.1

    EIGENVALUES: ClassVar[tuple[float, ...]] = (0.2175, 0.0188, 0.0045)
    EIGENVECTORS: ClassVar[tuple[tuple[float, ...], ...]] = (  # a row per channel R, G, B, a column per component
        (-0.5675, 0.7192, 0.4009),
        (-0.5808, -0.0045, -0.8140),
        (-0.5836, -0.6948, 0.4203),
    )

    def __post_init__(self):
        if self.std < 0:
            raise ValueError(f"std must not be negative, got {self.std}")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if len(image) != 3:
            raise ValueError(f"PCALighting: the image must have 3 channels, got shape {image.shape}")
        weights = [self.std * _normal(rng) * value for value in self.EIGENVALUES]
        color = [255 * sum(w * p for w, p in zip(weights, row, strict=True)) for row in self.EIGENVECTORS]
        return image + np.array(color, np.float32)[:, None, None]


@dataclass(frozen=True)
class TenCrop:
    """The four corners and the middle, then those of the mirror image (upside down if `vertical_flip`): a list of ten images
    (C, height, width), for testing as AlexNet does (Krizhevsky, Sutskever, Hinton 2012, section 4.1). uint8 or float32.

    Attributes:
        size: side of the square, or (height, width); larger than the image is a ValueError.
        vertical_flip: mirror upside down, instead of left and right.
    """

    size: int | tuple[int, int]
    vertical_flip: bool = False

    def __post_init__(self):
        _check_size("size", self.size)

    def __call__(self, image: np.ndarray, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        return self._five(image) + self._five(image[:, ::-1] if self.vertical_flip else image[:, :, ::-1])

    def _five(self, image: np.ndarray) -> list[np.ndarray]:
        height, width = _fitting(self.size, image)
        bottom, right = image.shape[1] - height, image.shape[2] - width
        corners = [image[:, y : y + height, x : x + width] for y in (0, bottom) for x in (0, right)]
        return [*corners, CenterCrop(self.size).batch(image[None])[0]]


# ---- sizes ----


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _check_size(name: str, size: int | tuple[int, int]) -> None:
    if len(_pair(size)) != 2 or min(_pair(size)) < 1:
        raise ValueError(f"{name} must be positive, one number or (height, width), got {size}")


def _fitting(size: int | tuple[int, int], images: np.ndarray) -> tuple[int, int]:
    """Height and width of a crop that fits into images (…, H, W)."""
    height, width = _pair(size)
    if height > images.shape[-2] or width > images.shape[-1]:
        raise ValueError(f"a crop of {height}×{width} does not fit into {images.shape[-2]}×{images.shape[-1]}")
    return height, width


def _padded(images: np.ndarray, margin: int) -> np.ndarray:
    """Images (N, C, H, W) with a margin of zeros; the memory order stays."""
    if not margin:
        return images
    N, C, H, W = images.shape
    padded = np.zeros_like(images, shape=(N, C, H + 2 * margin, W + 2 * margin))
    padded[:, :, margin : margin + H, margin : margin + W] = images
    return padded


# ---- pictures of Pillow ----


def _to_picture(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or len(image) not in (1, 3):
        raise ValueError(f"the image must be uint8 with 1 or 3 channels, got {image.dtype} {image.shape}")
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def _from_picture(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _resized(image: np.ndarray, height: int, width: int, interpolation: str = "bilinear") -> np.ndarray:
    if image.shape[1:] == (height, width):
        return image
    if height * width > MOST_PIXELS:  # one row of pixels can become so many
        had = "×".join(map(str, image.shape[1:]))
        raise ValueError(f"resizing {had} pixels makes {height}×{width}, more than {MOST_PIXELS:,}")
    return _from_picture(_to_picture(image).resize((width, height), Image.Resampling[interpolation.upper()]))


# ---- random numbers, from raw ones ----


def _fraction(raw):
    """0 … 1, without 1, of raw 64-bit numbers."""
    return (raw >> 11) * 2.0**-53 if isinstance(raw, int) else (raw >> np.uint64(11)) * 2.0**-53


def _below(raw: np.ndarray, n: int) -> np.ndarray:
    """0 … n - 1 of raw numbers, int64."""
    return ((raw >> np.uint64(32)) % np.uint64(n)).astype(np.int64)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * _fraction(int(rng.bit_generator.random_raw()))


def _integer(rng: np.random.Generator, n: int) -> int:
    return (int(rng.bit_generator.random_raw()) >> 32) % n


def _normal(rng: np.random.Generator) -> float:
    """Box and Muller."""
    radius = math.sqrt(-2 * math.log(1 - _uniform(rng, 0, 1)))
    return radius * math.cos(2 * math.pi * _uniform(rng, 0, 1))


__all__ = [
    "CenterCrop", "ColorJitter", "Compose", "PCALighting", "RandomCrop", "RandomHorizontalFlip", "RandomResizedCrop",
    "RandomShift", "Resize", "TenCrop",
]  # fmt: skip
