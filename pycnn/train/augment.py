"""What happens to images before the net sees them: the transforms that a run's settings ask for."""

from __future__ import annotations

from collections.abc import Callable

from ..data import transforms
from .config import Config, RunError


def train_transform(config: Config, resize: int | None, image: tuple[int, ...]) -> Callable | None:
    """Augmentation, in this order: size, crop, shift, mirror image, colours; None if nothing is to be done.

    Args:
        config: the settings.
        resize: height and width every image is first resized to.
        image: (C, H, W) of the data set's images; a padded crop is of that size unless the settings say another.
    """
    steps: list[Callable] = [transforms.Resize((resize, resize))] if resize else []
    crop = config.train_crop_size or resize or (image[1], image[2])
    if config.train_resize_size:
        steps += [transforms.Resize(config.train_resize_size), transforms.RandomCrop(crop, config.random_crop_padding)]
    elif config.random_crop_padding:
        steps.append(transforms.RandomCrop(crop, config.random_crop_padding))
    elif config.train_crop_size:
        steps.append(transforms.RandomResizedCrop(crop))
    if config.shift:
        steps.append(transforms.RandomShift(config.shift))
    if config.hflip_prob:
        steps.append(transforms.RandomHorizontalFlip(config.hflip_prob))
    if config.color_jitter:
        strength = config.color_jitter
        steps.append(transforms.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    if config.pca_lighting:
        steps.append(transforms.PCALighting(config.pca_lighting))
    return transforms.Compose(steps) if steps else None


def eval_sizes(config: Config) -> tuple[int | None, int | None]:
    """What the shorter side of test images is resized to, and the size of the crop from their middle.

    A net that learned from crops is tested on crops of that size; what is resized is larger by torchvision's 256 / 224.
    """
    crop = config.val_crop_size or config.train_crop_size
    return config.val_resize_size or (round(crop * 256 / 224) if crop and not config.random_crop_padding else None), crop


def eval_transform(config: Config, resize: int | None, ten_crop: bool = False) -> Callable | None:
    """Resizing and a crop from the middle, as the settings `config` say, after resizing to `resize` × `resize`; with `ten_crop`,
    ten crops in its place: the corners, the middle, and their mirror images."""
    steps: list[Callable] = [transforms.Resize((resize, resize))] if resize else []
    shorter, crop = eval_sizes(config)
    if shorter:
        steps.append(transforms.Resize(shorter))
    if ten_crop and not crop:
        raise RunError("ten crops need their size: --val-crop-size (and --val-resize-size, the shorter side they are taken from)")
    if crop:
        steps.append(transforms.TenCrop(crop) if ten_crop else transforms.CenterCrop(crop))
    return transforms.Compose(steps) if steps else None
