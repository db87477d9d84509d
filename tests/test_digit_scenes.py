"""digit-scenes: the same bits everywhere, labels, boxes and masks that agree, train and test digits disjoint."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import pycnn
from pycnn.data import DataError, digit_scenes, load_digit_scenes
from pycnn.data.digits import load_scans


@pytest.fixture(scope="module")
def scenes():
    return pycnn.data.load("digit-scenes", n=(300, 60))


def digest(part) -> str:
    parts = [part.images, part.labels, part.masks, *part.boxes, *part.box_labels]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in parts)).hexdigest()[:16]


def test_bits_are_pinned(scenes):
    train, test = scenes
    assert train.images.shape == (300, 3, 64, 64) and test.images.shape == (60, 3, 64, 64)
    assert (digest(train), digest(test)) == ("416c4f2d71fe4613", "ea362ae9ce47caec")


def test_a_scene_does_not_depend_on_how_many_there_are(scenes):
    few, _ = load_digit_scenes(n=(5, 1))
    assert digest(few) == digest(scenes[0].subset(np.arange(5)))
    assert not np.array_equal(load_digit_scenes(n=(5, 1), seed=1)[0].images, few.images)
    grey, _ = load_digit_scenes(n=(5, 1), channels=1)
    np.testing.assert_array_equal(grey.images, few.images[:, :1])


def test_labels_boxes_and_masks_agree(scenes):
    counts = []
    for part in scenes:
        for i in range(len(part)):
            boxes, labels, mask = part.boxes[i], part.box_labels[i], part.masks[i]
            counts.append(len(boxes))
            assert boxes.shape == (len(labels), 4) and boxes.dtype == labels.dtype == np.int64
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 64).all() and (boxes[:, 2:] > boxes[:, :2]).all()
            assert set(np.unique(mask)) == {0, *(labels + 1)}
            assert part.labels[i] in labels
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
                assert (mask[y1:y2, x1:x2] == label + 1).sum() >= 10  # two thirds of every digit are in sight
            inside = np.zeros((64, 64), bool)
            for x1, y1, x2, y2 in boxes:
                inside[y1:y2, x1:x2] = True
            assert not mask[~inside].any()
            if len(boxes) == 1:
                rows, columns = np.nonzero(mask)
                assert boxes[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert part.labels[i] == labels[0]
    assert set(counts) == {1, 2, 3, 4}


def test_there_are_several_scales_and_overlap(scenes):
    train, _ = scenes
    heights = np.concatenate([boxes[:, 3] - boxes[:, 1] for boxes in train.boxes])
    assert heights.min() <= 12 and heights.max() >= 38
    assert digit_scenes.scales(64) == [12, 18, 27, 40] and digit_scenes.scales(300)[-1] > 180
    overlaps = 0
    for boxes in train.boxes:
        for i in range(len(boxes)):
            for j in range(i):
                low, high = np.maximum(boxes[i, :2], boxes[j, :2]), np.minimum(boxes[i, 2:], boxes[j, 2:])
                overlaps += bool((low < high).all())
    assert overlaps > 100


def test_label_is_that_of_the_tallest_digit(scenes):
    train, _ = scenes
    agree = []
    for i in range(len(train)):
        heights = train.boxes[i][:, 3] - train.boxes[i][:, 1]
        agree.append(train.box_labels[i][heights.argmax()] == train.labels[i])
    assert np.mean(agree) > 0.99  # the square decides, and the ink of a few scans does not fill theirs


def test_training_and_test_scenes_show_different_scans(monkeypatch):
    scans, labels, test = load_scans()
    shown: list[list[bytes]] = []
    scene = digit_scenes._scene

    def watched(used, used_labels, *arguments):
        shown.append([scan.tobytes() + bytes([label]) for scan, label in zip(used, used_labels, strict=True)])
        return scene(used, used_labels, *arguments)

    monkeypatch.setattr(digit_scenes, "_scene", watched)
    load_digit_scenes(n=(1, 1))
    of = lambda indices: [scans[i].tobytes() + bytes([labels[i]]) for i in indices]
    assert shown == [of(np.setdiff1d(np.arange(1797), test)), of(test)]
    assert not set(shown[0]) & set(shown[1])


def test_mean_and_deviation_are_those_of_the_training_pixels(scenes):
    train, test = scenes
    np.testing.assert_allclose(train.mean, train.images.mean((0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(train.std, train.images.std((0, 2, 3)) / 255, rtol=1e-9)
    assert test.mean == train.mean and len(train.mean) == 3


def test_larger_scenes_and_subsets():
    train, _ = load_digit_scenes(size=150, n=(8, 1))
    assert train.images.shape == (8, 3, 150, 150) and train.masks.shape == (8, 150, 150)
    part = train.subset(slice(2, 4))
    assert len(part) == len(part.boxes) == len(part.masks) == 2
    np.testing.assert_array_equal(part.boxes[1], train.boxes[3])
    images, labels = next(iter(pycnn.data.DataLoader(part, 2)))
    assert images.shape == (2, 3, 150, 150) and labels.numpy().tolist() == train.labels[2:4].tolist()


@pytest.mark.parametrize("options", [{"size": 31}, {"n": (0, 5)}, {"channels": 2}, {"seed": -1}])
def test_senseless_settings_are_refused(options):
    with pytest.raises(DataError, match=f"digit-scenes: {next(iter(options))} must be"):
        load_digit_scenes(**options)
