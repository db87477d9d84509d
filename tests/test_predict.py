"""pycnn predict: reading pictures, preparing them as torchvision does, and what the command prints."""

import csv
import io
import json

import numpy as np
import pytest
from helpers import rng
from PIL import Image
from real_data import real_data
from safetensors.numpy import save_file

import pycnn
from pycnn import cli
from pycnn.data import DataError, read_image
from pycnn.models import WeightsError, create_model
from pycnn.models.weights import Preprocessing
from pycnn.predict import load_classifier, normalize, predict, read_classes, resize_and_crop


def picture(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def save(path, image: np.ndarray, **options):
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(path, **options)
    return path


@pytest.fixture
def lenet(tmp_path):
    """A file of weights of Caffe's LeNet."""
    save_file(create_model("lenet_caffe").state_dict(), tmp_path / "lenet.safetensors")
    return tmp_path / "lenet.safetensors"


# ---- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "ppm", "gif", "webp", "jpg"])
def test_formats(tmp_path, ending):
    image = np.zeros((3, 16, 24), np.uint8)
    image[0, :, 12:] = 250
    got = read_image(save(tmp_path / f"x.{ending}", image, **({"lossless": True} if ending == "webp" else {})))
    assert got.shape == (3, 16, 24) and got.dtype == np.uint8
    assert np.abs(got.astype(int) - image).max() <= (60 if ending == "jpg" else 0)


def test_modes(tmp_path):
    gray = rng().integers(0, 256, (9, 7), dtype=np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray.astype(np.uint16) << 8).save(tmp_path / "gray16.png")
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "alpha.png")
    for name in ("gray", "gray16", "alpha"):
        assert (read_image(tmp_path / f"{name}.png") == gray).all(), name
    black, white = Preprocessing(channels="L", scale=1), Preprocessing(channels="BGR", scale=1)
    image = read_image(tmp_path / "gray.png")
    assert np.array_equal(normalize(image, black), gray[None].astype("f4")) and normalize(image, white).shape == (3, 9, 7)


def test_pictures_that_cannot_be_read(tmp_path):
    whole = save(tmp_path / "x.png", picture(60, 60)).read_bytes()
    cases = {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.jpg": b"no picture",
        "flipped.png": whole[:300] + bytes([whole[300] ^ 255]) + whole[301:],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match="no.png: cannot be read"):
        read_image(tmp_path / "no.png")
    Image.fromarray(picture()[0]).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match="not an image of the formats JPEG, PNG"):
        read_image(tmp_path / "x.tiff")


def test_decompression_bombs_are_refused(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    with pytest.raises(DataError, match="bomb.png"):
        read_image(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="30×20 pixels, at most 500 are decoded"):
        read_image(save(tmp_path / "x.png", picture()), max_pixels=500)
    with pytest.raises(DataError, match="more than"):
        resize_and_crop(np.zeros((3, 1, 5000), np.uint8), Preprocessing(resize=500))


@pytest.mark.parametrize("size", [(333, 500), (500, 333), (256, 256), (100, 61)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_preparation_is_torchvisions(size, interpolation):
    from model_checks import torchvision_models

    torchvision_models()
    import torch
    from torchvision.transforms import v2

    image = picture(*size)
    mine = Preprocessing(64, 56, interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    theirs = v2.Compose(
        [
            v2.Resize(64, v2.InterpolationMode(interpolation)),
            v2.CenterCrop(56),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mine.mean, mine.std),
        ]
    )(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))
    assert np.abs(normalize(resize_and_crop(image, mine), mine) - theirs.numpy()).max() < 1e-5


def test_mean_image_and_channels():
    image, mean = picture(4, 4), rng(1).uniform(0, 255, (3, 4, 4))
    expected = image.astype("f8") - mean
    assert np.allclose(normalize(image, Preprocessing(mean=mean, scale=1)), expected, atol=1e-4)
    bgr = normalize(image, Preprocessing(channels="BGR", mean=(104.0, 117.0, 123.0), scale=1))
    assert np.allclose(bgr[0], image[2] - 104.0) and np.allclose(bgr[2], image[0] - 123.0)
    with pytest.raises(DataError, match="the mean is an image of shape"):
        normalize(picture(5, 5), Preprocessing(mean=mean, scale=1))


# ---- classifiers ------------------------------------------------------------------------------------------------------


def test_a_guess_says_so(tmp_path, lenet, capsys):
    save(tmp_path / "x.png", picture())
    words = ["predict", str(tmp_path / "x.png"), "--model", "lenet_caffe", "--weights", str(lenet)]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert "a guess" in captured.err and "resize 28×28" in captured.err
    lines = captured.out.splitlines()
    assert lines[0] == str(tmp_path / "x.png") and len(lines) == 6 and all("class" in line for line in lines[1:])
    assert cli.main([*words, "--mean", "0.1", "--std", "0.3", "--resize", "30", "--crop", "28"]) == 0
    assert "recorded or given): resize 30 (bilinear), crop 28, L, (pixel · 0.00392157 - 0.1) / 0.3" in capsys.readouterr().err


def test_formats_of_the_answer(tmp_path, lenet, capsys):
    (tmp_path / "names.txt").write_text("'n01 zero, nought'\n" + "\n".join("abcdefghi"))
    images = [str(save(tmp_path / f"{i}.png", picture(seed=i))) for i in range(2)]
    words = ["predict", *images, "--model", "lenet_caffe", "--weights", str(lenet), "--classes", str(tmp_path / "names.txt")]
    assert cli.main([*words, "--format", "json", "--top", "10"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["image"] for row in rows] == [images[0]] * 10 + [images[1]] * 10
    first = rows[:10]
    assert [row["rank"] for row in first] == list(range(1, 11)) and sum(row["probability"] for row in first) == pytest.approx(1)
    assert sorted(row["probability"] for row in first)[::-1] == [row["probability"] for row in first]
    assert next(row["class"] for row in first if row["index"] == 0) == "n01 zero, nought"
    assert cli.main([*words, "--format", "csv", "--top", "2"]) == 0
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(read) == 4 and read[0]["class"] == first[0]["class"] and float(read[0]["probability"]) == first[0]["probability"]


def test_options_of_the_model(tmp_path, capsys):
    save_file(create_model("lenet5", num_classes=4).state_dict(), tmp_path / "four.safetensors")
    image = str(save(tmp_path / "x.png", picture(32, 32)))
    words = ["predict", image, "--model", "lenet5", "--weights", str(tmp_path / "four.safetensors"), "--format", "csv"]
    assert cli.main(words) == 1 and "output.weight" in capsys.readouterr().err
    assert cli.main([*words, "--model-option", "num_classes=4"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 4


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_predicted(tmp_path, lenet, capsys):
    good = save(tmp_path / "good.png", picture())
    (tmp_path / "bad.png").write_bytes(b"bad")
    assert cli.main(["predict", str(tmp_path / "bad.png"), str(good), "--model", "lenet_caffe", "--weights", str(lenet)]) == 1
    captured = capsys.readouterr()
    assert "bad.png" in captured.err and "good.png" in captured.out and "bad.png" not in captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "lenet6", "--weights", "x"], "there is no model 'lenet6'"),
        (["--model", "lenet5"], "no weights are recorded for lenet5"),
        (["--model", "lenet5", "--weights", "x.npz"], "there is no file x.npz"),
        (
            ["--model", "lenet5", "--weights", "lenet_caffe.mnist"],
            "these are the weights lenet_caffe.mnist, of the model lenet_caffe",
        ),
        (["--model", "lenet_caffe", "--weights", "LENET", "--std", "0"], "preprocessing: std must be positive"),
        (["--model", "lenet_caffe", "--weights", "LENET", "--mean", "a"], "--mean"),
        (["--model", "lenet_caffe", "--weights", "LENET", "--classes", "no.txt"], "no.txt: the classes cannot be read"),
        (["--model", "lenet_caffe", "--weights", "."], ". is no run of pycnn train"),
    ],
)
def test_usage_that_makes_no_sense(tmp_path, lenet, capsys, monkeypatch, words, message):
    from pycnn import predict as room

    monkeypatch.setattr(room, "fetch_weights", lambda name: lenet)
    monkeypatch.setattr(room, "find_weights", lambda file: None if "LENET" in words else room_record())
    image = str(save(tmp_path / "x.png", picture()))
    assert cli.main(["predict", image, *[str(lenet) if word == "LENET" else word for word in words]]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def room_record():
    from pycnn.models.weights import get_weights

    return get_weights("lenet_caffe.mnist")


def test_number_of_classes_must_fit(tmp_path, lenet):
    (tmp_path / "two.txt").write_text("a\nb\n")
    assert read_classes(tmp_path / "two.txt") == ("a", "b")
    with pytest.raises(WeightsError, match="another number of classes"):
        load_classifier("lenet_caffe", lenet, tmp_path / "two.txt")


def test_a_runs_folder(tmp_path, capsys):
    """The newest checkpoint predicts what the run's evaluation says, picture by picture."""
    from pycnn.train import newest_checkpoint, train

    train({"model": "lenet5", "data": "digits", "epochs": 1, "batch_size": 128}, output=tmp_path / "run", live=False)
    _, test = pycnn.data.load("digits")
    model = create_model("lenet5").eval()
    model.load_state_dict(newest_checkpoint(tmp_path / "run" / "checkpoints").model)
    classifier = load_classifier("lenet5", tmp_path / "run")
    assert classifier.recorded and classifier.classes == tuple("0123456789")
    for i in range(10):
        Image.fromarray(np.asarray(test.images[i, 0])).save(tmp_path / "digit.png")
        with pycnn.no_grad():
            logits = model(pycnn.Tensor(test[i][0][None])).numpy()[0]
        best = predict(classifier, tmp_path / "digit.png", 1)[0]
        assert best["index"] == logits.argmax()
        assert best["probability"] == pytest.approx(
            float(np.exp(logits - logits.max()).max() / np.exp(logits - logits.max()).sum()), abs=1e-4
        )
    config = tmp_path / "run" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"image_size": 40, "val_resize_size": 36, "val_crop_size": 32}))
    prepared = load_classifier("lenet5", tmp_path / "run").preprocessing
    assert (prepared.resize, prepared.crop, prepared.mean, prepared.channels) == (36, 32, test.mean, "L")
    capsys.readouterr()
    assert cli.main(["predict", str(tmp_path / "digit.png"), "--model", "lenet_caffe", "--weights", str(tmp_path / "run")]) == 1
    assert "trained lenet5, not lenet_caffe" in capsys.readouterr().err


def test_published_weights_on_a_scan(tmp_path, capsys):
    """A record found by its sha256 gives preprocessing and classes."""
    folder = real_data("weights/lenet_caffe")
    _, test = pycnn.data.load("mnist", data_dir=folder.parents[1])
    for i in range(5):
        Image.fromarray(test.images[i, 0, 2:-2, 2:-2]).save(tmp_path / f"{i}.png")
    images = [str(tmp_path / f"{i}.png") for i in range(5)]
    weights = str(folder / "lenet_iter_10000.caffemodel")
    assert cli.main(["predict", *images, "--model", "lenet_caffe", "--weights", weights, "--top", "1", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [int(row["class"]) for row in rows] == test.labels[:5].tolist() and "recorded" in captured.err
    logits = np.load(folder / "ref_t10k.npz")["logits_f64"][:5]
    expected = np.exp(logits).max(1) / np.exp(logits).sum(1)
    assert np.abs([float(row["probability"]) for row in rows] - expected).max() < 1e-3


def test_published_squeezenet_on_photos(capsys):
    """From the files: decoded, squeezed to 227×227, blue first, the mean subtracted; the five most likely classes of each."""
    folder, photos = real_data("weights/squeezenet_v1.1"), real_data("photos")
    top5 = json.loads((folder / "ref_top5.json").read_text())
    files = {
        "cat_caffe.jpg": "cat.jpg",
        "coral_cat_720p.jpg": "cat_720p.jpg",
        "coral_bird.bmp": "bird.bmp",
        "coral_sunflower.bmp": "sunflower.bmp",
    }
    words = [
        "--model",
        "squeezenet1_1",
        "--weights",
        str(folder / "weights_f32.npz"),
        "--classes",
        str(photos / "synset_1000.txt"),
    ]
    words += ["--resize", "227", "227", "--mean", "104", "117", "123", "--std", "1", "--scale", "1", "--bgr", "--format", "json"]
    assert cli.main(["predict", *[str(photos / files.get(name, name)) for name in top5], *words]) == 0
    rows = json.loads(capsys.readouterr().out)
    for i, expected in enumerate(top5.values()):
        mine = rows[5 * i : 5 * i + 5]
        assert {row["index"] for row in mine} == {index for _, index, _ in expected}
        assert np.abs(np.array([row["probability"] for row in mine]) - [p for p, _, _ in expected]).max() < 1e-3
        assert expected[0][2] in mine[0]["class"]
