"""What ``pycnn train`` does: the run's folder, resuming, the report at the end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .. import __version__, backend
from .build import build
from .checkpoint import list_checkpoints, newest_checkpoint, replace_durably
from .config import Config, RunError, new_config, parse_kernels, resumed_config
from .log import read_rows
from .picture import draw
from .trainer import Trainer

RUNS = Path("runs")


def train(
    given: dict,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    live: bool | None = None,
    fast_dev_run: bool = False,
) -> dict:
    """Start or resume a run; returns its result, which ``result.json`` holds too.

    Args:
        given: settings of :class:`Config` that were asked for; the recipe, or else the data set's, and the defaults fill in the
            rest.
        output: a new folder; left out, ``runs/<date>-<time>-<model>-<data>``.
        resume: a run's folder, or "auto": `output` if that is a run, else the newest unfinished run of this model and
            data; if there is none, a new one.
        live: progress bar or plain lines; left out, as the terminal allows.
        fast_dev_run: one batch of training and one of test images; nothing is written, and the result is their row of
            ``metrics.csv``.

    Raises:
        RunError: the folder is in use, or is no run, or the settings contradict it, or the last checkpoint could not be written.
        TrainingError, Interrupted: see :class:`~pycnn.train.Trainer`.
    """
    if fast_dev_run and resume:
        raise RunError("--fast-dev-run tries new settings, it does not go on with a run: leave out --resume")
    folder = find_run(given, output) if resume == "auto" else Path(resume) if resume else None
    config = resumed_config(folder, given) if folder else new_config(given)
    modes, versions = parse_kernels(config.kernels)
    with backend.kernels(*modes, **versions):
        resumed = folder is not None
        saved = folder is not None and bool(list_checkpoints(folder / "checkpoints"))
        trainer = build(config, live, saved, fast_dev_run)
        if fast_dev_run:
            return trainer.fit()
        folder = folder or new_folder(config, output)  # not before everything else is known to be right
        with locked(folder):
            return _run(trainer, config, folder, resumed)


def _run(trainer: Trainer, config: Config, folder: Path, resumed: bool) -> dict:
    start = time.perf_counter()
    trainer.folder = folder
    sizes = [len(loader.dataset) for loader in (trainer.train_loader, trainer.test_loader)]
    threads = f" ({backend.get_num_threads()} threads)" if config.device == "cpu" else ""
    print(f"{config.model}: {sum(p.size for p in trainer.model.parameters()):,} parameters, on {config.device}{threads}")
    print(f"{config.data_name}: {sizes[0]:,} training and {sizes[1]:,} test images; seed {config.seed}, {config.epochs} epochs")
    if resumed and list_checkpoints(folder / "checkpoints"):
        trainer.restore(newest_checkpoint(folder / "checkpoints"))
        print(f"resuming {trainer.last_checkpoint}: epoch {trainer.train_loader.epoch + 1}, step {trainer.step}")
    (folder / "result.json").unlink(missing_ok=True)
    replace_durably(folder / "config.json", (json.dumps(asdict(config), indent=1) + "\n").encode())
    print(f"writing {folder}", flush=True)
    trainer.fit()
    return _report(config, folder, trainer, time.perf_counter() - start)


def _report(config: Config, folder: Path, trainer: Trainer, seconds: float) -> dict:
    measured = trainer.evaluate()
    test = trainer.test_loader.dataset
    if skipped := trainer.test_loader.skipped:
        test = test.subset([i for i in range(len(test)) if i not in skipped])
    kernels = trainer.kernels()
    names = [f"{op}:{version}" for op, versions in kernels.items() for version in versions]
    print(textwrap.fill("  ".join(names), 110, initial_indent="kernels: ", subsequent_indent=" " * 9))
    for line in trainer.changed_versions():
        print(f"other kernels than before the run was resumed, its bits may differ: {line}")
    result = {
        "model": config.model,
        "data": config.data,
        "split": config.split if config.data == "digits" else None,
        "seed": config.seed,
        "device": config.device,
        "test_accuracy": measured.accuracy,
        "test_top5": measured.top5,
        "test_loss": measured.loss,
        "test_images": len(test),
        "best_test_accuracy": trainer.best["accuracy"],
        "best_step": trainer.best["step"],
        "steps": trainer.step,
        "seconds": round(seconds, 3),
        "kernels": kernels,
        "pycnn": __version__,
    }
    try:
        replace_durably(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
        title = f"{config.model} on {config.data_name}: {100 * measured.accuracy:.2f} % of {len(test):,} test images"
        draw(folder / "picture.png", title, read_rows(folder / "metrics.csv"), trainer.model, test, measured.predictions)
    except OSError as error:
        print(f"{folder}: result and picture could not be written ({error.strerror or error})")
    if not trainer.saved:
        raise RunError(f"trained to the end, but the last checkpoint could not be written; {folder} holds an earlier one")
    print(
        f"test accuracy {100 * measured.accuracy:.2f} % ({len(test):,} images), {seconds:.1f} s; see {folder / 'picture.png'}",
        flush=True,
    )
    return result


# ---- folders ----


def new_folder(config: Config, output: str | Path | None) -> Path:
    """Create the folder of a new run; one that exists and is not empty is never written to."""
    model = Path(config.model.partition(":")[0]).stem
    folder = Path(output) if output else RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{model}-{config.data_name}"
    number = 1
    while output is None and folder.exists():
        number += 1
        folder = folder.with_name(f"{folder.name.partition('+')[0]}+{number}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunError(f"{folder} is not empty; choose another --output, or go on with it: --resume {folder}")
    except OSError as error:
        raise RunError(f"{folder} cannot be created ({error.strerror})") from error
    return folder


def find_run(given: dict, output: str | Path | None) -> Path | None:
    """The run that ``--resume auto`` means, or None for a new one."""
    if output is not None:
        return Path(output) if (Path(output) / "config.json").exists() else None
    for config in sorted(RUNS.glob("*/config.json"), key=lambda path: path.parent.name, reverse=True):
        folder = config.parent
        try:
            stored = json.loads(config.read_bytes())
            same = stored["model"] == given.get("model", stored["model"]) and stored["data"] == given.get("data", stored["data"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if same and not (folder / "result.json").exists() and not _in_use(folder):
            return folder
    return None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a run; the system gives the lock back however this one ends."""
    with open(folder / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{folder} is being written by another process") from error
        yield


def _in_use(folder: Path) -> bool:
    try:
        with locked(folder):
            return False
    except RunError:
        return True
