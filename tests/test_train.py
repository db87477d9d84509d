"""The Trainer and ``pycnn train``: learning, stopping and going on with the same bits, and everything that can go wrong."""

from __future__ import annotations

import csv
import errno
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import data, nn, ops, optim
from pycnn.train import (
    Callback,
    CheckpointError,
    Config,
    EarlyStopping,
    Evaluation,
    Interrupted,
    RunError,
    Trainer,
    TrainingError,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    train,
)
from pycnn.train import trainer as trainer_module
from pycnn.train.build import build, make_scheduler
from pycnn.train.log import CsvLog, Progress, read_rows


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Runs go below the test's own folder."""
    monkeypatch.chdir(tmp_path)


def cosine(optimizer):
    """Over two epochs."""
    return optim.lr_scheduler.CosineAnnealingLR(optimizer, 14)


def before_steps(trainer: Trainer, action) -> Trainer:
    """Let the trainer call `action(step)` before each of its steps, counted from 0."""
    train_step = trainer._train_step

    def watched(images, labels):
        action(trainer.step)
        return train_step(images, labels)

    trainer._train_step = watched
    return trainer


def make_trainer(folder: Path | None = None, epochs: int = 2, schedule=None, model=None, make=optim.SGD, **options) -> Trainer:
    """LeNet-5 on 100 digits, batches of 16: 7 steps an epoch. `schedule` makes the scheduler of an optimizer."""
    train_set, test_set = data.load("digits")
    pycnn.manual_seed(0)
    model = model or pycnn.models.create_model("lenet5")
    settings = {"momentum": 0.9} if make is optim.SGD else {}
    optimizer = make(model.parameters(), lr=0.02 if settings else 0.002, weight_decay=1e-3, **settings)
    loader = data.DataLoader(train_set.subset(np.arange(100)), 16, shuffle=True, seed=5, transform=data.transforms.RandomShift(2))
    test_loader = data.DataLoader(test_set.subset(np.arange(40)), 32)
    scheduler = schedule and schedule(optimizer)
    return Trainer(model, optimizer, loader, test_loader, epochs, scheduler=scheduler, folder=folder, **options)


def rows(path: Path, drop: str = "seconds") -> list[dict[str, str]]:
    """The rows of a CSV file as text, without a column that is never twice the same."""
    return [{k: v for k, v in row.items() if k != drop} for row in csv.DictReader(path.read_text().splitlines())]


def assert_same_run(a: Path, b: Path) -> None:
    """Every tensor of the last checkpoint, every logged loss, and the place are equal bit for bit."""
    left, right = (load_checkpoint(list_checkpoints(folder / "checkpoints")[-1]) for folder in (a, b))
    for part in ("model", "optimizer"):
        ours, theirs = getattr(left, part), getattr(right, part)
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for name in ("step", "loader", "sums", "best", "random"):
        assert left.state[name] == right.state[name], name
    for file in ("steps.csv", "metrics.csv"):
        assert rows(a / file) == rows(b / file), file


# ---- learning ----


def test_one_epoch_learns_and_logs(tmp_path, capsys):
    trainer = make_trainer(tmp_path, epochs=3)
    row = trainer.fit()
    assert row["epoch"] == 2 and row["step"] == 21 and 0 <= row["test_accuracy"] <= 1
    steps, epochs = read_rows(tmp_path / "steps.csv"), read_rows(tmp_path / "metrics.csv")
    assert [r["step"] for r in steps] == list(range(1, 22)) and len(epochs) == 3
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    mean = (sum(r["loss"] * 16 for r in steps[:6]) + steps[6]["loss"] * 4) / 100
    assert epochs[0]["train_loss"] == pytest.approx(mean, rel=1e-12)
    assert capsys.readouterr().out.count("epoch ") == 3
    assert trainer.save() and len(list_checkpoints(tmp_path / "checkpoints")) in (2, 3)  # the newest two and the best


def test_without_a_folder_nothing_is_written(tmp_path):
    make_trainer(epochs=1).fit()
    assert list(tmp_path.iterdir()) == []


def test_evaluation_changes_nothing_and_counts_right():
    trainer = make_trainer()
    before = trainer.model.state_dict()
    measured = trainer.evaluate()
    labels = trainer.test_loader.dataset.labels
    assert measured.accuracy == np.mean(measured.predictions == labels) and np.isfinite(measured.loss)
    logits = np.concatenate([trainer.model(images).numpy() for images, _ in trainer.test_loader])
    rank = (logits > logits[np.arange(40), labels][:, None]).sum(axis=1)
    assert measured.top5 == np.mean(rank < 5) > measured.accuracy
    assert all(np.array_equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert trainer.model.training


def test_progress_lines_within_long_epochs_and_a_bar_on_terminals(capsys):
    with Progress(2, 10, live=False, every=0.0) as progress:
        progress.step(1, 13, 0.5)
    assert capsys.readouterr().out == "epoch 2/2, step 3/10: loss 0.5000\n"
    with Progress(2, 10, live=True) as progress:
        progress.step(1, 13, 0.5)
        progress.say("a line [not markup]")
    assert "a line [not markup]" in capsys.readouterr().out


# ---- going on ----


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """A run of two epochs that nothing stopped."""
    folder = tmp_path_factory.mktemp("straight")
    make_trainer(folder, schedule=cosine).fit()
    return folder


@pytest.mark.parametrize("stop_after", range(1, 15))
def test_stopped_after_any_step_and_resumed_gives_the_same_bits(tmp_path, straight, stop_after):
    def stop(step):
        if step + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        before_steps(make_trainer(tmp_path, schedule=cosine), stop).fit()
    assert caught.value.code == 130
    resumed = make_trainer(tmp_path, schedule=cosine)
    resumed.restore(newest_checkpoint(tmp_path / "checkpoints", pytest.fail))
    assert resumed.step == stop_after
    resumed.fit()
    assert_same_run(tmp_path, straight)


def warm_up(optimizer):
    """Three steps, then multiplied at two milestones."""
    parts = [optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), optim.lr_scheduler.MultiStepLR(optimizer, [4, 8], 0.3)]
    return optim.lr_scheduler.SequentialLR(optimizer, parts, [3])


def plateau(optimizer):
    """An epoch's test loss is never better by a half."""
    return optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)


@pytest.mark.parametrize(
    ("make", "schedule", "stops"),
    [(optim.Adam, plateau, (3, 14, 15, 20)), (optim.AdamW, warm_up, (2, 3, 7, 9)), (optim.SGD, plateau, (14, 16))],
)
def test_any_optimizer_and_scheduler_resumes_with_the_same_bits(tmp_path, make, schedule, stops):
    def trainer(folder):
        return make_trainer(folder, epochs=3, schedule=schedule, make=make)

    trainer(tmp_path / "straight").fit()
    rates = [row["lr"] for row in read_rows(tmp_path / "straight" / "steps.csv")]
    assert len(set(rates)) == (2 if schedule is plateau else 6) and rates[14] != rates[0]
    for stop in stops:  # again and again, each run going on with the one before
        running = trainer(tmp_path / "resumed")
        if list_checkpoints(tmp_path / "resumed" / "checkpoints"):
            running.restore(newest_checkpoint(tmp_path / "resumed" / "checkpoints", pytest.fail))
        with pytest.raises(Interrupted):
            before_steps(running, signals_at(stop - 1, signal.SIGTERM)).fit()
        assert running.step == stop
    last = trainer(tmp_path / "resumed")
    last.restore(newest_checkpoint(tmp_path / "resumed" / "checkpoints", pytest.fail))
    last.fit()
    assert_same_run(tmp_path / "resumed", tmp_path / "straight")


def test_checkpoint_of_another_scheduler_is_refused(straight):
    with pytest.raises(CheckpointError, match="does not fit this run: .*scheduler state has"):
        make_trainer(schedule=plateau).restore(newest_checkpoint(straight / "checkpoints"))
    with pytest.raises(CheckpointError, match="does not fit this run: .*optimiser state has"):
        make_trainer(make=optim.Adam).restore(newest_checkpoint(straight / "checkpoints"))


def test_resuming_from_an_older_checkpoint_drops_the_later_rows(tmp_path, straight):
    make_trainer(tmp_path, schedule=cosine, save_every=3).fit()
    assert_same_run(tmp_path, straight)
    for path in list_checkpoints(tmp_path / "checkpoints")[1:]:
        (path / "state.json").write_text("")
    with open(tmp_path / "steps.csv", "a") as file:
        file.write("15,3,0.0")  # the process died in the middle of a line
    said = []
    resumed = make_trainer(tmp_path, schedule=cosine)
    resumed.restore(newest_checkpoint(tmp_path / "checkpoints", said.append))
    assert said and resumed.step < 14
    resumed.fit()
    assert_same_run(tmp_path, straight)


def test_a_finished_run_has_nothing_left_to_do(straight, tmp_path):
    resumed = make_trainer()
    resumed.restore(newest_checkpoint(straight / "checkpoints"))
    assert resumed.fit() == {}


def test_checkpoint_of_another_model_is_refused(straight):
    other = make_trainer(model=pycnn.models.create_model("lenet5", num_classes=11))
    with pytest.raises(CheckpointError, match="does not fit this run"):
        other.restore(newest_checkpoint(straight / "checkpoints"))


def test_checkpoint_says_where_it_is_from(straight):
    checkpoint = newest_checkpoint(straight / "checkpoints")
    assert checkpoint.model["c1.weight"].shape == (6, 1, 5, 5)
    assert checkpoint.state["kernels"]["conv2d_forward"]
    assert checkpoint.state["made_by"]["numpy"] == np.__version__


COMMAND = [sys.executable, "-m", "pycnn", "train"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the same pycnn from any folder
SMALL = ["lenet5", "--epochs", "2", "--batch-size", "64", "--save-every", "5", "--seed", "3"]


@pytest.fixture(scope="module")
def straight_command(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("command") / "run"
    subprocess.run([*COMMAND, *SMALL, "--output", folder], check=True, capture_output=True, env=ENVIRONMENT)
    return folder


@pytest.mark.parametrize("attempt", range(3))
def test_killed_and_resumed_gives_the_same_bits(tmp_path, straight_command, attempt):
    folder = tmp_path / "run"
    rng = random.Random(attempt)
    command = [*COMMAND, *SMALL, "--output", folder]
    for _ in range(10):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
        while not list_checkpoints(folder / "checkpoints") and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        assert process.communicate()[1] == b""
        command = [*COMMAND, "--resume", folder]
        if process.returncode == 0:
            break
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    assert_same_run(folder, straight_command)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_exits_with_its_code(tmp_path, straight_command, number, code):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, *SMALL, "--output", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    while not (folder / "steps.csv").exists() or len((folder / "steps.csv").read_text().splitlines()) < 3:
        time.sleep(0.001)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code
    assert f"go on with: pycnn train --resume {folder}" in out and "saving after this step" in err and "Traceback" not in err
    subprocess.run([*COMMAND, "--resume", folder], check=True, capture_output=True, env=ENVIRONMENT)
    assert_same_run(folder, straight_command)


def test_thread_count_does_not_change_bits(tmp_path, straight_command):
    folder = tmp_path / "run"
    for threads in ("1", "2"):
        folder = tmp_path / threads
        subprocess.run(
            [*COMMAND, *SMALL, "--threads", threads, "--output", folder], check=True, capture_output=True, env=ENVIRONMENT
        )
        assert_same_run(folder, straight_command)


# ---- signals ----


def signals_at(step: int, *numbers):
    def action(now):
        if now == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return action


def test_second_ctrl_c_aborts_at_once(tmp_path):
    trainer = before_steps(make_trainer(tmp_path), signals_at(3, signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert trainer.step == 3 and list_checkpoints(tmp_path / "checkpoints") == []


@pytest.mark.parametrize("numbers", [[], [signal.SIGINT], [signal.SIGTERM]])
def test_handlers_are_restored(numbers):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    try:
        before_steps(make_trainer(epochs=1), signals_at(2, *numbers)).fit()
    except Interrupted as stopped:
        assert stopped.signal == numbers[0]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_no_handlers_are_installed():
    before, seen, result = signal.getsignal(signal.SIGINT), [], []

    trainer = before_steps(make_trainer(epochs=1), lambda step: seen.append(signal.getsignal(signal.SIGINT)))
    thread = threading.Thread(target=lambda: result.append(trainer.fit()))
    thread.start()
    thread.join()
    assert result[0]["step"] == 7 and set(seen) == {before}


# ---- full disks ----


def test_full_disk_keeps_the_old_checkpoint_and_training_goes_on(tmp_path, monkeypatch, capsys, straight):
    trainer = make_trainer(tmp_path, schedule=cosine, save_every=3)
    written = []

    def write(path, content):
        if 1 <= trainer.step - 7 <= 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(trainer.step)
        original(path, content)

    original = pycnn.train.checkpoint.write_durably
    monkeypatch.setattr(pycnn.train.checkpoint, "write_durably", write)
    trainer.fit()
    out = capsys.readouterr().out
    assert out.count("not saved: the disk is full") == 1 and "0003-step-00000007 is kept" in out and "bytes" in out
    assert 9 not in written and 12 in written
    assert_same_run(tmp_path, straight)


def test_log_rows_wait_while_the_disk_is_full(tmp_path):
    log = CsvLog(tmp_path / "log.csv", ("step", "loss"))
    log.write(1, 0.1)

    class Full:
        def __init__(self, file, room):
            self.file, self.room = file, room

        def write(self, content):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            part, self.room = content[: self.room], max(self.room - len(content), 0)
            return self.file.write(part)

        def fileno(self):
            return self.file.fileno()

    file = log._file
    for room in (0, 3):
        log._file = Full(file, room)
        log.write(2 + room, 0.2)
        assert log.failed.errno == errno.ENOSPC
        assert (tmp_path / "log.csv").read_text() == "step,loss\n1,0.1\n"
    log._file = file
    log.write(9, 0.3)
    log.close()
    assert log.failed is None
    assert (tmp_path / "log.csv").read_text() == "step,loss\n1,0.1\n2,0.2\n5,0.2\n9,0.3\n"


# ---- numbers that are not ----


class Poisoned(nn.Module):
    """A small net whose layer `middle` turns its output into NaN from one step on."""

    def __init__(self):
        self.first, self.middle, self.last = nn.Linear(1024, 8), Poison(), nn.Linear(8, 10)

    def forward(self, x):
        return self.last(self.middle(ops.relu(self.first(ops.flatten(x, 1)))))


class Poison(nn.Module):
    calls = 0

    def forward(self, x):
        if self.training:
            self.calls += 1
        return pycnn.Tensor(np.full(x.shape, np.nan, np.float32)) if self.calls > 9 else x


def test_nan_loss_names_step_and_layer_and_keeps_the_last_finite_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, model=Poisoned())
    with pytest.raises(
        TrainingError, match=r"step 10 \(epoch 2\): the loss is nan; .* non-finite output is middle = Poison"
    ) as caught:
        trainer.fit()
    last = newest_checkpoint(tmp_path / "checkpoints", pytest.fail)
    assert last.state["step"] == 7 and str(last.path) in str(caught.value)
    assert all(np.isfinite(array).all() for array in last.model.values())


@pytest.mark.parametrize(("name", "value"), [("c3.weight", np.nan), ("f6.bias", np.inf)])
def test_parameter_that_is_not_finite_is_named(tmp_path, name, value):
    def poison(step):
        if step == 3:
            state = trainer.model.state_dict()
            state[name][..., 0] = value
            trainer.model.load_state_dict(state)

    trainer = before_steps(make_trainer(tmp_path), poison)
    with pytest.raises(TrainingError, match=f"step 4 .* the parameter {name} is not finite.* nothing has been saved yet"):
        trainer.fit()
    assert list_checkpoints(tmp_path / "checkpoints") == []


def test_too_large_a_learning_rate_is_reported_not_saved(tmp_path):
    growing = lambda optimizer: optim.lr_scheduler.MultiStepLR(optimizer, [8], gamma=1e32)
    trainer = make_trainer(tmp_path, epochs=9, schedule=growing)
    with pytest.raises(TrainingError, match="not finite|non-finite"):
        trainer.fit()
    last = newest_checkpoint(tmp_path / "checkpoints", pytest.fail)
    assert last.state["step"] == 7 and all(np.isfinite(array).all() for array in last.model.values())


def test_nan_is_never_the_best(tmp_path, monkeypatch):
    trainer = make_trainer(epochs=1)
    monkeypatch.setattr(trainer, "evaluate", lambda: Evaluation(float("nan"), 1.0, 1.0, np.zeros(40)))
    trainer.fit()
    assert trainer.best == {"step": 0, "accuracy": 0.0}


def test_non_finite_images_are_named():
    trainer = make_trainer()
    images = pycnn.Tensor(np.full((1, 1, 32, 32), np.inf, np.float32), layout="image")
    assert trainer_module.first_not_finite(trainer.model, images) == "the input images are not finite"


# ---- what the loss is made of ----


class TwoHeads(nn.Module):
    """Logits alone in evaluation; while training a tuple of logits and auxiliary logits."""

    head = ("out", "aux")

    def __init__(self, num_classes: int = 10, p: float = 0.0):
        self.conv, self.bn = nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4)
        self.drop, self.out, self.aux = nn.Dropout(p), nn.Linear(196, num_classes), nn.Linear(196, num_classes)

    def forward(self, x):
        x = self.drop(ops.flatten(ops.relu(self.bn(self.conv(x))), 1))
        return (self.out(x), self.aux(x)) if self.training else self.out(x)


def one_step(**options) -> tuple[Trainer, float, dict[str, np.ndarray]]:
    """A trainer of two heads after a step, the step's loss, and the gradients."""
    pycnn.manual_seed(0)
    trainer = make_trainer(model=TwoHeads(), **options)
    images, labels = next(iter(trainer.train_loader))
    loss = trainer._train_step(images, labels)
    return trainer, loss, {name: np.array(p.grad.numpy()) for name, p in trainer.model.named_parameters()}


def smoothed_cross_entropy(logits, labels, smoothing):
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.eye(10)[labels] * (1 - smoothing) + smoothing / 10
    return -(target * logs).sum(axis=1).mean()


@pytest.mark.parametrize(("aux_weight", "smoothing"), [(0.3, 0.0), (0.0, 0.1), (0.5, 0.1)])
def test_loss_is_cross_entropy_and_the_auxiliary_heads_share(aux_weight, smoothing):
    pycnn.manual_seed(0)
    trainer = make_trainer(model=TwoHeads(), aux_weight=aux_weight, label_smoothing=smoothing)
    images, labels = next(iter(trainer.train_loader))
    main, aux = (smoothed_cross_entropy(y.numpy().astype(float), labels.numpy(), smoothing) for y in trainer.model(images))
    assert trainer._train_step(images, labels) == pytest.approx(main + aux_weight * aux, rel=1e-5)


def test_auxiliary_head_learns_by_its_weight():
    grads = [one_step(aux_weight=weight)[2] for weight in (0.3, 0.6)]
    np.testing.assert_allclose(2 * grads[0]["aux.weight"], grads[1]["aux.weight"], rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(grads[0]["out.weight"], grads[1]["out.weight"])


def test_gradients_are_clipped_to_a_norm():
    free, clipped = one_step()[2], one_step(clip_grad_norm=0.5)[2]
    norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in free.values()))
    assert norm > 0.5
    for name in free:
        np.testing.assert_allclose(clipped[name], free[name] * (0.5 / norm), rtol=1e-4, atol=1e-7)


# ---- callbacks ----


class Recorder(Callback):
    """Notes what it is called with, and counts steps over all runs."""

    def __init__(self):
        self.events, self.steps = [], 0

    def on_fit_start(self, trainer):
        self.events.append(("start", trainer.step))

    def on_step_end(self, trainer, loss):
        self.steps += 1
        assert np.isfinite(loss)

    def on_epoch_end(self, trainer, row):
        self.events.append(("epoch", row["epoch"], row["step"]))

    def on_fit_end(self, trainer, row):
        self.events.append(("end", row["step"]))

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def test_callbacks_are_called_and_their_state_is_saved(tmp_path):
    recorder = Recorder()
    make_trainer(tmp_path / "a", callbacks=[recorder]).fit()
    assert recorder.events == [("start", 0), ("epoch", 0, 7), ("epoch", 1, 14), ("end", 14)] and recorder.steps == 14
    stopped, resumed = Recorder(), Recorder()
    with pytest.raises(Interrupted):
        before_steps(make_trainer(tmp_path / "b", callbacks=[stopped]), signals_at(9, signal.SIGINT)).fit()
    trainer = make_trainer(tmp_path / "b", callbacks=[resumed])
    trainer.restore(newest_checkpoint(tmp_path / "b" / "checkpoints", pytest.fail))
    trainer.fit()
    assert stopped.steps == 10 and stopped.events[-1] == ("epoch", 0, 7) and resumed.steps == 14
    assert_same_run(tmp_path / "a", tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"it has callbacks \['Recorder'\], this run \[\]"):
        make_trainer().restore(newest_checkpoint(tmp_path / "a" / "checkpoints"))


def test_checkpoints_from_before_callbacks_go_on(tmp_path):
    make_trainer(tmp_path, epochs=1).fit()
    checkpoint = newest_checkpoint(tmp_path / "checkpoints")
    del checkpoint.state["callbacks"]
    trainer = make_trainer()
    trainer.restore(checkpoint)
    assert trainer.step == 7


def test_early_stopping_counts_epochs_without_a_better_value():
    stopping, reasons = EarlyStopping(2, "test_accuracy", "max", min_delta=0.1), []
    trainer = make_trainer()
    trainer.stop = reasons.append
    for epoch, value in enumerate([0.3, 0.35, 0.5, float("nan"), 0.55]):
        assert not reasons
        stopping.on_epoch_end(trainer, {"test_accuracy": value, "epoch": epoch})
    assert reasons == ["test_accuracy has not been better for 2 epochs, 0.5000 in epoch 3"]
    again = EarlyStopping(2)
    again.load_state_dict(stopping.state_dict())
    again.on_fit_start(trainer)
    assert len(reasons) == 2
    with pytest.raises(ValueError, match="no column 'loss'; there are epoch, test_loss"):
        EarlyStopping(1, "loss").on_epoch_end(trainer, {"epoch": 0, "test_loss": 1.0})
    for wrong in ({"patience": 0}, {"patience": 1, "mode": "best"}):
        with pytest.raises(ValueError, match="must be"):
            EarlyStopping(**wrong)


def test_early_stopping_ends_a_run_for_good(tmp_path, capsys):
    def trainer():
        return make_trainer(tmp_path, epochs=9, callbacks=[EarlyStopping(1, min_delta=10.0)])

    assert trainer().fit()["epoch"] == 1
    assert "stopped: test_loss has not been better for 1 epochs" in capsys.readouterr().out
    resumed = trainer()
    resumed.restore(newest_checkpoint(tmp_path / "checkpoints", pytest.fail))
    assert resumed.fit() == {}


def test_fast_dev_run_is_one_batch_and_writes_nothing(tmp_path, capsys):
    trainer = make_trainer(tmp_path, fast_dev_run=True)
    row = trainer.fit()
    assert row["step"] == 1 and trainer.sums["images"] == 0 and list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.count("\n") == 2
    assert train({"model": "lenet5"}, fast_dev_run=True)["step"] == 1 and list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="leave out --resume"):
        train({}, resume=tmp_path, fast_dev_run=True)


def test_old_logs_keep_their_rows_when_columns_are_added(tmp_path):
    (tmp_path / "log.csv").write_text("step,loss\n1,0.1\n2,0.2\n3,0.")
    log = CsvLog(tmp_path / "log.csv", ("step", "loss", "top5"), 9)
    log.write(3, 0.3, 1.0)
    log.close()
    assert (tmp_path / "log.csv").read_text() == "step,loss,top5\n1,0.1,nan\n2,0.2,nan\n3,0.3,1.0\n"
    assert np.isnan(read_rows(tmp_path / "log.csv")[0]["top5"])


# ---- what learns ----

OWN_NET = """
from pycnn import nn, ops

class Net(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(1024, 10)

    def forward(self, x):
        return self.layer(ops.flatten(x, 1))

not_a_net = 3
"""


def built(**settings) -> Trainer:
    """The trainer of a net with two heads from a file."""
    source = inspect.getsource(TwoHeads)
    Path("two_heads.py").write_text(f"from pycnn import nn, ops\n\n\n{source}")
    return build(Config("two_heads.py:TwoHeads", batch_size=512, **settings), live=False)


def test_weight_decay_skips_what_it_is_told_to():
    assert len(built(weight_decay=1e-3).optimizer.groups) == 1
    trainer = built(weight_decay=1e-3, norm_weight_decay=0.0, bias_weight_decay=2e-3)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    decays = {g.settings["weight_decay"]: {names[id(p)] for p in g.parameters} for g in trainer.optimizer.groups}
    assert decays == {
        1e-3: {"conv.weight", "out.weight", "aux.weight"},
        0.0: {"bn.weight", "bn.bias"},
        2e-3: {"conv.bias", "out.bias", "aux.bias"},
    }


def test_only_the_head_learns_when_the_rest_is_frozen():
    trainer = built(freeze=True, epochs=1, schedule="constant")
    before = trainer.model.state_dict()
    trainer.fit()
    changed = {name for name, value in trainer.model.state_dict().items() if not np.array_equal(value, before[name])}
    assert changed == {"out.weight", "out.bias", "aux.weight", "aux.bias"}
    with pytest.raises(RunError, match="does not say which layers learn"):
        Path("net.py").write_text(OWN_NET)
        build(Config("net.py:Net", freeze=True))


def test_model_gets_classes_dropout_and_options():
    trainer = built(dropout=0.25, model_options={"num_classes": 12})
    assert trainer.model.drop.p == 0.25 and trainer.model.out.weight.shape == (12, 196)
    with pytest.raises(RunError, match="lenet5 has no dropout to set to 0.5"):
        build(Config("lenet5", dropout=0.5))
    with pytest.raises(RunError, match="lenet5 has no option 'width'; it has num_classes"):
        build(Config("lenet5", model_options={"width": 2}))
    with pytest.raises(RunError, match="cannot be built with"):
        build(Config("lenet5", model_options={"num_classes": "ten"}))


def test_starting_weights_are_loaded_and_a_head_of_other_classes_stays_fresh(no_picture, capsys):
    train(QUICK, output="first")
    weights = newest_checkpoint("first/checkpoints").model
    started = build(Config("lenet5", weights="first")).model.state_dict()
    assert all(np.array_equal(started[name], weights[name]) for name in weights)
    file = next(Path("first/checkpoints").glob("*/model.safetensors"))
    started = build(Config("lenet5", weights=str(file), model_options={"num_classes": 12})).model.state_dict()
    same = {name for name in weights if np.array_equal(started[name], weights[name])}
    assert same == {name for name in weights if not name.startswith("output")}
    assert "the head starts afresh" in capsys.readouterr().out
    with pytest.raises(RunError, match="there is no file nowhere"):
        build(Config("lenet5", weights="nowhere"))
    train(QUICK | {"epochs": 2, "weights": "first"}, output="second")
    Path("first").rename("moved")  # a resumed run does not ask for its starting weights
    assert train({"epochs": 3}, resume="second")["steps"] == 18


# ---- what the net sees ----


def test_settings_make_the_transforms():
    from pycnn.train.augment import eval_transform, train_transform

    def names(transform):
        return [type(t).__name__ for t in transform.transforms] if transform else []

    T = data.transforms
    assert train_transform(Config("lenet5"), None, (1, 32, 32)) is eval_transform(Config("lenet5"), None) is None
    config = Config("x", train_resize_size=256, train_crop_size=224, hflip_prob=0.5, pca_lighting=0.1, color_jitter=0.4)
    steps = train_transform(config, None, (3, 300, 400)).transforms
    jitter = T.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)
    assert steps == (T.Resize(256), T.RandomCrop(224, 0), T.RandomHorizontalFlip(0.5), jitter, T.PCALighting(0.1))
    assert eval_transform(config, None).transforms == (T.Resize(256), T.CenterCrop(224))
    assert eval_transform(config, None, ten_crop=True).transforms == (T.Resize(256), T.TenCrop(224))
    assert train_transform(Config("x", train_crop_size=112), None, (3, 9, 9)).transforms == (T.RandomResizedCrop(112),)
    padded = Config("x", random_crop_padding=4, shift=2)
    assert train_transform(padded, None, (3, 32, 32)).transforms == (T.RandomCrop((32, 32), 4), T.RandomShift(2))
    assert eval_transform(padded, None) is None
    assert names(train_transform(padded, 64, (1, 32, 32))) == ["Resize", "RandomCrop", "RandomShift"]
    with pytest.raises(RunError, match="ten crops need their size"):
        eval_transform(Config("x"), None, ten_crop=True)


COLOR_NET = OWN_NET.replace("class Net(nn.Module):", "class Net(nn.Module):\n    image = (3, 16, 16)\n").replace("1024", "768")


def test_images_are_fitted_to_the_net_only_when_asked():
    Path("net.py").write_text(COLOR_NET)
    with pytest.raises(RunError, match=r"takes images of 3 channel\(s\), those of digits have 1; --image-size model"):
        build(Config("net.py:Net"))
    trainer = build(Config("net.py:Net", image_size="model"))
    images, _ = next(iter(trainer.train_loader))
    assert images.shape == (64, 3, 16, 16)
    x = images.numpy()
    np.testing.assert_array_equal(x[:, 0], x[:, 2])
    assert next(iter(trainer.test_loader))[0].shape[1:] == (3, 16, 16)
    with pytest.raises(RunError, match=r"does not take images of 3×20×20 \(.*\); it was designed for 3×16×16"):
        build(Config("net.py:Net", image_size=20))
    with pytest.raises(RunError, match="says no image size"):
        Path("plain.py").write_text(OWN_NET)
        build(Config("plain.py:Net", image_size="model"))


def test_folders_of_images_need_a_size(no_picture):
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for label in ("cat", "dog"):
            (folder := Path("pictures", part, label)).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (20 + i, 24, 3), np.uint8)).save(folder / f"{i}.png")
    Path("net.py").write_text(COLOR_NET)
    with pytest.raises(RunError, match="may differ in size; .*--train-crop-size"):
        build(Config("net.py:Net", data="pictures"))
    Path("pictures/val/cat/0.png").write_bytes(b"no image")
    settings = {"model": "net.py:Net", "data": "pictures", "train_crop_size": 16, "epochs": 1, "workers": 2, "on_error": "skip"}
    with pytest.warns(UserWarning, match="0.png"):
        result = train(settings, output="run")
    assert result["test_images"] == 5
    with pytest.raises(data.CorruptImage, match="0.png"):
        train(settings | {"on_error": "raise"}, output="strict")


def test_workers_change_no_bits(no_picture):
    for workers in (0, 2):
        train(QUICK | {"workers": workers, "random_crop_padding": 2, "hflip_prob": 0.5}, output=f"run{workers}")
    a, b = (newest_checkpoint(f"run{workers}/checkpoints") for workers in (0, 2))
    for name in a.model:
        np.testing.assert_array_equal(a.model[name], b.model[name])


# ---- runs ----


QUICK = {"model": "lenet5", "epochs": 1, "batch_size": 256}


@pytest.fixture
def no_picture(monkeypatch):
    """Drawing takes longer than training for one epoch."""
    monkeypatch.setattr(pycnn.train.run, "draw", lambda *args: None)


def test_run_leaves_everything_in_its_folder(tmp_path, capsys):
    result = train(QUICK, output=tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "checkpoints", "config.json", "metrics.csv", "picture.png", "result.json", "steps.csv"]
    assert (tmp_path / "run" / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["batch_size"] == 256 and config["lr"] == 0.03 and config["data"] == "digits"
    out = capsys.readouterr().out
    assert "lenet5: 61,706 parameters, on cpu" in out and "1,437 training and 360 test images" in out
    assert "conv2d_forward:" in out and "conv2d_backward_weight:" in out and "test accuracy" in out
    with pytest.raises(RunError, match="is not empty"):
        train(QUICK, output=tmp_path / "run")


def test_default_folder_is_named_after_the_run(tmp_path, monkeypatch, no_picture):
    monkeypatch.setattr(time, "strftime", lambda form: "20250102-030405")
    train(QUICK)
    train(QUICK)
    assert sorted(p.name for p in Path("runs").iterdir()) == [
        "20250102-030405-lenet5-digits",
        "20250102-030405-lenet5-digits+2",
    ]


def test_resume_keeps_settings_and_refuses_others(tmp_path, no_picture):
    folder = tmp_path / "run"
    train(QUICK, output=folder)
    with pytest.raises(RunError, match="was started with lr = 0.03, it cannot go on with 0.1"):
        train({"lr": 0.1}, resume=folder)
    result = train({"epochs": 2, "threads": 1}, resume=folder)
    assert result["steps"] == 12 and len(read_rows(folder / "metrics.csv")) == 2
    with pytest.raises(RunError, match="is not a run that can be resumed"):
        train({}, resume=tmp_path)


def test_runs_from_before_a_setting_was_there_go_on(tmp_path, no_picture):
    train(QUICK, output="run")
    config = json.loads(Path("run/config.json").read_text())
    old = {name: config[name] for name in ("model", "data", "seed", "epochs", "batch_size", "lr", "weight_decay", "shift")}
    Path("run/config.json").write_text(json.dumps(old))
    assert train({"epochs": 2}, resume="run")["steps"] == 12
    assert json.loads(Path("run/config.json").read_text()) == config | {"epochs": 2}
    Path("run/config.json").write_text(json.dumps(old | {"novelty": 1}))
    with pytest.raises(RunError, match="of another version of pycnn, which knows novelty"):
        train({}, resume="run")


def test_resume_auto_takes_the_newest_unfinished_run(tmp_path, capsys, no_picture):
    def stopped(name, **more):
        result = train(QUICK | more, output=tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "result.json").unlink()
        return result

    stopped("20250101-000000-lenet5-digits")
    stopped("20250102-000000-lenet5-digits", seed=1)
    train(QUICK | {"seed": 2}, output="runs/20250103-000000-lenet5-digits")  # finished
    capsys.readouterr()
    assert train({"model": "lenet5"}, resume="auto")["seed"] == 1
    assert "resuming runs/20250102" in capsys.readouterr().out
    assert train({"model": "lenet5"}, resume="auto")["seed"] == 0
    assert train(QUICK | {"seed": 9}, resume="auto")["seed"] == 9  # none is left: a new one
    again = train(QUICK, output="other", resume="auto")
    assert again == train(QUICK, output="other", resume="auto") | {"seconds": again["seconds"]}


def test_a_run_has_one_writer(tmp_path, no_picture):
    from pycnn.train.run import locked

    train(QUICK, output=tmp_path / "run")
    with locked(tmp_path / "run"), pytest.raises(RunError, match="being written by another process"):
        train({"epochs": 2}, resume=tmp_path / "run")


def test_own_model_from_a_file(no_picture):
    Path("net.py").write_text(OWN_NET)
    assert train(QUICK | {"model": "net.py:Net"}, output="run")["steps"] == 6
    with pytest.raises(RunError, match="code is run only if you name it: pycnn train net.py:Net --resume run"):
        train({}, resume="run")
    assert train({"model": "net.py:Net", "epochs": 2}, resume="run")["steps"] == 12
    for name, message in {
        "net.py:Other": "defines no pycnn.nn.Module named Other",
        "net.py:not_a_net": "defines no pycnn.nn.Module",
        "absent.py:Net": "there is no file absent.py",
        "lenet6": "no model 'lenet6'; did you mean lenet5",
    }.items():
        with pytest.raises(RunError, match=message):
            train(QUICK | {"model": name})
    assert not Path("runs").exists()  # a mistake leaves no folder


def test_chosen_kernels_run_and_are_recorded(no_picture):
    result = train(QUICK | {"kernels": ["conv2d_forward=naive"]}, output="run")
    assert result["kernels"]["conv2d_forward"] == ["naive"]
    own = train(QUICK | {"kernels": ["own"]}, output="own")
    assert not any("host" in versions for versions in own["kernels"].values())
    with pytest.raises(pycnn.errors.NotSupported, match="no version 'x'"):
        train(QUICK | {"kernels": ["conv2d_forward=x"]})
    with pytest.raises(RunError, match="takes 'own' and OP=VERSION"):
        train(QUICK | {"kernels": ["x"]})


def rates_of(**settings):
    """The learning rate of each of 12 epochs of 10 steps, and how often it changes within an epoch."""
    config = Config("lenet5", epochs=12, lr=0.1, **settings)
    optimizer = optim.SGD([nn.Parameter(np.ones(1, np.float32))], lr=config.lr)
    scheduler, seen = make_scheduler(optimizer, config, 10), []
    for _ in range(120):
        seen.append(optimizer.lr)
        scheduler.step()
    return seen


def test_settings_make_the_schedule():
    assert rates_of(schedule="constant") == [0.1] * 120
    assert rates_of()[::60] == pytest.approx([0.1, 0.05]) and rates_of(lr_min=0.02)[60] == pytest.approx(0.06)
    assert rates_of(schedule="step", lr_step_size=5, lr_gamma=0.5)[49:101:17] == pytest.approx([0.1, 0.05, 0.05, 0.025])
    assert rates_of(schedule="multistep", lr_milestones=[3, 4])[29:41:11] == pytest.approx([0.1, 0.001])
    assert rates_of(schedule="exponential", lr_gamma=0.9)[::10] == pytest.approx([0.1 * 0.9**n for n in range(12)])
    assert rates_of(schedule="poly")[::30] == pytest.approx([0.1 * (1 - n / 4) ** 0.9 for n in range(4)])
    warm = rates_of(lr_warmup_epochs=2)
    assert warm[0] == pytest.approx(0.001) and warm[10] == pytest.approx(0.0505) and warm[20] == 0.1 == max(warm)
    assert warm[70] == pytest.approx(0.05)


def test_other_optimizers_and_schedules_train(no_picture):
    config = QUICK | {
        "epochs": 2,
        "optimizer": "adamw",
        "lr": 0.002,
        "schedule": "step",
        "lr_step_size": 1,
        "lr_warmup_epochs": 1,
    }
    assert train(config | {"weight_decay": 0.05}, output="run")["test_accuracy"] > 0.3
    rates = [row["lr"] for row in read_rows("run/steps.csv")]
    assert rates[0] == pytest.approx(2e-5) and max(rates) == 0.002 and rates == sorted(rates)
    with pytest.raises(RunError, match="was started with optimizer = 'adamw'"):
        train({"optimizer": "adam"}, resume="run")
    train(QUICK | {"optimizer": "adam", "lr": 0.002, "schedule": "plateau"}, output="plateau")


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": -1.0},
        {"seed": -1},
        {"schedule": "x"},
        {"optimizer": "x"},
        {"lr_gamma": 1.5},
        {"lr_step_size": 0},
        {"lr_warmup_epochs": 10},
        {"lr_warmup_epochs": 1, "schedule": "plateau"},
        {"lr": float("nan")},
        {"data": "mnist", "split": "last360"},
        {"label_smoothing": 1.0},
        {"dropout": 1.0},
        {"hflip_prob": 1.1},
        {"nesterov": True, "momentum": 0.0},
        {"nesterov": True, "optimizer": "adam"},
        {"image_size": 0},
        {"image_size": "big"},
        {"train_resize_size": 256},
        {"clip_grad_norm": -1.0},
        {"on_error": "x"},
    ],
)
def test_senseless_settings_are_refused(setting):
    with pytest.raises(RunError, match="must|there is no|only digits"):
        Config("lenet5", **setting)


def test_lenet5_reaches_98_percent_on_digits(tmp_path, capsys):
    result = train({"model": "lenet5", "data": "digits"}, output=tmp_path / "run")
    assert result["test_accuracy"] >= 0.98 and result["seconds"] < 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lenet5_reaches_98_percent_with_every_seed(tmp_path, seed):
    assert train({"model": "lenet5", "seed": seed}, output=tmp_path / "run")["test_accuracy"] >= 0.98


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("PYCNN_DATA"), reason="PYCNN_DATA names no folder with mnist")
def test_lenet5_reaches_98_8_percent_on_mnist(tmp_path):
    assert train({"model": "lenet5", "data": "mnist"}, output=tmp_path / "run")["test_accuracy"] >= 0.988
