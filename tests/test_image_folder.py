"""Folders of pictures: layout, decoding to RGB, what is refused, and the loader over them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pycnn
from pycnn.data import CorruptImage, DataError, DataLoader, ImageFolder, read_image
from pycnn.data.transforms import CenterCrop, Compose, RandomHorizontalFlip, RandomResizedCrop, Resize


def pixels(seed: int, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """ImageNet's layout: classes ape and bee, 3 and 2 training pictures of several sizes, 1 validation picture."""
    for i, name in enumerate(["ape/2.png", "ape/10.jpg", "ape/more/a.JPEG", "bee/1.bmp", "bee/2.webp"]):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i, 20 + 4 * i)).save(path)
    (tmp_path / "train" / "bee" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "bee" / "._1.bmp").write_text("nor this")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "val" / "bee").mkdir(parents=True)
    Image.fromarray(pixels(9)).save(tmp_path / "val" / "bee" / "1.png")
    return tmp_path


def test_layout(folder):
    train, val = pycnn.data.load(folder)
    assert train.classes == val.classes == ("ape", "bee") and train.name == folder.name
    assert [str(p.relative_to(folder / "train")) for p in train.paths] == [
        "ape/10.jpg", "ape/2.png", "ape/more/a.JPEG", "bee/1.bmp", "bee/2.webp",
    ]  # fmt: skip
    assert train.labels.tolist() == [0, 0, 0, 1, 1] and train.labels.dtype == np.int64 and val.labels.tolist() == [1]
    np.testing.assert_array_equal(train.image(1), pixels(0, 20).transpose(2, 0, 1))
    np.testing.assert_array_equal(train.image(3), pixels(3, 32).transpose(2, 0, 1))
    x, label = val[0]
    assert label == 1 and x.dtype == np.float32 and train.where(3).endswith("bee/1.bmp")
    np.testing.assert_allclose(x[0], (pixels(9)[..., 0] / 255 - 0.485) / 0.229, atol=1e-6)
    part = train.subset([3, 0])
    assert len(part) == 2 and part.labels.tolist() == [1, 0] and part.where(0) == train.where(3)
    assert len(ImageFolder(folder / "train", formats=("PNG", "BMP"))) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "train").rename(f / "training"), r"train: cannot be read .* layout is train/<class>/\*.jpg"),
        (lambda f: (f / "val" / "cat").mkdir(), "val: the folder 'cat' is none of the 2 classes"),
        (lambda f: (f / "val" / "bee" / "1.png").unlink(), "val: no folder of a class holds a file that ends in .jpg"),
        (lambda f: [(f / "val" / "bee" / "1.png").unlink(), (f / "val" / "bee").rmdir()], "val: holds no folders"),
    ],
)
def test_another_layout_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(DataError, match=message):
        pycnn.data.load(str(folder))


def test_senseless_settings_are_refused(folder):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        ImageFolder(folder / "train", on_error="ignore")
    with pytest.raises(ValueError, match="formats must be of JPEG, .*, got 'TIFF'"):
        ImageFolder(folder / "train", formats=("TIFF",))
    with pytest.raises(DataError, match="no data set .*absent"):
        pycnn.data.load(folder / "absent")


# ---- decoding ----


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(pixels(0)).convert(mode)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path, **({"quality": 100} if mode == "CMYK" else {}))
    array = read_image(path)
    assert array.shape == (3, 20, 24) and array.dtype == np.uint8
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.abs(array.astype(int) - expected).mean() <= (12 if mode == "CMYK" else 0)


def test_alpha_is_dropped_and_16_bit_grey_keeps_its_upper_8(tmp_path):
    rgba = np.dstack([pixels(0), np.zeros((20, 24), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), pixels(0).transpose(2, 0, 1))
    grey = np.random.default_rng(0).integers(0, 65536, (5, 6)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.broadcast_to(grey >> 8, (3, 5, 6)))


def test_orientation_in_exif_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(0)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (3, 20, 24)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces width × height pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BAD = {
    "empty.jpg": (b"", "empty.jpg: not an image of the formats JPEG, PNG"),
    "text.jpg": (b"hello" * 99, "text.jpg: not an image of the formats"),
    "bomb.png": (bomb(9000, 9000), "bomb.png: 9000×9000 pixels, at most 67,108,864 are decoded"),
    "large_bomb.png": (bomb(60000, 60000), r"large_bomb.png: Image size \(3600000000 pixels\) exceeds"),
    "short.png": (bomb(500, 500), "short.png: "),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused_by_name(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptImage, match=message):
        read_image(tmp_path / name)


def test_truncated_and_foreign_files_are_refused_by_name(tmp_path):
    Image.fromarray(pixels(0, 200, 200)).save(tmp_path / "x.jpg")
    whole = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptImage, match="half.jpg: .*truncated"):
        read_image(tmp_path / "half.jpg")
    Image.fromarray(pixels(0)).save(tmp_path / "x.tiff")
    (tmp_path / "tiff.png").write_bytes((tmp_path / "x.tiff").read_bytes())
    with pytest.raises(CorruptImage, match="tiff.png: not an image of the formats"):
        read_image(tmp_path / "tiff.png")
    with pytest.raises(CorruptImage, match="x.jpg: not an image of the formats PNG"):
        read_image(tmp_path / "x.jpg", formats=("PNG",))
    with pytest.raises(CorruptImage, match="x.jpg: 200×200 pixels, at most 100 are decoded"):
        read_image(tmp_path / "x.jpg", max_pixels=100)
    with pytest.raises(DataError, match="absent.jpg: cannot be read") as caught:
        read_image(tmp_path / "absent.jpg")
    assert not isinstance(caught.value, CorruptImage)  # a disk that fails is no reason to skip


# ---- in the loader ----


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_loader_decodes_the_same_with_any_workers(folder, workers):
    train, _ = pycnn.data.load(folder)
    transform = Compose([RandomResizedCrop(16), RandomHorizontalFlip()])
    expected = [(x.numpy(), y.numpy()) for _ in range(2) for x, y in DataLoader(train, 2, True, 1, transform)]
    batches = [(x.numpy(), y.numpy()) for _ in range(2) for x, y in DataLoader(train, 2, True, 1, transform, workers=workers)]
    assert [len(y) for _, y in batches] == [2, 2, 1] * 2 and batches[0][0].shape == (2, 3, 16, 16)
    for got, want in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_are_raised_or_skipped_by_name(folder, workers):
    (folder / "train" / "ape" / "10.jpg").write_bytes(b"hello")
    transform = Compose([Resize(16), CenterCrop(16)])
    train, _ = pycnn.data.load(folder)
    with pytest.raises(CorruptImage, match="ape/10.jpg: not an image"):
        list(DataLoader(train, 2, transform=transform, workers=workers))
    train, _ = pycnn.data.load(folder, on_error="skip")
    loader = DataLoader(train, 2, transform=transform, workers=workers)
    with pytest.warns(UserWarning, match="skipped .*ape/10.jpg: not an image"):
        labels = [y.numpy().tolist() for _, y in loader]
    assert labels == [[0], [0, 1], [1]] and list(loader.skipped) == [0] and loader.epoch == 1
    alone = DataLoader(train.subset([0]), transform=transform)
    with pytest.warns(UserWarning, match="skipped"):
        assert list(alone) == [] and alone.epoch == 1
    (folder / "train" / "ape" / "10.jpg").unlink()
    with pytest.raises(DataError, match="10.jpg: cannot be read"):
        list(loader)


def test_pictures_of_several_sizes_need_a_transform(folder):
    train, _ = pycnn.data.load(folder)
    with pytest.raises(DataError, match=r"a.JPEG|2.png: its shape is .* such as Compose\(\[Resize\(256\), CenterCrop\(224\)\]\)"):
        list(DataLoader(train, 5))
