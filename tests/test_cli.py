"""The command ``pycnn``, the doctor, kernel sources, models by name, and the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import cli, doctor, kernel_source
from pycnn.models import create_model

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the same pycnn from any folder


def run(*words: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pycnn", *words]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, **options)


def test_help_names_every_command():
    out = run("--help").stdout
    commands = (
        "train",
        "recipes",
        "eval",
        "predict",
        "show",
        "convert",
        "weights",
        "summary",
        "compare",
        "doctor",
        "kernels",
        "source",
        "bench",
    )
    assert all(word in out for word in commands)
    assert run("--version").stdout == f"pycnn {pycnn.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["train", "lenet5", "--data", "nonsense"],
        ["train", "--epochs", "x"],
        ["eval"],
        ["train", "lenet5", "--model-option", "width"],
        ["train", "lenet5", "--image-size", "big"],
    ],
)
def test_wrong_usage_exits_2(words):
    answer = run(*words)
    assert answer.returncode == 2 and "usage: pycnn" in answer.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "name a model, for example: pycnn train lenet5"),
        (["train", "lenet"], "no model 'lenet'; did you mean lenet5"),
        (["train", "lenet5", "--epochs", "0"], "epochs must be at least 1, got 0"),
        (["train", "lenet5", "--kernels", "fast"], "--kernels takes 'own' and OP=VERSION, got 'fast'"),
        (["train", "lenet5", "--kernels", "conv2d_forward=fast"], "no version 'fast'"),
        (["train", "lenet5", "--device", "gpu"], "unknown device 'gpu'"),
        (["train", "lenet5", "--recipe", "x"], "no recipe 'x'; there are lenet5"),
        (["train", "lenet5", "--dropout", "0.5"], "lenet5 has no dropout to set to 0.5"),
        (["eval", "nowhere"], "there is no run and no file nowhere"),
        (["train", "--resume", "nowhere"], "nowhere is not a run that can be resumed"),
        (["kernels", "conv9d"], "no op matches 'conv9d'"),
        (["source", "conv2d_forward:fast"], "conv2d_forward has no version 'fast'; name one as"),
        (["source", "conv9d:naive"], "there is no op 'conv9d'; the ops are"),
    ],
)
def test_mistakes_are_one_line_and_exit_1(tmp_path, words, message):
    answer = run(*words, cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("pycnn: ") and message in answer.stderr and answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_run(monkeypatch):
    seen = {}
    monkeypatch.setattr("pycnn.train.train", lambda given, **options: seen.update(given=given, **options))
    words = "train lenet5 --data mnist --data-dir d --split last360 --device cpu --kernels own a=b --kernels c=d"
    words += " --seed 3 --epochs 4 -b 5 --lr 0.1 --momentum 0.2 --wd 0.3 --schedule constant --shift 1 --threads 2"
    words += " --output o --resume auto --save-every 6 --opt adamw --lr-step-size 7 --lr-milestones 3 9 --lr-gamma 0.5"
    words += " --lr-power 2 --lr-patience 8 --lr-min 0.01 --lr-warmup-epochs 1 --lr-warmup-decay 0.1 --fast-dev-run"
    words += " --model-option width=0.5 --model-option layers=1,2 --model-option kind=wide --recipe vgg --weights w --freeze"
    words += " --dropout 0.4 --on-error skip --image-size model --val-resize-size 36 --val-crop-size 32 -j 2 --nesterov"
    words += " --train-resize-size 40 --train-crop-size 32 --random-crop-padding 4 --hflip-prob 0.5 --color-jitter 0.1"
    words += " --pca-lighting 0.2 --norm-weight-decay 0 --bias-weight-decay 0.1 --label-smoothing 0.1 --aux-weight 0.2"
    words += " --clip-grad-norm 2 --patience 9"
    assert cli.main(words.split()) == 0
    assert seen["output"] == "o" and seen["resume"] == "auto" and seen["fast_dev_run"]
    assert seen["given"] == {
        "model": "lenet5", "data": "mnist", "data_dir": "d", "split": "last360", "device": "cpu",
        "kernels": ["own", "a=b", "c=d"], "seed": 3, "epochs": 4, "batch_size": 5, "lr": 0.1, "momentum": 0.2,
        "weight_decay": 0.3, "schedule": "constant", "shift": 1, "threads": 2, "save_every": 6,
        "optimizer": "adamw", "lr_step_size": 7, "lr_milestones": [3, 9], "lr_gamma": 0.5, "lr_power": 2.0, "lr_patience": 8,
        "lr_min": 0.01, "lr_warmup_epochs": 1, "lr_warmup_decay": 0.1,
        "model_options": {"width": 0.5, "layers": [1, 2], "kind": "wide"}, "recipe": "vgg", "weights": "w", "freeze": True,
        "dropout": 0.4, "on_error": "skip", "image_size": "model", "val_resize_size": 36, "val_crop_size": 32, "workers": 2,
        "nesterov": True, "train_resize_size": 40, "train_crop_size": 32, "random_crop_padding": 4, "hflip_prob": 0.5,
        "color_jitter": 0.1, "pca_lighting": 0.2, "norm_weight_decay": 0.0, "bias_weight_decay": 0.1, "label_smoothing": 0.1,
        "aux_weight": 0.2, "clip_grad_norm": 2.0, "patience": 9,
    }  # fmt: skip
    assert cli.main(["train", "lenet5"]) == 0 and seen["given"] == {"model": "lenet5"}


def test_other_spellings_of_options(monkeypatch):
    seen = []
    monkeypatch.setattr("pycnn.train.train", lambda given, **options: seen.append((given, options)))
    torchvision = "--model lenet5 --data-path digits --lr-scheduler step --lr-warmup-epochs 1 --label-smoothing 0.1"
    torchvision += " --output-dir o"
    timm = "lenet5 --data digits --sched step --warmup-epochs 1 --smoothing 0.1 --output o"
    for words in (torchvision, timm):
        assert cli.main(["train", *words.split()]) == 0
    assert seen[0] == seen[1] and seen[0][0]["label_smoothing"] == 0.1 and seen[0][1]["output"] == "o"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (pycnn.errors.DeviceError("no"), 1)])
def test_exit_codes(monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("pycnn.train.train", fail)
    assert cli.main(["train", "lenet5"]) == code


def test_bench_gets_its_own_options(monkeypatch):
    bench = type(sys)("pycnn.bench")
    bench.main = lambda argv: len(argv)
    monkeypatch.setitem(sys.modules, "pycnn.bench", bench)
    assert cli.main(["bench", "--anything", "x"]) == 2


# ---- kernels and their sources ----


def test_kernels_are_listed_by_op(capsys):
    assert cli.main(["kernels", "conv2d_forward"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "conv2d_forward" and any(re.match(r"  naive +\S.*\[.*float32.*\]", line) for line in lines)


def test_every_kernel_has_a_source_file():
    for row in pycnn.list_kernels():
        path = kernel_source.kernel_path(f"{row['op']}:{row['version']}")
        assert path.is_file() and "REGISTER_VERSION" in path.read_text()


def test_source_prints_the_file(capsys):
    assert cli.main(["source", "conv2d_forward:naive"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["source", "--path", "conv2d_forward:naive"]) == 0
    assert text == Path(capsys.readouterr().out.strip()).read_text()


def test_source_into_a_closed_pipe_is_silent():
    answer = subprocess.run(
        f"{sys.executable} -m pycnn kernels | head -1", shell=True, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert answer.stderr == "" and answer.stdout.count("\n") == 1


def test_missing_sources_are_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel_source, "__file__", str(tmp_path / "pycnn" / "kernel_source.py"))
    with pytest.raises(pycnn.errors.NotSupported, match="neither in"):
        kernel_source.kernels_folder()


# ---- doctor ----


def test_doctor_says_that_the_cpu_works(capsys):
    assert doctor.doctor() == 0
    out = capsys.readouterr().out
    assert re.search(r"^cpu +works: \d+ threads on \d+ cores", out, re.M)
    assert f"numpy       {np.__version__} (arrays on the CPU)" in out and "instruction sets here:" in out and "\ncuda " in out


@pytest.mark.parametrize(
    ("code", "errors", "message"),
    [
        (-4, "", "built for another CPU and uses instructions this one lacks"),
        (-11, "", "a kernel died of SIGSEGV"),
        (1, "Traceback\nImportError: no symbol", "does not work: ImportError: no symbol"),
    ],
)
def test_doctor_explains_a_broken_cpu_module(monkeypatch, capsys, code, errors, message):
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: subprocess.CompletedProcess(args, code, "", errors))
    assert doctor.doctor() == 1
    assert message in capsys.readouterr().out


def test_doctor_explains_what_cuda_lacks(monkeypatch, capsys):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_driver", lambda: ("none", 0))
    monkeypatch.setattr(doctor, "_nvcc", lambda: None)
    monkeypatch.setattr(doctor, "_report_cpu", lambda: True)
    assert doctor.doctor("cuda") == 1 and doctor.doctor("cpu") == 0
    out = capsys.readouterr().out
    assert "pycnn._cuda is not built; install the CUDA toolkit, then: PYCNN_CUDA=ON pip install ." in out
    assert "there is no NVIDIA GPU" in out and "CuPy is missing" in out


# ---- models by name ----


def test_lenet5_is_the_modern_form():
    model = create_model("lenet5")
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert shapes == {
        "c1.weight": (6, 1, 5, 5), "c1.bias": (6,), "c3.weight": (16, 6, 5, 5), "c3.bias": (16,), "c5.weight": (120, 400),
        "c5.bias": (120,), "f6.weight": (84, 120), "f6.bias": (84,), "output.weight": (10, 84), "output.bias": (10,),
    }  # fmt: skip
    assert sum(p.size for p in model.parameters()) == 61_706
    x = pycnn.Tensor(np.zeros((3, 1, 32, 32), np.float32), layout="image")
    assert model(x).shape == (3, 10) and create_model("lenet5", num_classes=4)(x).shape == (3, 4)


# ---- the rest ----


@pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="the examples are in the source checkout only")
@pytest.mark.parametrize("name", ["own_net", "own_function"])
def test_example_learns(tmp_path, name):
    command = [sys.executable, ROOT / "examples" / f"{name}.py"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT).stdout
    assert float(re.findall(r"([\d.]+) %", out)[-1]) > 92
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="the examples are in the source checkout only")
def test_example_shares_memory(tmp_path):
    command = [sys.executable, ROOT / "examples" / "share_memory.py"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT).stdout
    assert out == "7.0 (8, 3, 32, 32) 0.0\n"


def test_own_net_is_at_most_15_lines():
    text = (ROOT / "examples" / "own_net.py").read_text()
    assert (
        len([line for line in re.search(r"^class Net.*?(?=^\S(?!lass))", text, re.M | re.S)[0].splitlines() if line.strip()])
        <= 15
    )


def test_import_loads_nothing_heavy():
    heavy = ("rich", "matplotlib", "PIL", "safetensors", "torch", "cupy")
    code = f"import sys, pycnn; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT).stdout == "[]\n"
