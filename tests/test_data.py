"""Data sets, the IDX reader, downloads (from a stand-in for the network) and the loader."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn.data import DataError, DataLoader, Dataset, digits, mnist
from pycnn.data.loader import shift_images

SHARED = os.environ.get("PYCNN_DATA")


# ---- digits ----


def test_digits_are_the_uci_test_file():
    train, test = pycnn.data.load("digits")
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (1437, 1, 32, 32) and train.images.dtype == np.uint8
    images, labels, _ = digits._files()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.max() == 16 and images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_stratified_split_is_what_its_script_makes():
    _, labels, committed = digits._files()
    shuffle = np.random.RandomState(0).permutation
    share = np.bincount(labels) * 360 / 1797
    count = np.floor(share).astype(int)
    count[np.argsort(count - share, kind="stable")[: 360 - count.sum()]] += 1
    test = np.sort(np.concatenate([shuffle(np.flatnonzero(labels == c))[: count[c]] for c in range(10)]))
    np.testing.assert_array_equal(committed, test)


def test_last360_split_is_the_end_of_the_file():
    _, labels, _ = digits._files()
    train, test = pycnn.data.load("digits", split="last360")
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)
    with pytest.raises(DataError, match="no split 'half'; there are stratified, last360"):
        pycnn.data.load("digits", split="half")


def test_enlarging_is_bilinear_and_exact():
    scans = np.random.default_rng(0).integers(0, 17, (5, 8, 8))
    size = 28
    at = np.clip((np.arange(size) + 0.5) * 8 / size - 0.5, 0, 7)
    columns = np.stack([[np.interp(at, range(8), row) for row in scan] for scan in scans])
    expected = np.stack([np.array([np.interp(at, range(8), column) for column in scan.T]).T for scan in columns])
    images = digits.enlarge(scans, size)
    assert images.shape == (5, 1, 32, 32)
    np.testing.assert_allclose(images[:, 0, 2:-2, 2:-2], expected * 255 / 16, atol=0.5 + 1e-9)
    assert not images[:, :, :2].any() and not images[:, :, :, -2:].any()
    assert (digits.enlarge(np.full((1, 8, 8), 16))[0, 0, 2:-2, 2:-2] == 255).all()


def test_normalized_pixels_have_mean_0_and_deviation_1():
    train, _ = pycnn.data.load("digits")
    x = train.normalize(train.images[:, :, 2:-2, 2:-2])
    assert x.dtype == np.float32 and abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-3


def test_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(DataError, match="no data set 'digit'; did you mean 'digits'"):
        pycnn.data.load("digit")


def test_dataset_refuses_what_does_not_fit():
    images = np.zeros((2, 1, 4, 4), np.uint8)
    with pytest.raises(DataError, match="one label each"):
        Dataset("x", images, np.zeros(3, np.int64), ("a",), 0, 1)
    with pytest.raises(DataError, match="labels must be 0 … 0, got 0 … 1"):
        Dataset("x", images, np.arange(2), ("a",), 0, 1)


# ---- IDX ----


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, n: int = 3, zipped: bool = True, dots: bool = False) -> dict[str, bytes]:
    """A little data set in MNIST's files; returns their contents by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    contents = {}
    for file in mnist.FILES:
        values = rng.integers(0, 256, (n, 28, 28)) if "images" in file else np.arange(n) % 10
        content = idx(values.astype(np.uint8))
        name = file.replace("-idx", ".idx") if dots else file
        contents[file] = content
        (folder / (name + ".gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return contents


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dots", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_mnist_is_read_from_a_folder(tmp_path, zipped, dots, nested):
    contents = write_mnist(tmp_path / "mnist" if nested else tmp_path, zipped=zipped, dots=dots)
    train, test = pycnn.data.load("mnist", data_dir=tmp_path)
    assert train.images.shape == test.images.shape == (3, 1, 32, 32)
    pixels = np.frombuffer(contents[mnist.FILES[0]], np.uint8, offset=16).reshape(3, 28, 28)
    np.testing.assert_array_equal(train.images[:, 0, 2:-2, 2:-2], pixels)
    assert train.labels.tolist() == [0, 1, 2] and train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"", "not an IDX file"),
        (lambda b: b[:10], "not an IDX file"),
        (lambda b: b"\0\0\x0d" + b[3:], r"not an IDX file of uint8 with 3 axes \(it starts with 00 00 0d 03\)"),
        (lambda b: b[:3] + b"\1" + b[4:], "not an IDX file of uint8 with 3 axes"),
        (lambda b: b[:-1], r"announces 2,352 bytes of shape \(3, 28, 28\), the file holds 2,351"),
        (lambda b: b + b"x", "the file holds more"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "at most 1,073,741,824 are read"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_idx_file_is_refused_by_name(tmp_path, damage, message, zipped):
    path = tmp_path / "file"
    content = damage(idx(np.zeros((3, 28, 28), np.uint8)))
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=message) as caught:
        mnist.read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_truncated_gzip_is_refused_by_name(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (9, 28, 28)).astype(np.uint8)))[:-200])
    with pytest.raises(DataError, match="damaged gzip file"):
        mnist.read_idx(path, 3)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(DataError, match="holds 3 images, .* 4 labels"):
        pycnn.data.load("mnist", data_dir=tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.array([0, 1, 10], np.uint8)))
    with pytest.raises(DataError, match="label 10 is not one of 0 … 9"):
        pycnn.data.load("mnist", data_dir=tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((3, 27, 28), np.uint8)))
    with pytest.raises(DataError, match="27×28, must be 28×28"):
        pycnn.data.load("mnist", data_dir=tmp_path)


@pytest.mark.skipif(not SHARED or not (Path(SHARED) / "mnist").exists(), reason="PYCNN_DATA names no folder with mnist")
def test_real_mnist():
    train, test = pycnn.data.load("mnist", data_dir=SHARED)
    assert (len(train), len(test)) == (60000, 10000)
    assert hashlib.sha256(idx(train.images[:, 0, 2:-2, 2:-2])).hexdigest().startswith("ba891046")
    assert abs(train.images[:, :, 2:-2, 2:-2].mean() / 255 - train.mean) < 1e-6


# ---- downloads ----


class Web:
    """A stand-in for the network: url -> bytes or an exception."""

    def __init__(self, monkeypatch, pages: dict):
        self.pages, self.asked = pages, []
        monkeypatch.setattr(urllib.request, "urlopen", self.open)

    def open(self, url, timeout):
        self.asked.append(url)
        page = self.pages.get(url, urllib.error.URLError("Name or service not known"))
        if isinstance(page, Exception):
            raise page
        answer = io.BytesIO(page)
        answer.geturl = lambda: url
        return answer


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """MNIST as three images, with its own sha256, behind two mirrors."""
    contents = {f"{name}.gz": gzip.compress(content) for name, content in write_mnist(tmp_path / "origin").items()}
    monkeypatch.setattr(mnist, "MNIST_SHA256", tuple(hashlib.sha256(c).hexdigest() for c in contents.values()))
    monkeypatch.setattr(mnist, "MNIST_URLS", ("https://one/", "https://two/"))
    return contents


def test_absent_files_are_downloaded_once(tmp_path, monkeypatch, small_mnist):
    web = Web(monkeypatch, {f"https://two/{name}": content for name, content in small_mnist.items()})
    train, _ = pycnn.data.load("mnist", data_dir=tmp_path / "data")
    assert len(train) == 3 and len(web.asked) == 8  # the first mirror does not answer
    assert sorted(p.name for p in (tmp_path / "data" / "mnist").iterdir()) == sorted(small_mnist)
    pycnn.data.load("mnist", data_dir=tmp_path / "data")
    assert len(web.asked) == 8


def test_wrong_sha256_is_not_kept(tmp_path, monkeypatch, small_mnist):
    Web(monkeypatch, {f"https://one/{name}": content + b"x" for name, content in small_mnist.items()})
    with pytest.raises(DataError, match="https://one/: what came has another sha256; https://two/: Name or service"):
        pycnn.data.load("mnist", data_dir=tmp_path / "data")
    assert list((tmp_path / "data" / "mnist").iterdir()) == []


def test_offline_error_says_what_to_do(tmp_path, monkeypatch, small_mnist):
    Web(monkeypatch, {})
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz is absent .* --data-dir, or use --data digits"):
        pycnn.data.load("mnist", data_dir=tmp_path / "data")


def test_interrupted_download_leaves_nothing(tmp_path, monkeypatch, small_mnist):
    Web(monkeypatch, {f"https://one/{name}": content for name, content in small_mnist.items()})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pycnn.data.load("mnist", data_dir=tmp_path / "data")
    assert list((tmp_path / "data" / "mnist").iterdir()) == []


def test_every_url_is_https():
    assert all(url.startswith("https://") and url.endswith("/") for url in mnist.MNIST_URLS + mnist.FASHION_URLS)
    assert all(len(digest) == 64 for digest in mnist.MNIST_SHA256 + mnist.FASHION_SHA256)


# ---- loader ----


@pytest.fixture
def numbered() -> Dataset:
    """70 images; every pixel of image i is i, and so is its label."""
    images = np.broadcast_to(np.arange(70, dtype=np.uint8)[:, None, None, None], (70, 1, 6, 6)).copy()
    return Dataset("numbered", images, np.arange(70), tuple(map(str, range(70))), 0.0, 1.0)


def labels_of(loader) -> list[list[int]]:
    return [labels.numpy().tolist() for _, labels in loader]


def test_batches_in_order(numbered):
    loader = DataLoader(numbered, batch_size=32)
    assert len(loader) == 3
    batches = list(loader)
    assert [images.shape for images, _ in batches] == [(32, 1, 6, 6), (32, 1, 6, 6), (6, 1, 6, 6)]
    assert sum(labels_of(loader), []) == list(range(70))
    images, labels = batches[2]
    assert images.dtype == np.float32 and labels.dtype == np.int64
    np.testing.assert_array_equal(images.numpy()[:, 0, 0, 0], (labels.numpy() / 255).astype(np.float32))


def test_shuffling_is_a_function_of_seed_and_epoch(numbered):
    first, same, other = (DataLoader(numbered, 32, shuffle=True, seed=seed) for seed in (0, 0, 1))
    epochs = [labels_of(first), labels_of(first)]
    assert sorted(sum(epochs[0], [])) == list(range(70)) and epochs[0] != epochs[1]
    assert epochs == [labels_of(same), labels_of(same)]
    assert epochs[0] != labels_of(other)
    # Pinned: checkpoints rely on the order staying the same in later versions.
    assert epochs[0][0][:6] == [66, 0, 54, 43, 69, 38]


def test_going_on_in_the_middle_of_an_epoch(numbered):
    straight = DataLoader(numbered, 16, shuffle=True, seed=3, shift=2)
    expected = [(x.numpy(), y.numpy()) for _ in range(2) for x, y in straight]
    for stop in range(len(expected)):
        loader = DataLoader(numbered, 16, shuffle=True, seed=3, shift=2)
        seen = []
        while len(seen) <= stop:
            for x, y in loader:
                seen.append((x.numpy(), y.numpy()))
                if len(seen) > stop:
                    break
        resumed = DataLoader(numbered, 16, shuffle=True, seed=3, shift=2)
        resumed.load_state_dict(loader.state_dict())
        while resumed.epoch < 2:
            seen += [(x.numpy(), y.numpy()) for x, y in resumed]
        assert len(seen) == len(expected)
        for got, want in zip(seen, expected, strict=True):
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])


def test_a_loop_left_early_starts_over(numbered):
    loader = DataLoader(numbered, 16, shuffle=True)
    first = next(iter(loader))[1].numpy()
    np.testing.assert_array_equal(next(iter(loader))[1].numpy(), first)
    assert loader.epoch == 0


def test_state_of_another_loader_is_refused(numbered):
    state = DataLoader(numbered, 16).state_dict()
    with pytest.raises(ValueError, match="batch_size = 16, this one has 32"):
        DataLoader(numbered, 32).load_state_dict(state)


def test_shift_moves_each_image_by_its_own(numbered):
    images = np.random.default_rng(0).integers(1, 256, (4, 2, 5, 6)).astype(np.uint8)
    shifts = np.array([[0, 0], [2, -1], [-2, 2], [1, 1]])
    moved = shift_images(images, shifts)
    np.testing.assert_array_equal(moved[0], images[0])
    np.testing.assert_array_equal(moved[1, :, 2:, :-1], images[1, :, :-2, 1:])
    np.testing.assert_array_equal(moved[2, :, :-2, 2:], images[2, :, 2:, :-2])
    assert not moved[1, :, :2].any() and not moved[1, :, :, -1].any()
    offsets = DataLoader(numbered, shift=3)._shifts()
    assert offsets.min() == -3 and offsets.max() == 3 and abs(offsets.mean()) < 0.5


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"shift": -1}, {"shift": 6}])
def test_senseless_settings_are_refused(numbered, options):
    with pytest.raises(ValueError, match="must be"):
        DataLoader(numbered, **options)
