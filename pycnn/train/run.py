"""What ``pycnn train`` does: settings, the run's folder, resuming, the report at the end."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import inspect
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import __version__, backend, data, nn, optim
from ..models import create_model
from ..optim import lr_scheduler
from ..random import manual_seed
from .checkpoint import list_checkpoints, newest_checkpoint, replace_durably
from .log import Progress, read_rows
from .picture import draw
from .trainer import Trainer

RUNS = Path("runs")

# What differs from Config's defaults, by data set: chosen so that LeNet-5 learns it well in a minute or a few.
RECIPES: dict[str, dict] = {
    "digits": {"epochs": 40, "batch_size": 32, "lr": 0.03, "weight_decay": 2e-3, "shift": 4},
    "mnist": {"epochs": 5, "batch_size": 64, "lr": 0.03, "weight_decay": 5e-4},
    "fashion-mnist": {"epochs": 10, "batch_size": 64, "lr": 0.03, "weight_decay": 5e-4},
}
# What may be said anew when a run is resumed; the rest is the run's own.
CHANGEABLE = ("epochs", "data_dir", "device", "kernels", "threads", "save_every")


class RunError(RuntimeError):
    """A run cannot be started or resumed; the message says why."""


@dataclass
class Config:
    """The settings of a run. ``config.json`` in its folder holds them, resolved."""

    model: str
    data: str = "digits"
    data_dir: str | None = None
    split: str = "stratified"
    device: str = "cpu"
    kernels: list[str] = field(default_factory=list)
    seed: int = 0
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    lr_step_size: int = 30
    lr_milestones: list[int] = field(default_factory=list)
    lr_gamma: float = 0.1
    lr_power: float = 0.9
    lr_patience: int = 10
    lr_min: float = 0.0
    lr_warmup_epochs: int = 0
    lr_warmup_decay: float = 0.01
    shift: int = 0
    threads: int | None = None
    save_every: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "lr_step_size"):
            if getattr(self, name) < 1:
                raise RunError(f"{name} must be at least 1, got {getattr(self, name)}")
        numbers = ("seed", "lr", "momentum", "weight_decay", "shift", "save_every", "lr_power", "lr_patience", "lr_min")
        for name in (*numbers, "lr_warmup_epochs"):
            if not getattr(self, name) >= 0:
                raise RunError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.optimizer not in OPTIMIZERS:
            raise RunError(f"there is no optimizer {self.optimizer!r}; there are {', '.join(OPTIMIZERS)}")
        if self.schedule not in SCHEDULES:
            raise RunError(f"there is no schedule {self.schedule!r}; there are {', '.join(SCHEDULES)}")
        for name in ("lr_gamma", "lr_warmup_decay"):
            if not 0 < getattr(self, name) < 1:
                raise RunError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.lr_warmup_epochs and (self.schedule == "plateau" or self.lr_warmup_epochs >= self.epochs):
            raise RunError("a warm-up must be shorter than the training and cannot come before schedule plateau")
        if self.split != "stratified" and self.data != "digits":
            raise RunError(f"only digits can be split another way, {self.data} comes in two parts")
        parse_kernels(self.kernels)


OPTIMIZERS = {
    "sgd": lambda parameters, c: optim.SGD(parameters, c.lr, momentum=c.momentum, weight_decay=c.weight_decay),
    "adam": lambda parameters, c: optim.Adam(parameters, c.lr, weight_decay=c.weight_decay),
    "adamw": lambda parameters, c: optim.AdamW(parameters, c.lr, weight_decay=c.weight_decay),
}

# Of an optimizer, a configuration, the steps of an epoch and the steps after the warm-up. What is said in epochs changes the
# rate between epochs, as in torchvision's training script; cosine and poly go by steps.
SCHEDULES: dict[str, Callable[..., Any]] = {
    "cosine": lambda o, c, epoch, steps: lr_scheduler.CosineAnnealingLR(o, steps, c.lr_min),
    "constant": lambda o, c, epoch, steps: lr_scheduler.ConstantLR(o, 1.0),
    "step": lambda o, c, epoch, steps: lr_scheduler.StepLR(o, c.lr_step_size * epoch, c.lr_gamma),
    "multistep": lambda o, c, epoch, steps: lr_scheduler.MultiStepLR(o, [m * epoch for m in c.lr_milestones], c.lr_gamma),
    "exponential": lambda o, c, epoch, steps: lr_scheduler.StepLR(o, epoch, c.lr_gamma),
    "poly": lambda o, c, epoch, steps: lr_scheduler.PolynomialLR(o, steps, c.lr_power),
    "plateau": lambda o, c, epoch, steps: lr_scheduler.ReduceLROnPlateau(
        o, factor=c.lr_gamma, patience=c.lr_patience, min_lr=c.lr_min
    ),
}


def make_scheduler(optimizer: optim.Optimizer, config: Config, steps_per_epoch: int):
    """The schedule of a configuration, after its warm-up (milestones and step sizes are counted from the end of that)."""
    warmup = config.lr_warmup_epochs * steps_per_epoch
    main = SCHEDULES[config.schedule](optimizer, config, steps_per_epoch, config.epochs * steps_per_epoch - warmup)
    if not warmup:
        return main
    first = lr_scheduler.LinearLR(optimizer, config.lr_warmup_decay, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [first, main], [warmup])


def parse_kernels(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """``["own", "conv2d_forward=naive"]`` as arguments of :func:`pycnn.kernels`."""
    modes = [word for word in words if "=" not in word]
    if any(mode != "own" for mode in modes):
        raise RunError(f"--kernels takes 'own' and OP=VERSION, got {modes[0]!r} (pycnn kernels lists them)")
    return modes[:1], dict(word.split("=", 1) for word in words if "=" in word)


def train(given: dict, output: str | Path | None = None, resume: str | Path | None = None, live: bool | None = None) -> dict:
    """Start or resume a run; returns its result, which ``result.json`` holds too.

    Args:
        given: settings of :class:`Config` that were asked for; the data set's recipe and the defaults fill in the rest.
        output: a new folder; left out, ``runs/<date>-<time>-<model>-<data>``.
        resume: a run's folder, or "auto": `output` if that is a run, else the newest unfinished run of this model and
            data; if there is none, a new one.
        live: progress bar or plain lines; left out, as the terminal allows.

    Raises:
        RunError: the folder is in use, or is no run, or the settings contradict it, or the last checkpoint could not be written.
        TrainingError, Interrupted: see :class:`~pycnn.train.Trainer`.
    """
    folder = find_run(given, output) if resume == "auto" else Path(resume) if resume else None
    config = _resumed_config(folder, given) if folder else _new_config(given)
    modes, versions = parse_kernels(config.kernels)
    with backend.kernels(*modes, **versions):
        trainer = build(config, live)
        resumed = folder is not None
        folder = folder or new_folder(config, output)  # not before everything else is known to be right
        with locked(folder):
            return _run(trainer, config, folder, resumed)


def build(config: Config, live: bool | None = None) -> Trainer:
    """Data, model, optimizer and schedule of a configuration, in a Trainer that has no folder yet."""
    if config.threads is not None:
        backend.set_num_threads(config.threads)
    options = {"split": config.split} if config.data == "digits" else {"data_dir": config.data_dir}
    train_set, test_set = data.load(config.data, **options)
    manual_seed(config.seed)
    model = load_model(config.model).to(config.device)
    optimizer = OPTIMIZERS[config.optimizer](model.parameters(), config)
    transform = data.transforms.RandomShift(config.shift) if config.shift else None
    train_loader = data.DataLoader(
        train_set, config.batch_size, shuffle=True, seed=config.seed, transform=transform, device=config.device
    )
    test_loader = data.DataLoader(test_set, 256, device=config.device)
    return Trainer(
        model,
        optimizer,
        train_loader,
        test_loader,
        config.epochs,
        scheduler=make_scheduler(optimizer, config, len(train_loader)),
        save_every=config.save_every,
        config=asdict(config),
        progress=Progress(config.epochs, len(train_loader), live),
    )


def _run(trainer: Trainer, config: Config, folder: Path, resumed: bool) -> dict:
    start = time.perf_counter()
    trainer.folder = folder
    sizes = [len(loader.dataset) for loader in (trainer.train_loader, trainer.test_loader)]
    threads = f" ({backend.get_num_threads()} threads)" if config.device == "cpu" else ""
    print(f"{config.model}: {sum(p.size for p in trainer.model.parameters()):,} parameters, on {config.device}{threads}")
    print(f"{config.data}: {sizes[0]:,} training and {sizes[1]:,} test images; seed {config.seed}, {config.epochs} epochs")
    if resumed and list_checkpoints(folder / "checkpoints"):
        trainer.restore(newest_checkpoint(folder / "checkpoints"))
        print(f"resuming {trainer.last_checkpoint}: epoch {trainer.train_loader.epoch + 1}, step {trainer.step}")
    (folder / "result.json").unlink(missing_ok=True)
    replace_durably(folder / "config.json", (json.dumps(asdict(config), indent=1) + "\n").encode())
    print(f"writing {folder}", flush=True)
    trainer.fit()
    return _report(config, folder, trainer, time.perf_counter() - start)


def _report(config: Config, folder: Path, trainer: Trainer, seconds: float) -> dict:
    loss, accuracy, predictions = trainer.evaluate()
    test = trainer.test_loader.dataset
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
        "test_accuracy": accuracy,
        "test_loss": loss,
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
        title = f"{config.model} on {config.data}: {100 * accuracy:.2f} % of {len(test):,} test images"
        draw(folder / "picture.png", title, read_rows(folder / "metrics.csv"), trainer.model, test, predictions)
    except OSError as error:
        print(f"{folder}: result and picture could not be written ({error.strerror or error})")
    if not trainer.saved:
        raise RunError(f"trained to the end, but the last checkpoint could not be written; {folder} holds an earlier one")
    print(
        f"test accuracy {100 * accuracy:.2f} % ({len(test):,} images), {seconds:.1f} s; see {folder / 'picture.png'}",
        flush=True,
    )
    return result


# ---- settings ----


def _new_config(given: dict) -> Config:
    if not given.get("model"):
        raise RunError("name a model, for example: pycnn train lenet5")
    return Config(**RECIPES.get(given.get("data", Config.data), {}) | given)


def _resumed_config(folder: Path, given: dict) -> Config:
    try:
        stored = json.loads((folder / "config.json").read_bytes())
        config = Config(**{f.name: stored[f.name] for f in fields(Config)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} is not a run that can be resumed: config.json: {error}") from error
    for name, value in given.items():
        if name not in CHANGEABLE and value != getattr(config, name):
            raise RunError(f"{folder} was started with {name} = {getattr(config, name)!r}, it cannot go on with {value!r}")
    if ":" in config.model and "model" not in given:
        raise RunError(
            f"{folder} trains {config.model}; code is run only if you name it: pycnn train {config.model} --resume {folder}"
        )
    return Config(**asdict(config) | given)


def load_model(name: str) -> nn.Module:
    """A registered model by name, or ``file.py:ClassName``, built without arguments.

    Raises:
        RunError: there is no such model, file or class.
    """
    if ":" not in name:
        try:
            return create_model(name)
        except ValueError as error:
            raise RunError(f"{error} (an own one is named file.py:ClassName)") from error
    path, _, class_name = name.rpartition(":")
    if not Path(path).is_file():
        raise RunError(f"{name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise RunError(f"{name}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    made = getattr(module, class_name, None)
    if not (inspect.isclass(made) and issubclass(made, nn.Module)):
        raise RunError(f"{name}: {path} defines no pycnn.nn.Module named {class_name}")
    return made()


# ---- folders ----


def new_folder(config: Config, output: str | Path | None) -> Path:
    """Create the folder of a new run; one that exists and is not empty is never written to."""
    model = Path(config.model.partition(":")[0]).stem
    folder = Path(output) if output else RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{model}-{config.data}"
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
