"""Checkpoints: whole or not at all, whatever happens while one is written."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest

from pycnn.train import (
    Checkpoint,
    CheckpointError,
    checkpoint,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)

KILLS = int(os.environ.get("PYCNN_TEST_KILLS", "20"))


def sample(step: int = 0, size: int = 10) -> Checkpoint:
    model = {
        "conv.weight": np.full((2, 3, 4, 5), step, np.float32),
        "norm.count": np.array(step, np.int64),
        "half": np.arange(size, dtype=np.float16),
        "brain": np.arange(size).astype(ml_dtypes.bfloat16),
        "empty": np.zeros((0, 3), np.float32),
    }
    return Checkpoint(model, {"0.momentum": np.arange(size) * 0.1 + step}, {"step": step, "loss": 0.1 * step})


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert a.state == b.state
    for left, right in ((a.model, b.model), (a.optimizer, b.optimizer)):
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype and left[name].shape == right[name].shape
            assert left[name].tobytes() == right[name].tobytes()


def test_every_type_and_shape_comes_back(tmp_path):
    path = save_checkpoint(tmp_path, sample(7))
    assert path.name == "0001-step-00000007"
    assert_same(load_checkpoint(path), sample(7))


def test_other_readers_open_the_model(tmp_path):
    from safetensors.numpy import load_file

    path = save_checkpoint(tmp_path, Checkpoint({"a": np.ones((2, 3), np.float32)}, {}, {"step": 1}))
    np.testing.assert_array_equal(load_file(path / "model.safetensors")["a"], np.ones((2, 3)))


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    for step in range(1, 7):
        save_checkpoint(tmp_path, sample(step), keep_step=2)
    names = ["0002-step-00000002", "0005-step-00000005", "0006-step-00000006"]
    assert sorted(os.listdir(tmp_path)) == names
    assert newest_checkpoint(tmp_path).state["step"] == 6


def test_saves_are_ordered_by_number_not_by_step_or_text(tmp_path):
    for step in (9, 10, 4):
        save_checkpoint(tmp_path, sample(step), keep=9)
    os.rename(tmp_path / "0003-step-00000004", tmp_path / "10000-step-00000004")
    assert newest_checkpoint(tmp_path).state["step"] == 4


@pytest.mark.parametrize("file", ["state.json", "model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "flipped", "long"])
def test_damage_is_found_and_the_one_before_is_taken(tmp_path, file, damage):
    save_checkpoint(tmp_path, sample(1))
    path = save_checkpoint(tmp_path, sample(2)) / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    else:
        path.write_bytes({"empty": b"", "short": content[:-3], "long": content + b"x"}[damage])
    said = []
    assert_same(newest_checkpoint(tmp_path, said.append), sample(1))
    assert len(said) == 1 and "0002-step-00000002 is damaged" in said[0] and "going back" in said[0]


def test_every_flipped_bit_is_found(tmp_path):
    path = save_checkpoint(tmp_path, sample(1))
    rng = random.Random(0)
    for file in path.iterdir():
        content = file.read_bytes()
        for _ in range(60):
            at = rng.randrange(len(content))
            file.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
            try:
                assert_same(load_checkpoint(path), sample(1))  # white space in JSON may change and mean the same
            except CheckpointError:
                pass
        file.write_bytes(content)
    load_checkpoint(path)


def test_exchanged_tensors_are_found(tmp_path):
    a, b = save_checkpoint(tmp_path, sample(1)), save_checkpoint(tmp_path, sample(2))
    shutil.copy(a / "model.safetensors", b / "model.safetensors")
    with pytest.raises(CheckpointError, match="sha256 of .* in model.safetensors is wrong"):
        load_checkpoint(b)


def test_nothing_valid(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        newest_checkpoint(tmp_path)
    (save_checkpoint(tmp_path, sample()) / "state.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no checkpoint is valid"):
        newest_checkpoint(tmp_path, lambda text: None)


def test_a_huge_state_is_not_read(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path, sample())
    monkeypatch.setattr(checkpoint, "MOST_STATE_BYTES", 100)
    with pytest.raises(CheckpointError, match="larger than 100 bytes"):
        load_checkpoint(path)


# ---- faults while saving ----


class Fault:
    """Counts the calls that change the disk and fails the n-th one, as a disk or a dying process would."""

    def __init__(self, monkeypatch, fail_at: int, error: Exception):
        self.calls, self.fail_at, self.error = 0, fail_at, error
        for owner, name in ((os, "fsync"), (os, "rename"), (os, "mkdir"), (shutil, "rmtree"), (checkpoint, "write_durably")):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, function):
        def wrapped(*args, **options):
            self.calls += 1
            if self.calls == self.fail_at:
                if function.__name__ == "write_durably":  # half of the file arrives
                    args[0].write_bytes(args[1][: len(args[1]) // 2])
                raise self.error
            return function(*args, **options)

        return wrapped


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_dying_at_any_call_leaves_a_valid_checkpoint(tmp_path):
    for fail_at in range(1, 100):
        folder = tmp_path / str(fail_at)
        for step in (1, 2, 3):
            save_checkpoint(folder, sample(step))
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, fail_at, Died())
            try:
                save_checkpoint(folder, sample(4))
            except Died:
                pass
        found = newest_checkpoint(folder, pytest.fail)  # and no damaged one is even seen
        assert_same(found, sample(found.state["step"]))
        assert found.state["step"] in (3, 4)
        assert_same(load_checkpoint(save_checkpoint(folder, sample(5))), sample(5))
        assert all(name[0].isdigit() for name in os.listdir(folder))  # what was left over is gone
        if fault.calls < fail_at:
            break
    assert fail_at > 8


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_failing_disk_keeps_the_old_and_says_so(tmp_path, code):
    for fail_at in range(1, 12):
        folder = tmp_path / f"{fail_at}"
        save_checkpoint(folder, sample(1))
        with pytest.MonkeyPatch.context() as patch:
            Fault(patch, fail_at, OSError(code, os.strerror(code)))
            try:
                save_checkpoint(folder, sample(2))
            except CheckpointError as error:
                words = ["needs", "bytes", "0001-step-00000001 is kept"] if code == errno.ENOSPC else ["could not be written"]
                assert all(word in str(error) for word in words)
            except OSError:
                pass  # the first rmtree is told to ignore errors; the stand-in raises all the same
        assert newest_checkpoint(folder, pytest.fail).state["step"] in (1, 2)
        assert ".saving" not in os.listdir(folder) or fail_at == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if os.getuid() != 0 or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_really_full_disk(small_disk):
    save_checkpoint(small_disk, sample(1, size=1000))
    with pytest.raises(
        CheckpointError, match=r"the disk is full: .* needs [\d,]+ bytes, [\d,]+ are free; 0001-step-00000001 is kept"
    ):
        save_checkpoint(small_disk, sample(2, size=100_000))
    assert_same(newest_checkpoint(small_disk, pytest.fail), sample(1, size=1000))
    assert_same(load_checkpoint(save_checkpoint(small_disk, sample(3, size=1000))), sample(3, size=1000))


SAVER = """
import sys, numpy as np
from pycnn.train import Checkpoint, save_checkpoint
step = int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    tensors = {f"t{i}": np.full(20_000, step, np.float32) for i in range(5)}
    save_checkpoint(sys.argv[1], Checkpoint(tensors, tensors, {"step": step}))
"""


def test_kill_at_random_moments_leaves_a_valid_checkpoint(tmp_path):
    rng = random.Random(0)
    step = 0
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path), str(step)], stdout=subprocess.PIPE)
        process.stdout.readline()
        if not step:
            while not list_checkpoints(tmp_path):
                time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = newest_checkpoint(tmp_path, pytest.fail)
        assert found.state["step"] >= step
        step = found.state["step"]
        assert all((array == step).all() for part in (found.model, found.optimizer) for array in part.values())
    assert json.loads((found.path / "state.json").read_text())["state"]["step"] == step
