"""Transforms: what each does, that it draws what it should, and torchvision's results where it has the same one."""

from __future__ import annotations

import numpy as np
import pytest
from model_checks import torchvision_models
from PIL import Image

from pycnn.data import transforms
from pycnn.data.streams import image_stream
from pycnn.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    PCALighting,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomShift,
    Resize,
    TenCrop,
)


def stream(i: int = 0) -> np.random.Generator:
    return image_stream(0, 0, i)


def picture(C: int = 3, H: int = 40, W: int = 50) -> np.ndarray:
    """Smooth shapes with some noise, uint8 (C, H, W)."""
    y, x = np.mgrid[:H, :W]
    waves = np.stack([128 + 90 * np.sin(x / (5 + c) + y / (9 - c)) for c in range(C)])
    return (waves + np.random.default_rng(0).integers(-20, 20, (C, H, W))).clip(0, 255).astype(np.uint8)


EACH = [
    Resize(20),
    CenterCrop(20),
    RandomCrop(32, padding=4),
    RandomShift(3),
    RandomHorizontalFlip(),
    RandomResizedCrop(24),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
    PCALighting(),
    Compose([RandomCrop(20), RandomHorizontalFlip()]),
]


@pytest.mark.parametrize("t", EACH, ids=repr)
def test_what_is_drawn_depends_on_the_stream_alone(t):
    image = picture()
    before = image.copy()
    results = [t(image, stream(i)) for i in range(12)]
    for i in (3, 0):
        np.testing.assert_array_equal(t(image, stream(i)), results[i])
    np.testing.assert_array_equal(image, before)
    different = any(not np.array_equal(results[0], r) for r in results)
    assert different != isinstance(t, Resize | CenterCrop)
    assert eval(repr(t)) == t  # checkpoints tell transforms apart by it


@pytest.mark.parametrize("t", [t for t in EACH if getattr(t, "draws", None) is not None], ids=repr)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_are_done_as_single_images(t, dtype):
    images = np.random.default_rng(1).integers(0, 256, (9, 3, 33, 36)).astype(dtype)
    numbers = np.stack([stream(i).bit_generator.random_raw(t.draws or 1)[: t.draws] for i in range(9)])
    for batch in (images, images.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)):
        together = t.batch(batch, numbers)
        assert together.dtype == dtype
        for i in range(9):
            np.testing.assert_array_equal(together[i], t(images[i], stream(i)))


def test_random_crop_reaches_every_place_once_padded():
    image = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    seen = {RandomCrop(4, padding=1)(image, stream(i)).tobytes() for i in range(400)}
    assert seen == {padded[0, y : y + 4, x : x + 4].tobytes() for y in range(4) for x in range(4)}
    assert len({RandomCrop((5, 2))(image, stream(i)).tobytes() for i in range(100)}) == 4


def test_random_shift_moves_zeros_in():
    image = np.arange(1, 31, dtype=np.uint8).reshape(1, 5, 6)
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
    seen = {RandomShift(2)(image, stream(i)).tobytes() for i in range(600)}
    assert seen == {padded[0, y : y + 5, x : x + 6].tobytes() for y in range(5) for x in range(5)}
    with pytest.raises(ValueError, match=r"pixels must be less than the image's sides \(5, 6\), got 5"):
        RandomShift(5)(image, stream())


def test_flip_mirrors_half_of_the_images():
    image = picture()
    mirrored = [np.array_equal(RandomHorizontalFlip()(image, stream(i)), image[:, :, ::-1]) for i in range(1000)]
    assert 440 < sum(mirrored) < 560
    np.testing.assert_array_equal(RandomHorizontalFlip(1)(image, stream()), image[:, :, ::-1])
    np.testing.assert_array_equal(RandomHorizontalFlip(0)(image, stream()), image)


def test_random_resized_crop_draws_area_and_shape_as_asked():
    t = RandomResizedCrop(24)
    places = np.array([t.place(300, 400, stream(i)) for i in range(2000)])
    top, left, height, width = places.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 300).all() and (left + width <= 400).all()
    area, ratio = height * width / 120000, np.log(width / height)
    assert area.min() < 0.1 and area.max() > 0.95 and (np.histogram(area, 9, (0.08, 0.8))[0] > 100).all()
    assert abs(ratio).max() < np.log(4 / 3) + 0.02 and (np.histogram(ratio, 8, (-0.28, 0.28))[0] > 130).all()
    assert t.place(10, 400, stream()) == (0, 193, 10, 13)  # nothing that is drawn fits: the middle, 4:3
    assert t.place(400, 10, stream()) == (193, 0, 13, 10)
    assert t(picture(), stream()).shape == (3, 24, 24)


def test_pca_lighting_adds_one_color_of_the_right_spread():
    image = picture()
    added = np.stack([PCALighting()(image, stream(i)) - image for i in range(3000)])
    assert added.dtype == np.float32 and np.ptp(added, axis=(2, 3)).max() < 1e-4
    colors = added[:, :, 0, 0].astype(np.float64) / 255
    vectors = np.array(PCALighting.EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-4)
    alphas = colors @ vectors / PCALighting.EIGENVALUES
    np.testing.assert_allclose(alphas.std(0), 0.1, rtol=0.05)
    assert abs(alphas.mean(0)).max() < 0.01 and abs(np.corrcoef(alphas.T) - np.eye(3)).max() < 0.06
    np.testing.assert_array_equal(PCALighting(0)(image, stream()), image)


def test_ten_crop_is_corners_middle_and_their_mirror_images():
    image = picture(H=9, W=12)
    crops = TenCrop((4, 6))(image)
    corners = [image[:, :4, :6], image[:, :4, 6:], image[:, 5:, :6], image[:, 5:, 6:], image[:, 2:6, 3:9]]
    mirror = image[:, :, ::-1]
    corners += [mirror[:, :4, :6], mirror[:, :4, 6:], mirror[:, 5:, :6], mirror[:, 5:, 6:], mirror[:, 2:6, 3:9]]
    for crop, expected in zip(crops, corners, strict=True):
        np.testing.assert_array_equal(crop, expected)
    assert [c.shape for c in Compose([TenCrop(8), Resize(4)])(image, stream())] == [(3, 4, 4)] * 10


def test_color_jitter_leaves_alone_what_is_not_asked_for():
    np.testing.assert_array_equal(ColorJitter()(picture(), stream()), picture())
    grey = picture(C=1)
    np.testing.assert_array_equal(ColorJitter(saturation=0.9, hue=0.5)(grey, stream()), grey)
    assert not np.array_equal(ColorJitter(brightness=0.9)(grey, stream()), grey)
    brighter = ColorJitter(brightness=(2.0, 2.0))(picture(), stream())
    np.testing.assert_array_equal(brighter, np.minimum(2 * picture().astype(int), 255))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(0), "size must be positive"),
        (lambda: RandomCrop((3, -1)), "size must be positive"),
        (lambda: RandomCrop(3, padding=-1), "padding must not be negative"),
        (lambda: RandomShift(-1), "pixels must not be negative"),
        (lambda: RandomHorizontalFlip(1.5), "p must be 0 … 1"),
        (lambda: RandomResizedCrop(3, scale=(0.5, 0.1)), "scale must be two rising positive numbers"),
        (lambda: ColorJitter(brightness=-1), "brightness must not be negative"),
        (lambda: ColorJitter(hue=0.6), "hue must be within -0.5 … 0.5"),
        (lambda: PCALighting(-0.1), "std must not be negative"),
        (lambda: CenterCrop(41)(picture(), stream()), "a crop of 41×41 does not fit into 40×50"),
        (lambda: TenCrop(41)(picture()), "a crop of 41×41 does not fit into 40×50"),
        (lambda: PCALighting()(picture(C=1), stream()), "must have 3 channels"),
        (lambda: Resize(9)(picture().astype(np.float32)), "must be uint8 with 1 or 3 channels, got float32"),
    ],
)
def test_senseless_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- torchvision ----


@pytest.fixture(scope="module")
def torchvision_functional():
    torchvision_models()
    from torchvision.transforms import functional

    return functional


@pytest.mark.parametrize("shape", [(3, 40, 50), (3, 51, 33), (1, 40, 50)])
def test_results_are_torchvisions(torchvision_functional, shape):
    F = torchvision_functional
    image = picture(*shape)
    pil = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0).copy())

    def same(mine, theirs):
        theirs = np.asarray(theirs)
        np.testing.assert_array_equal(mine, theirs[None] if theirs.ndim == 2 else theirs.transpose(2, 0, 1))

    for size in (20, 64, (17, 23)):
        same(Resize(size)(image), F.resize(pil, size))
    for size in (20, 21, (33, 30)):
        same(CenterCrop(size)(image, stream()), F.center_crop(pil, size))
        for mine, theirs in zip(TenCrop(size)(image), F.ten_crop(pil, size), strict=True):
            same(mine, theirs)
    for vertical in TenCrop(20, vertical_flip=True)(image)[9:]:
        same(vertical, F.ten_crop(pil, 20, vertical_flip=True)[9])
    place = RandomResizedCrop(24).place(*shape[1:], stream(3))
    same(RandomResizedCrop(24)(image, stream(3)), F.resized_crop(pil, *place, (24, 24)))
    for name, factors in {"brightness": (0.3, 1.7), "contrast": (0.3, 1.7), "saturation": (0.0, 2.0), "hue": (-0.4, 0.2)}.items():
        for factor in factors:
            same(ColorJitter(**{name: (factor, factor)})(image, stream()), getattr(F, f"adjust_{name}")(pil, factor))


def test_names_and_arguments_are_torchvisions(torchvision_functional):
    import inspect

    from torchvision.transforms import v2

    for name in transforms.__all__:
        if hasattr(v2, name):
            mine, theirs = (inspect.signature(getattr(module, name)).parameters for module in (transforms, v2))
            for argument in mine:
                default, expected = mine[argument].default, theirs[argument].default
                assert default == expected or {default, expected} <= {None, 0}, f"{name}({argument})"
