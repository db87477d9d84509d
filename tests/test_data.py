"""Data sets, the IDX reader, downloads (from a stand-in for the network) and the loader."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pycnn
from pycnn.data import DataError, DataLoader, Dataset, LabeledImages, cifar, digits, mnist, streams
from pycnn.data.transforms import Compose, RandomCrop, RandomHorizontalFlip, RandomShift

SHARED = os.environ.get("PYCNN_DATA")


# ---- digits ----


def test_digits_are_the_uci_test_file():
    train, test = pycnn.data.load("digits")
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (1437, 1, 32, 32) and train.images.dtype == np.uint8
    images, labels, _ = digits.load_scans()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.max() == 16 and images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_stratified_split_is_what_its_script_makes():
    _, labels, committed = digits.load_scans()
    shuffle = np.random.RandomState(0).permutation
    share = np.bincount(labels) * 360 / 1797
    count = np.floor(share).astype(int)
    count[np.argsort(count - share, kind="stable")[: 360 - count.sum()]] += 1
    test = np.sort(np.concatenate([shuffle(np.flatnonzero(labels == c))[: count[c]] for c in range(10)]))
    np.testing.assert_array_equal(committed, test)


def test_last360_split_is_the_end_of_the_file():
    _, labels, _ = digits.load_scans()
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
    with pytest.raises(DataError, match="mean must be 1 numbers"):
        Dataset("x", images, np.zeros(2, np.int64), ("a",), (0.1, 0.2, 0.3), 1)
    assert Dataset("x", images.repeat(3, 1), np.zeros(2, np.int64), ("a",), 0.5, 1).mean == (0.5, 0.5, 0.5)


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
    assert abs(train.images[:, :, 2:-2, 2:-2].mean() / 255 - train.mean[0]) < 1e-6


# ---- CIFAR ----


def write_cifar(folder: Path, files, label_bytes: int, n: int = 4) -> np.ndarray:
    """Little files of records; returns all records, (len(files)·n, label_bytes + 3072)."""
    folder.mkdir(parents=True)
    records = np.random.default_rng(1).integers(0, 256, (len(files) * n, label_bytes + 3072)).astype(np.uint8)
    records[:, :label_bytes] = np.arange(len(records))[:, None] % 10
    for i, file in enumerate(files):
        (folder / file).write_bytes(records[i * n : (i + 1) * n].tobytes())
    return records


def test_cifar10_is_read_from_files(tmp_path):
    records = write_cifar(tmp_path / "cifar10", cifar.CIFAR10_TRAIN + cifar.CIFAR10_TEST, 1)
    train, test = pycnn.data.load("cifar10", data_dir=tmp_path)
    assert (len(train), len(test)) == (20, 4) and len(train.classes) == 10 and len(train.mean) == 3
    np.testing.assert_array_equal(train.images.reshape(20, -1), records[:20, 1:])
    np.testing.assert_array_equal(test.labels, records[20:, 0])


def test_cifar100_is_read_from_an_archive_that_is_downloaded(tmp_path, monkeypatch):
    records = write_cifar(tmp_path / "cifar-100-binary", ("train.bin", "test.bin"), 2)
    records[:, 0] = 99  # the coarse label is not used
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "cifar-100-binary", "cifar-100-binary")
    monkeypatch.setattr(cifar, "CIFAR100_SHA256", hashlib.sha256(packed.getvalue()).hexdigest())
    web = Web(monkeypatch, {cifar.URLS[0] + cifar.CIFAR100_ARCHIVE: packed.getvalue()})
    for _ in range(2):
        train, test = pycnn.data.load("cifar100", data_dir=tmp_path / "data")
    assert len(web.asked) == 1 and (tmp_path / "data" / "cifar100" / cifar.CIFAR100_ARCHIVE).exists()
    np.testing.assert_array_equal(train.images.reshape(4, -1), records[:4, 2:])
    assert test.labels.tolist() == [4, 5, 6, 7] and len(set(train.classes)) == 100
    assert sorted(train.classes) == list(train.classes)


def test_damaged_cifar_is_refused_by_name(tmp_path):
    write_cifar(tmp_path / "cifar100", ("train.bin", "test.bin"), 2)
    path = tmp_path / "cifar100" / "train.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="train.bin: 12,295 bytes are not a whole number of records of 3,074"):
        pycnn.data.load("cifar100", data_dir=tmp_path)
    path.write_bytes(b"\0\x64" + whole[2:])
    with pytest.raises(DataError, match="train.bin: label 100 is not one of 0 … 99"):
        pycnn.data.load("cifar100", data_dir=tmp_path)
    path.unlink()
    (tmp_path / "cifar100" / cifar.CIFAR100_ARCHIVE).write_bytes(gzip.compress(b"x" * 9999)[:-9])
    with pytest.raises(DataError, match="cifar-100-binary.tar.gz: damaged archive"):
        pycnn.data.load("cifar100", data_dir=tmp_path)


def test_sheets_of_cifar10_are_read_with_a_warning(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (1000, 3, 1024)).astype(np.uint8)
    sheet = tmp_path / cifar.SHEETS[0]
    Image.fromarray(images.transpose(0, 2, 1).copy()).save(sheet, compress_level=0)
    for other in cifar.SHEETS[1:]:
        (tmp_path / other).symlink_to(sheet)
    (tmp_path / cifar.SHEET_LABELS).write_bytes(bytes(i % 10 for i in range(10000)))
    with pytest.warns(UserWarning, match="first 10,000 training images .* 8,000 are for training, the other 2,000 for testing"):
        train, test = pycnn.data.load("cifar10", data_dir=tmp_path)
    assert (len(train), len(test)) == (8000, 2000) and test.labels[:3].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(train.images[1000:2000].reshape(1000, 3, 1024), images)


@pytest.mark.skipif(not SHARED or not (Path(SHARED) / "cifar10").exists(), reason="PYCNN_DATA names no folder with cifar10")
def test_real_cifar10_sheets():
    with pytest.warns(UserWarning, match="first 10,000"):
        train, test = pycnn.data.load("cifar10", data_dir=SHARED)
    records = [np.column_stack([part.labels, part.images.reshape(len(part), -1)]) for part in (train, test)]
    md5 = hashlib.md5(np.concatenate(records).astype(np.uint8).tobytes(), usedforsecurity=False).hexdigest()
    assert md5 == "5dd7e06a14cb22eb9f671a540d1b7c25"  # of the official data_batch_1.bin


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
    assert all(url.startswith("https://") and url.endswith("/") for url in mnist.MNIST_URLS + mnist.FASHION_URLS + cifar.URLS)
    digests = (*mnist.MNIST_SHA256, *mnist.FASHION_SHA256, cifar.CIFAR10_SHA256, cifar.CIFAR100_SHA256)
    assert all(len(digest) == 64 for digest in digests)


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
    straight = DataLoader(numbered, 16, shuffle=True, seed=3, transform=RandomShift(2))
    expected = [(x.numpy(), y.numpy()) for _ in range(2) for x, y in straight]
    for stop in range(len(expected)):
        loader = DataLoader(numbered, 16, shuffle=True, seed=3, transform=RandomShift(2))
        seen = []
        while len(seen) <= stop:
            for x, y in loader:
                seen.append((x.numpy(), y.numpy()))
                if len(seen) > stop:
                    break
        resumed = DataLoader(numbered, 16, shuffle=True, seed=3, transform=RandomShift(2))
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


def test_drop_last_leaves_out_the_incomplete_batch(numbered):
    loader = DataLoader(numbered, 32, shuffle=True, drop_last=True)
    assert len(loader) == 2
    batches = iter(loader)
    for position in (32, 70):  # what is dropped counts, so that the end of an epoch is seen
        assert next(batches)[0].shape == (32, 1, 6, 6) and loader.position == position
    assert next(batches, None) is None and (loader.epoch, loader.position) == (1, 0)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -1}, {"seed": -1}])
def test_senseless_settings_are_refused(numbered, options):
    with pytest.raises(ValueError, match="must be"):
        DataLoader(numbered, **options)


def test_first_numbers_are_those_of_each_images_stream():
    seed, epoch = 5 + (7 << 64), 3
    numbers = streams.first_numbers(seed, epoch, 100)
    for i in (0, 1, 99):
        np.testing.assert_array_equal(numbers[i], streams.image_stream(seed, epoch, i).bit_generator.random_raw(4))
    assert len(np.unique(numbers)) == numbers.size
    assert not np.isin(numbers, streams.order_numbers(seed, epoch, 400)).any()


class OneByOne(LabeledImages):
    """A data set as users write one."""

    name = "one by one"

    def __init__(self, dataset: Dataset):
        self.dataset, self.labels, self.classes = dataset, dataset.labels, dataset.classes
        self.mean, self.std = dataset.mean, dataset.std

    def image(self, i: int) -> np.ndarray:
        return self.dataset.images[i]


def contents(loader) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x.numpy(), y.numpy()) for x, y in loader]


def assert_same_batches(got, expected):
    assert len(got) == len(expected)
    for (x, y), (x_expected, y_expected) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)


@pytest.fixture
def colored() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 9), dtype=np.uint8)
    return Dataset("colored", images, np.arange(50) % 7, tuple("abcdefg"), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("kind", [Dataset, OneByOne])
def test_neither_workers_nor_batching_change_a_bit(colored, workers, kind):
    transform = Compose([RandomCrop(8, padding=2), RandomHorizontalFlip()])
    images = np.empty((50, 3, 8, 8), np.float32)
    for i in range(50):
        images[i] = colored.normalize(transform(colored.images[i], streams.image_stream(4, 1, i)))
    loader = DataLoader(colored if kind is Dataset else OneByOne(colored), 7, True, 4, transform, workers=workers)
    first = contents(loader)
    second = contents(loader)
    assert not np.array_equal(first[0][0], second[0][0])
    order = np.argsort(streams.order_numbers(4, 1, 50), kind="stable")
    np.testing.assert_array_equal(np.concatenate([x for x, _ in second]), images[order])
    np.testing.assert_array_equal(np.concatenate([y for _, y in second]), colored.labels[order])


def test_going_on_with_workers_in_the_middle_of_an_epoch(colored):
    make = lambda workers: DataLoader(colored, 7, True, 4, Compose([RandomShift(2), lambda x, rng: x]), workers=workers)
    expected = contents(make(0))
    loader = make(2)
    seen = [(x.numpy(), y.numpy()) for _, (x, y) in zip(range(3), loader, strict=False)]
    resumed = make(3)
    resumed.load_state_dict(loader.state_dict())
    assert_same_batches(seen + contents(resumed), expected)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("pycnn-data")]


def test_workers_end_with_the_loop(colored):
    loader = DataLoader(colored, 5, workers=2)
    for _ in loader:
        assert threads()
        break
    assert threads() == []
    with pytest.raises(KeyboardInterrupt):
        for _ in loader:
            raise KeyboardInterrupt
    list(loader)
    assert threads() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_what_fails_in_a_worker_reaches_the_loop_by_name(colored, workers):
    def fails(image, rng):
        if image is colored.images[13] or np.array_equal(image, colored.images[13]):
            raise ZeroDivisionError("oh")
        return image

    seen = []
    with pytest.raises(DataError, match="colored, image 13: the transform failed: ZeroDivisionError: oh"):
        for _, labels in DataLoader(colored, 5, transform=fails, workers=workers):
            seen += labels.numpy().tolist()
    assert seen == colored.labels[:10].tolist() and threads() == []


def test_images_of_two_sizes_make_no_batch(colored):
    uneven = lambda image, rng: image[:, : 8 - int(image is not None and image[0, 0, 0] % 2)]
    with pytest.raises(DataError, match=r"colored, image \d+: its shape is \(3, ., 9\), others .* CenterCrop"):
        list(DataLoader(colored, 50, transform=uneven))


def test_lists_of_images_lie_side_by_side(colored):
    loader = DataLoader(colored, 4, transform=lambda image, rng: [image, image[:, ::-1]])
    images, labels = next(iter(loader))
    assert images.shape == (8, 3, 8, 9) and labels.shape == (4,)
    np.testing.assert_array_equal(images.numpy()[::2], colored.normalize(colored.images[:4]))
    np.testing.assert_array_equal(images.numpy()[1::2], images.numpy()[::2, :, ::-1])


def test_floating_point_images_are_normalized_alike(colored):
    loaders = [DataLoader(colored, 50, transform=t) for t in (None, lambda image, rng: image.astype(np.float32))]
    (x, _), (y, _) = (next(iter(loader)) for loader in loaders)
    np.testing.assert_allclose(x.numpy(), y.numpy(), atol=1e-6)
    expected = (colored.images / 255 - np.reshape(colored.mean, (3, 1, 1))) / np.reshape(colored.std, (3, 1, 1))
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)


def test_state_names_the_transform(colored):
    state = DataLoader(colored, transform=RandomShift(2)).state_dict()
    with pytest.raises(ValueError, match=r"transform = RandomShift\(pixels=2\), this one has RandomShift\(pixels=3\)"):
        DataLoader(colored, transform=RandomShift(3)).load_state_dict(state)
