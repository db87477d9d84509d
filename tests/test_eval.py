"""``pycnn eval``: top-1 and top-5, ensembles, ten crops, accuracy per class."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import cli, data
from pycnn.train import RunError, evaluate, newest_checkpoint, train
from pycnn.train.evaluation import log_softmax, mean_of_softmax, score


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two runs of LeNet-5 on digits, one and two epochs, of other seeds."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pycnn.train.run, "draw", lambda *args: None)
        for seed in (1, 2):
            train({"model": "lenet5", "epochs": seed, "batch_size": 64, "seed": seed}, output=folder / str(seed))
    return [folder / "1", folder / "2"]


def net(run: Path):
    model = pycnn.models.create_model("lenet5")
    model.load_state_dict(newest_checkpoint(run / "checkpoints").model)
    return model.eval()


def probabilities(run: Path, images: np.ndarray) -> np.ndarray:
    """(n, 10) of raw images (n, 1, 32, 32)."""
    x = pycnn.Tensor(data.load("digits")[1].normalize(images), layout="image")
    with pycnn.no_grad():
        logits = net(run)(x).numpy().astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_score_counts():
    logs = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]))
    found = score(logs, np.array([0, 1, 0]))
    assert (found.top1, found.top5, found.images) == (2 / 3, 1.0, 3)
    assert found.loss == pytest.approx(-np.log([0.5, 0.2, 0.6]).mean())
    np.testing.assert_array_equal(found.confusion, [[2, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(found.per_class(), [1.0, 0.0, np.nan])


def test_top5_is_among_the_five_likeliest():
    logs = np.log(np.arange(7, 0, -1) / 28)[None].repeat(7, axis=0)
    found = score(logs, np.arange(7))
    assert (found.top1, found.top5) == (1 / 7, 5 / 7)


def test_probabilities_are_averaged_without_underflow():
    logs = log_softmax(np.array([[0.0, -2000.0], [1000.0, 0.0]], np.float32))
    assert np.isfinite(logs).all() and logs[0, 1] == -2000
    both = mean_of_softmax([logs, np.log(np.full((2, 2), 0.5))])
    np.testing.assert_allclose(np.exp(both), [[0.75, 0.25], [0.75, 0.25]])


def test_one_run_is_what_its_result_says(runs, capsys):
    result = json.loads((runs[1] / "result.json").read_text())
    found = evaluate([runs[1]])
    assert (found.top1, found.top5) == (result["test_accuracy"], result["test_top5"])
    assert found.loss == pytest.approx(result["test_loss"], rel=1e-6)
    out = capsys.readouterr().out
    assert out.startswith(f"lenet5 ({runs[1]}): top-1 {100 * found.top1:.2f} %") and out.endswith("(360 images)\n")


def test_an_ensemble_is_the_mean_of_softmax(runs, capsys):
    test = data.load("digits")[1]
    mean = np.mean([probabilities(run, test.images) for run in runs], axis=0)
    found = evaluate(runs)
    assert found.top1 == np.mean(mean.argmax(axis=1) == test.labels)
    assert found.loss == pytest.approx(-np.log(mean[np.arange(360), test.labels]).mean(), rel=1e-5)
    assert capsys.readouterr().out.splitlines()[2].startswith("ensemble of 2, mean of softmax: top-1")


def test_ten_crops_are_averaged(runs):
    crops = data.transforms.Compose([data.transforms.Resize(36), data.transforms.TenCrop(32)])
    test = data.load("digits")[1]
    ten = np.array([crops(image, np.random.default_rng(0)) for image in test.images[:50]])
    assert ten.shape == (50, 10, 1, 32, 32)
    mean = probabilities(runs[1], ten.reshape(500, 1, 32, 32)).reshape(50, 10, 10).mean(axis=1)
    from pycnn.train.augment import eval_transform
    from pycnn.train.config import Config
    from pycnn.train.evaluation import answers

    config = Config("lenet5", val_resize_size=36, val_crop_size=32)
    loader = data.DataLoader(test.subset(np.arange(50)), 16, transform=eval_transform(config, None, ten_crop=True))
    logs, labels = answers(net(runs[1]), loader)
    np.testing.assert_allclose(np.exp(logs), mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(labels, test.labels[:50])
    with pytest.raises(RunError, match="ten crops need their size: --val-crop-size"):
        evaluate([runs[1]], ten_crop=True)


def test_figures_are_written(runs, tmp_path, capsys):
    words = ["eval", *map(str, runs), "--ten-crop", "--val-resize-size", "34", "--val-crop-size", "32"]
    assert cli.main([*words, "--json", str(tmp_path / "e.json"), "--csv", str(tmp_path / "e.csv")]) == 0
    content = json.loads((tmp_path / "e.json").read_text())
    assert len(content["models"]) == 2 and content["ten_crop"] and content["data"] == "digits" and content["images"] == 360
    confusion = np.array(content["confusion"])
    assert confusion.sum() == 360 and np.trace(confusion) / 360 == pytest.approx(content["top1"])
    np.testing.assert_allclose(content["per_class"], np.diag(confusion) / confusion.sum(axis=1))
    rows = list(csv.DictReader((tmp_path / "e.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == list("0123456789")
    np.testing.assert_array_equal([[int(row[c]) for c in "0123456789"] for row in rows], confusion)
    assert [int(row["images"]) for row in rows] == confusion.sum(axis=1).tolist()
    assert "ensemble of 2" in capsys.readouterr().out


def test_the_best_checkpoint_can_be_taken(runs, tmp_path):
    from pycnn.train import save_checkpoint

    checkpoint = newest_checkpoint(runs[0] / "checkpoints")
    checkpoint.state["best"] = {"step": checkpoint.state["step"], "accuracy": 1.0}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text((runs[0] / "config.json").read_text())
    save_checkpoint(tmp_path / "run" / "checkpoints", checkpoint)
    best = evaluate([tmp_path / "run"])
    later = newest_checkpoint(runs[1] / "checkpoints")
    later.state |= {"best": checkpoint.state["best"], "step": checkpoint.state["step"] + 5}
    save_checkpoint(tmp_path / "run" / "checkpoints", later)
    assert evaluate([tmp_path / "run"]).loss != best.loss and evaluate([tmp_path / "run"], best=True).loss == best.loss


def test_other_data_can_be_named(runs):
    here, there = evaluate([runs[1]]), evaluate([runs[1]], {"split": "last360"})
    assert here.images == there.images == 360 and here.loss != there.loss


def test_a_file_needs_its_model(runs):
    file = next((runs[1] / "checkpoints").glob("*/model.safetensors"))
    with pytest.raises(RunError, match="name its model with --model"):
        evaluate([file])
    assert evaluate([file], {"model": "lenet5"}).loss == evaluate([runs[1]]).loss
    with pytest.raises(RunError, match="does not fit lenet5"):
        evaluate([file], {"model": "lenet5", "model_options": {"num_classes": 11}})


def test_mistakes_are_named(runs, tmp_path):
    with pytest.raises(RunError, match="no run and no file nowhere"):
        evaluate(["nowhere"])
    with pytest.raises(RunError, match="not a run"):
        evaluate([tmp_path])
    with pytest.raises(RunError, match="is of lenet5, not of alexnet"):
        evaluate([runs[0]], {"model": "alexnet"})
    with pytest.raises(RunError, match="cannot be written"):
        evaluate([runs[0]], json_file=tmp_path / "absent" / "e.json")


def test_code_of_ones_own_is_run_only_if_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "from pycnn import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self):\n"
    Path("net.py").write_text(source + "        super().__init__(nn.Flatten(), nn.Linear(1024, 10))\n")
    monkeypatch.setattr(pycnn.train.run, "draw", lambda *args: None)
    train({"model": "net.py:Net", "epochs": 1, "batch_size": 256}, output="run")
    with pytest.raises(RunError, match="code is run only if you name it: --model net.py:Net"):
        evaluate(["run"])
    assert evaluate(["run"], {"model": "net.py:Net"}).images == 360
