"""From settings to a Trainer: data, model, parameter groups, optimizer and schedule."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend, data, nn, no_grad, optim
from ..errors import ShapeError
from ..models.registry import Entry, entry
from ..optim import lr_scheduler
from ..random import manual_seed
from ..tensor import Tensor
from .augment import eval_transform, train_transform
from .callbacks import EarlyStopping
from .checkpoint import newest_checkpoint
from .config import Config, RunError
from .log import Progress
from .trainer import Trainer

MOST_EVAL_PIXELS = 256 * 64 * 64  # of a batch of test images, which bounds its memory


def build(config: Config, live: bool | None = None, resumed: bool = False, fast_dev_run: bool = False) -> Trainer:
    """Data, model, optimizer and schedule of a configuration, in a Trainer that has no folder yet.

    Args:
        config: the settings.
        live: progress bar or plain lines; left out, as the terminal allows.
        resumed: a checkpoint will be restored, so that starting weights are not needed.
        fast_dev_run: see :class:`Trainer`.

    Raises:
        RunError: there is no such model, or the data or the settings do not suit it.
    """
    if config.threads is not None:
        backend.set_num_threads(config.threads)
    found = find_model(config.model)
    train_set, test_set = (fit_channels(part, config, found) for part in load_data(config))
    resize = image_size(config, found)
    first = first_image(train_set)
    train_steps, eval_steps = train_transform(config, resize, first.shape), eval_transform(config, resize)
    check_sizes(config, train_set, resize)
    manual_seed(config.seed)
    model = make_model(config, found, len(train_set.classes))
    if config.weights and not resumed:
        start_from(model, config)
    if config.freeze:
        freeze(model, config.model)
    model.to(config.device)
    check_images(model, config, found, changed(first, train_steps) + changed(first, eval_steps))
    optimizer = make_optimizer(model, config)
    train_loader = data.DataLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        transform=train_steps,
        device=config.device,
        workers=config.workers,
    )
    test_loader = eval_loader(test_set, config, eval_steps)
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
        callbacks=[EarlyStopping(config.patience)] if config.patience else [],
        label_smoothing=config.label_smoothing,
        aux_weight=config.aux_weight,
        clip_grad_norm=config.clip_grad_norm,
        fast_dev_run=fast_dev_run,
    )


# ---- data ----


def load_data(config: Config) -> tuple[Any, Any]:
    """The training and the test part of the data set of a configuration."""
    if config.data == "digits":
        return data.load("digits", split=config.split)
    if config.data not in data.list_datasets():
        return data.load(config.data, on_error=config.on_error)
    takes = inspect.signature(data.DATASETS[config.data]).parameters
    return data.load(config.data, **({"data_dir": config.data_dir} if "data_dir" in takes else {}))


def image_size(config: Config, found: Entry) -> int | None:
    """The height and width that every image is resized to, or None."""
    if config.image_size == "model":
        if not found.image:
            raise RunError(f"{config.model} says no image size; name one: --image-size 224")
        return found.image[1]
    return int(config.image_size) if config.image_size else None


def fit_channels(dataset: Any, config: Config, found: Entry) -> Any:
    """The data set with its one channel repeated as often as the model has channels, if `image_size` asks to fit images.

    Raises:
        RunError: the model takes another number of channels.
    """
    channels, wanted = len(first_image(dataset)), found.image[0] if found.image else None
    if wanted in (None, channels) or "in_channels" in config.model_options:
        return dataset
    if channels == 1 and config.image_size and isinstance(dataset, data.Dataset):
        n, _, H, W = dataset.images.shape
        images = np.broadcast_to(dataset.images, (n, wanted, H, W))
        return replace(dataset, images=images, mean=dataset.mean * wanted, std=dataset.std * wanted)
    advice = "--image-size model resizes gray images and repeats their channel" if channels == 1 else "choose another model"
    raise RunError(f"{config.model} takes images of {wanted} channel(s), those of {config.data_name} have {channels}; {advice}")


def check_sizes(config: Config, dataset: Any, resize: int | None) -> None:
    """Refuse a folder's images, which differ in size, unless the settings make them equal."""
    if isinstance(dataset, data.ImageFolder) and not resize and not config.train_crop_size:
        raise RunError(
            f"the images of {config.data_name} may differ in size; say which part the net sees, --train-crop-size 224 "
            "(random area and aspect) or --image-size 224 (the whole image, distorted)"
        )


def first_image(dataset: Any) -> np.ndarray:
    """The first image (C, H, W) that can be decoded."""
    for i in range(len(dataset)):
        try:
            return dataset.image(i)
        except data.CorruptImage:
            if dataset.on_error == "raise":
                raise
    raise RunError(f"no image of {dataset.name} can be decoded")


def changed(image: np.ndarray, steps: Callable | None) -> list[np.ndarray]:
    """The images (C, H, W) that a transform makes of one: one, or ten crops."""
    made = steps(image, np.random.default_rng(0)) if steps else image
    return made if isinstance(made, list) else [made]


def check_images(model: nn.Module, config: Config, found: Entry, images: list[np.ndarray]) -> None:
    """Let a model see images of a size that it was not designed for.

    Raises:
        RunError: it cannot take them.
    """
    for shape in sorted({image.shape for image in images}):
        if found.image and shape != tuple(found.image):
            try:
                with no_grad():
                    model.eval()(Tensor(np.zeros((1, *shape), np.float32), device=config.device, layout="image"))
            except ShapeError as error:
                sizes = ["×".join(map(str, size)) for size in (shape, found.image)]
                raise RunError(
                    f"{config.model} does not take images of {sizes[0]} ({error}); it was designed for {sizes[1]}: "
                    "--image-size model resizes images to that"
                ) from error
    model.train()


def eval_loader(dataset: Any, config: Config, steps: Callable | None) -> data.DataLoader:
    """Batches of test images, of as many images as memory allows, at most 256."""
    pixels = sum(image[0].size for image in changed(first_image(dataset), steps))
    batch_size = max(1, min(256, MOST_EVAL_PIXELS // pixels))
    return data.DataLoader(dataset, batch_size, transform=steps, device=config.device, workers=config.workers)


# ---- the model ----


def find_model(name: str) -> Entry:
    """A registered model by name, or ``file.py:ClassName``; the image size of the latter is the class's `image`, if it has one.

    Raises:
        RunError: there is no such model, file or class.
    """
    if ":" not in name:
        try:
            return entry(name)
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
    return Entry(name, made, getattr(made, "image", None) or (), {})  # type: ignore[arg-type]


def load_model(name: str, **options) -> nn.Module:
    """A registered model by name, or ``file.py:ClassName``, built with `options`.

    Raises:
        RunError: there is no such model, file, class or option.
    """
    return construct(find_model(name), options)


def construct(found: Entry, options: dict) -> nn.Module:
    """Build a model with `options` of its own.

    Raises:
        RunError: it has no such option, or refuses its value.
    """
    accepted = inspect.signature(found.build).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        for name in options.keys() - accepted.keys():
            raise RunError(f"{found.name} has no option {name!r}; it has {', '.join(accepted) or 'none'}")
    try:
        return found.build(**(found.options | options))
    except (TypeError, ValueError) as error:
        if ":" in found.name:  # of one's own: the traceback says more
            raise
        raise RunError(f"{found.name} cannot be built with {options}: {error}") from error


def make_model(config: Config, found: Entry, classes: int) -> nn.Module:
    """The model of a configuration with fresh parameters, for so many classes.

    Raises:
        RunError: it has no such option, or no dropout though one is asked for.
    """
    accepted = inspect.signature(found.build).parameters
    options: dict[str, Any] = {}
    if ":" not in config.model or "num_classes" in accepted:
        options["num_classes"] = classes
    if config.dropout is not None:
        name = next((name for name in ("dropout", "p") if name in accepted), None)
        if name is None:
            raise RunError(f"{config.model} has no dropout to set to {config.dropout}")
        options[name] = config.dropout
    return construct(found, options | config.model_options)


def start_from(model: nn.Module, config: Config) -> None:
    """Load the parameters of ``config.weights``: a file, or the newest checkpoint of a run's folder. Where its head is of another
    number of classes, the model's stays fresh, which is said.

    Raises:
        RunError: there is no such file, or it does not fit the model.
    """
    from ..models import load_weights

    path = Path(config.weights or "")
    if not path.exists():
        raise RunError(f"--weights: there is no file {path}")
    weights = newest_checkpoint(path / "checkpoints").model if path.is_dir() else path
    try:
        try:
            load_weights(model, weights)
        except ValueError as error:
            if not heads(model):
                raise
            load_weights(model, weights, head=False)
            print(f"--weights: the head starts afresh ({error})")
    except ValueError as error:
        raise RunError(f"--weights: {path} does not fit {config.model}: {error}") from error


def heads(model: nn.Module) -> tuple[str, ...]:
    """The paths of the layers that the number of classes shapes: the class's attribute `head`."""
    return tuple(getattr(type(model), "head", ()))


def in_head(model: nn.Module, name: str) -> bool:
    """Whether the tensor `name` belongs to the head."""
    return any(name.startswith(f"{path}.") for path in heads(model))


def freeze(model: nn.Module, name: str) -> None:
    """Let only the head learn. Frozen batch norm stays in evaluation mode (see :class:`Trainer`).

    Raises:
        RunError: the model, called `name`, does not say which layers its head is.
    """
    if not heads(model):
        raise RunError(
            f"{name} does not say which layers learn when the rest is frozen: its class needs head = ('path.of.layer',)"
        )
    for path, parameter in model.named_parameters():
        parameter.requires_grad = in_head(model, path)


# ---- the optimizer ----


def make_optimizer(model: nn.Module, config: Config) -> optim.Optimizer:
    """The optimizer of a configuration, over the parameters of a model that learn."""
    groups = parameter_groups(model, config)
    if config.optimizer == "sgd":
        return optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=config.nesterov)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[config.optimizer](groups, config.lr)


def parameter_groups(model: nn.Module, config: Config) -> list[dict]:
    """Parameters that learn, by weight decay: batch norm's and biases may have another one, as in torchvision's train.py."""
    norms = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias) if p is not None}
    groups: dict[float, list] = {}
    for name, parameter in model.named_parameters():
        decay = config.weight_decay
        if id(parameter) in norms and config.norm_weight_decay is not None:
            decay = config.norm_weight_decay
        elif id(parameter) not in norms and name.split(".")[-1] == "bias" and config.bias_weight_decay is not None:
            decay = config.bias_weight_decay
        if parameter.requires_grad:
            groups.setdefault(decay, []).append(parameter)
    return [{"params": members, "weight_decay": decay} for decay, members in groups.items()]


# Of an optimizer, a configuration, the steps of an epoch and the steps after the warm-up. What is said in epochs changes the
# rate between epochs, as in torchvision's training script; cosine and poly go by steps.
SCHEDULERS: dict[str, Callable[..., Any]] = {
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
    main = SCHEDULERS[config.schedule](optimizer, config, steps_per_epoch, config.epochs * steps_per_epoch - warmup)
    if not warmup:
        return main
    first = lr_scheduler.LinearLR(optimizer, config.lr_warmup_decay, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [first, main], [warmup])
