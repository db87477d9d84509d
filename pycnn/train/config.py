"""Settings of a run: what there is to set, its defaults, and what makes no sense."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .recipes import RECIPES, Recipe

# What differs from Config's defaults, by data set: chosen so that LeNet-5 learns it well in a minute or a few.
DATA_SETTINGS: dict[str, dict] = {
    "digits": {"epochs": 40, "batch_size": 32, "lr": 0.03, "weight_decay": 2e-3, "shift": 4},
    "mnist": {"epochs": 5, "batch_size": 64, "lr": 0.03, "weight_decay": 5e-4},
    "fashion-mnist": {"epochs": 10, "batch_size": 64, "lr": 0.03, "weight_decay": 5e-4},
}
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant", "step", "multistep", "exponential", "poly", "plateau")
# What may be said anew when a run is resumed; the rest is the run's own.
CHANGEABLE = ("epochs", "data_dir", "device", "kernels", "threads", "workers", "save_every")

AT_LEAST_1 = ("epochs", "batch_size", "lr_step_size", "train_resize_size", "train_crop_size", "val_resize_size", "val_crop_size")
NOT_NEGATIVE = (
    "seed", "lr", "momentum", "weight_decay", "norm_weight_decay", "bias_weight_decay", "lr_power", "lr_patience", "lr_min",
    "lr_warmup_epochs", "aux_weight", "clip_grad_norm", "random_crop_padding", "shift", "color_jitter", "pca_lighting",
    "workers", "patience", "save_every",
)  # fmt: skip
BELOW_1 = ("label_smoothing", "dropout")


class RunError(RuntimeError):
    """A run cannot be started or resumed; the message says why."""


@dataclass
class Config:
    """The settings of a run. ``config.json`` in its folder holds them, resolved."""

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    weights: str | None = None
    freeze: bool = False
    data: str = "digits"
    data_dir: str | None = None
    split: str = "stratified"
    on_error: str = "raise"
    device: str = "cpu"
    kernels: list[str] = field(default_factory=list)
    seed: int = 0
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.03
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    norm_weight_decay: float | None = None
    bias_weight_decay: float | None = None
    schedule: str = "cosine"
    lr_step_size: int = 30
    lr_milestones: list[int] = field(default_factory=list)
    lr_gamma: float = 0.1
    lr_power: float = 0.9
    lr_patience: int = 10
    lr_min: float = 0.0
    lr_warmup_epochs: int = 0
    lr_warmup_decay: float = 0.01
    dropout: float | None = None
    label_smoothing: float = 0.0
    aux_weight: float = 0.3
    clip_grad_norm: float | None = None
    image_size: int | str | None = None
    train_resize_size: int | None = None
    train_crop_size: int | None = None
    random_crop_padding: int = 0
    shift: int = 0
    hflip_prob: float = 0.0
    color_jitter: float = 0.0
    pca_lighting: float = 0.0
    val_resize_size: int | None = None
    val_crop_size: int | None = None
    workers: int = 0
    patience: int = 0
    threads: int | None = None
    save_every: int = 0

    def __post_init__(self):
        for name in AT_LEAST_1:
            if getattr(self, name) is not None and not getattr(self, name) >= 1:
                raise RunError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise RunError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in BELOW_1:
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise RunError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 <= self.hflip_prob <= 1:
            raise RunError(f"hflip_prob must be from 0 to 1, got {self.hflip_prob}")
        if self.optimizer not in OPTIMIZERS:
            raise RunError(f"there is no optimizer {self.optimizer!r}; there are {', '.join(OPTIMIZERS)}")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise RunError("nesterov must go with optimizer sgd and a momentum above 0")
        if self.schedule not in SCHEDULES:
            raise RunError(f"there is no schedule {self.schedule!r}; there are {', '.join(SCHEDULES)}")
        for name in ("lr_gamma", "lr_warmup_decay"):
            if not 0 < getattr(self, name) < 1:
                raise RunError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.lr_warmup_epochs and (self.schedule == "plateau" or self.lr_warmup_epochs >= self.epochs):
            raise RunError("a warm-up must be shorter than the training and cannot come before schedule plateau")
        if self.image_size not in (None, "model") and not (isinstance(self.image_size, int) and self.image_size >= 1):
            raise RunError(f"image_size must be a number of pixels or 'model', got {self.image_size!r}")
        if self.train_resize_size and not self.train_crop_size:
            raise RunError("train_resize_size must go with train_crop_size, the size of the crops taken from the resized images")
        if self.split != "stratified" and self.data != "digits":
            raise RunError(f"only digits can be split another way, {self.data} comes in two parts")
        if self.on_error not in ("raise", "skip"):
            raise RunError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")
        parse_kernels(self.kernels)

    @property
    def data_name(self) -> str:
        """The data set's name, or the folder's."""
        return Path(self.data).name


def parse_kernels(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """``["own", "conv2d_forward=naive"]`` as arguments of :func:`pycnn.kernels`."""
    modes = [word for word in words if "=" not in word]
    if any(mode != "own" for mode in modes):
        raise RunError(f"--kernels takes 'own' and OP=VERSION, got {modes[0]!r} (pycnn kernels lists them)")
    return modes[:1], dict(word.split("=", 1) for word in words if "=" in word)


def find_recipe(name: str) -> Recipe:
    """The recipe of a name."""
    if name not in RECIPES:
        raise RunError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def new_config(given: dict) -> Config:
    """Settings of a new run: those given, else of the recipe, or without one of the data set, else the defaults."""
    if not given.get("model"):
        raise RunError("name a model, for example: pycnn train lenet5")
    recipe = given.get("recipe")
    base = find_recipe(recipe).settings() if recipe else DATA_SETTINGS.get(given.get("data", Config.data), {})
    return Config(**base | given)


def read_config(folder: Path) -> Config:
    """The settings of the run in `folder`; those that were not there when it was started have their defaults."""
    try:
        stored = json.loads((folder / "config.json").read_bytes())
        unknown = sorted(stored.keys() - {f.name for f in fields(Config)})
        if unknown:
            raise ValueError(f"of another version of pycnn, which knows {', '.join(unknown)}")
        return Config(**stored)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{folder} is not a run that can be resumed: config.json: {error}") from error


def resumed_config(folder: Path, given: dict) -> Config:
    """The settings of the run in `folder`, with what may change as it is given."""
    config = read_config(folder)
    for name, value in given.items():
        if name not in CHANGEABLE and value != getattr(config, name):
            raise RunError(f"{folder} was started with {name} = {getattr(config, name)!r}, it cannot go on with {value!r}")
    if ":" in config.model and "model" not in given:
        raise RunError(
            f"{folder} trains {config.model}; code is run only if you name it: pycnn train {config.model} --resume {folder}"
        )
    return Config(**asdict(config) | given)
