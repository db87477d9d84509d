"""Checkpoints: written whole or not at all, and checked when read.

A checkpoint is a folder such as ``0007-step-00000315`` (the seventh save, after 315 steps):

- ``model.safetensors``: parameters and buffers by `state_dict` name and shape; any safetensors reader opens it.
- ``optimizer.safetensors``: the optimizer's state, among it what lives on the device (step, learning rate).
- ``state.json``: everything else, the sha256 of every tensor, and the sha256 of itself.

It is written under a temporary name, flushed to the disk, and then renamed, so a crash at any moment leaves the
older ones as they were. Nothing is pickled: reading a checkpoint runs no code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.weight_files import safetensors_arrays

FORMAT = "pycnn checkpoint 1"
FILES = ("model.safetensors", "optimizer.safetensors")
NAME = re.compile(r"\d+-step-\d+")
MOST_STATE_BYTES = 64 << 20


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, is damaged, or there is none."""


@dataclass
class Checkpoint:
    """What a checkpoint holds: tensors of the model and the optimizer by name, and the JSON state."""

    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict
    path: Path | None = None


def list_checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, oldest first, valid or not."""
    return sorted((path for path in Path(folder).glob("*-step-*") if NAME.fullmatch(path.name)), key=_number)


def _number(path: Path) -> int:
    return int(path.name.split("-")[0])


def _step(path: Path) -> int:
    return int(path.name.split("-")[-1])


# ---- writing ----


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint, keep: int = 2, keep_step: int | None = None) -> Path:
    """Write a checkpoint into `folder`, then delete all but the newest `keep` and those of step `keep_step`.

    ``checkpoint.state["step"]`` becomes part of the name.

    Raises:
        CheckpointError: it could not be written (a full disk, say); the older ones are untouched.
    """
    folder = Path(folder)
    files = _encode(checkpoint)
    older = list_checkpoints(folder)
    number = _number(older[-1]) + 1 if older else 1
    final = folder / f"{number:04d}-step-{checkpoint.state['step']:08d}"
    temporary = folder / ".saving"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in files.items():
            write_durably(temporary / name, content)
        sync_folder(temporary)
        os.rename(temporary, final)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(_why_not_written(error, folder, files, older)) from error
    _prune([*older, final], keep, keep_step)
    return final


def _encode(checkpoint: Checkpoint) -> dict[str, bytes]:
    from safetensors.numpy import save

    parts = dict(zip(FILES, (checkpoint.model, checkpoint.optimizer), strict=True))
    content = {
        "format": FORMAT,
        "state": checkpoint.state,
        "tensors": {file: {name: _digest(array) for name, array in part.items()} for file, part in parts.items()},
    }
    content["sha256"] = _digest_json(content)
    files = {file: save({name: np.asarray(a, order="C") for name, a in part.items()}) for file, part in parts.items()}
    return files | {"state.json": (json.dumps(content, indent=1) + "\n").encode()}


def _digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def _digest_json(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file in one piece: whoever reads `path` sees the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.saving")
    try:
        write_durably(temporary, content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why_not_written(error: OSError, folder: Path, files: dict[str, bytes], older: list[Path]) -> str:
    needed = sum(map(len, files.values()))
    kept = f"{older[-1].name} is kept" if older else "there is no earlier one"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            free = f", {shutil.disk_usage(folder).free:,} are free"
        except OSError:
            free = ""
        return f"the disk is full: a checkpoint in {folder} needs {needed:,} bytes{free}; {kept}"
    return f"a checkpoint of {needed:,} bytes could not be written to {folder} ({error.strerror or error}); {kept}"


def _prune(checkpoints: list[Path], keep: int, keep_step: int | None) -> None:
    for path in checkpoints[: -max(keep, 1)]:
        if _step(path) != keep_step:
            doomed = path.with_name(".removing")  # a half-deleted folder must not look like a checkpoint
            shutil.rmtree(doomed, ignore_errors=True)
            try:
                os.rename(path, doomed)
            except OSError:
                continue
            shutil.rmtree(doomed, ignore_errors=True)


# ---- reading ----


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read the checkpoint in the folder `path` and check every byte of it.

    Raises:
        CheckpointError: it is absent, incomplete or altered; the message says where.
    """
    path = Path(path)
    try:
        if (path / "state.json").stat().st_size > MOST_STATE_BYTES:
            raise CheckpointError(f"{path} is damaged: state.json is larger than {MOST_STATE_BYTES:,} bytes")
        content = json.loads((path / "state.json").read_bytes())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CheckpointError(f"{path} is damaged: state.json is not of a {FORMAT}")
        if content.pop("sha256", None) != _digest_json(content):
            raise CheckpointError(f"{path} is damaged: the sha256 of state.json is wrong")
        parts = {}
        for file in FILES:
            digests = content["tensors"][file]
            parts[file] = safetensors_arrays((path / file).read_bytes())
            if parts[file].keys() != digests.keys():
                raise CheckpointError(f"{path} is damaged: {file} does not hold the tensors state.json lists")
            for name, array in parts[file].items():
                if _digest(array) != digests[name]:
                    raise CheckpointError(f"{path} is damaged: the sha256 of {name} in {file} is wrong")
        return Checkpoint(parts[FILES[0]], parts[FILES[1]], content["state"], path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or incomplete ({type(error).__name__}: {error})") from error


def newest_checkpoint(folder: str | Path, say: Callable[[str], None] = print) -> Checkpoint:
    """The newest checkpoint of a folder that is valid. Each damaged one passed over is reported through `say`.

    Raises:
        CheckpointError: there is none, or none is valid.
    """
    found = list_checkpoints(folder)
    for path in reversed(found):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            say(f"{error}; going back to the one before")
    raise CheckpointError(f"{folder}: " + ("no checkpoint is valid" if found else "there is no checkpoint"))
