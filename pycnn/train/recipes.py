"""How the papers trained their nets: ``pycnn train alexnet --recipe alexnet``; ``pycnn recipes`` prints the table.

A value is the paper's. Where the paper does not give one, the source says whose it is; where the lecture gives another, both are
shown and the paper's is used. Values are settings of :class:`~pycnn.train.Config`. Epochs of papers that count iterations are
iterations times batch size over the 1,281,167 training images of ImageNet (50,000 of CIFAR), rounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """A setting of a recipe.

    Attributes:
        value: what is used.
        source: where it is from: a section of the recipe's paper, or whose it is.
        lecture: what the lecture says, if it differs.
    """

    value: Any
    source: str
    lecture: str = ""


@dataclass(frozen=True)
class Recipe:
    """How a net was trained.

    Attributes:
        name: what ``--recipe`` calls it.
        paper: authors, year, arXiv number.
        models: shell patterns of the registered models it is for.
        values: by name of the setting.
        notes: what the settings cannot say.
    """

    name: str
    paper: str
    models: tuple[str, ...]
    values: dict[str, Value]
    notes: str = ""

    def settings(self) -> dict[str, Any]:
        """The values as arguments of :class:`~pycnn.train.Config`."""
        return {name: list(v.value) if isinstance(v.value, tuple) else v.value for name, v in self.values.items()}

    def differences(self) -> dict[str, Value]:
        """The values for which the lecture has another."""
        return {name: value for name, value in self.values.items() if value.lecture}


def table(recipes: Iterable[Recipe]) -> str:
    """`recipes` as text: one line per setting, with its source and the lecture's value where it differs."""
    return "\n\n".join(map(_paragraph, recipes))


def _paragraph(recipe: Recipe) -> str:
    lines = [f"{recipe.name}: {recipe.paper}; for {', '.join(recipe.models)}"]
    for name, v in recipe.values.items():
        value = ", ".join(map(str, v.value)) if isinstance(v.value, tuple) else str(v.value)
        lines.append(f"  {name:20} {value:12} {v.source}" + (f"; lecture: {v.lecture}" if v.lecture else ""))
    return "\n".join(lines + ([f"  {recipe.notes}"] if recipe.notes else []))


def _momentum(source: str, weight_decay: Value, momentum: float = 0.9) -> dict[str, Value]:
    return {"optimizer": Value("sgd", source), "momentum": Value(momentum, source), "weight_decay": weight_decay}


def _nesterov(source: str, weight_decay: float) -> dict[str, Value]:
    return _momentum(source, Value(weight_decay, source)) | {"nesterov": Value(True, source)}


def _steps(source: str, lr: float, milestones: tuple[int, ...], gamma: float = 0.1) -> dict[str, Value]:
    schedule = {"schedule": "multistep", "lr_milestones": milestones, "lr_gamma": gamma}
    return {"lr": Value(lr, source), **{name: Value(value, source) for name, value in schedule.items()}}


def _plateau(source: str, lr: float) -> dict[str, Value]:
    by = f"{source}, by hand when the validation error stops falling"
    return {"lr": Value(lr, source), "schedule": Value("plateau", by), "lr_gamma": Value(0.1, source)}


def _crops(source: str, resize: int | None = 256, crop: int = 224) -> dict[str, Value]:
    """Random crops and mirror images; `resize` is of the shorter side, None for crops of random area and aspect."""
    sizes = {
        "train_resize_size": resize,
        "train_crop_size": crop,
        "val_resize_size": 256,
        "val_crop_size": crop,
        "hflip_prob": 0.5,
    }
    return {name: Value(value, source) for name, value in sizes.items() if value is not None}


def _padded(source: str) -> dict[str, Value]:
    """CIFAR's augmentation: 4 pixels of padding, a random crop of the image's size, mirror images."""
    return {"random_crop_padding": Value(4, source), "hflip_prob": Value(0.5, source)}


def _run(source: str, batch_size: int, epochs: int) -> dict[str, Value]:
    return {"batch_size": Value(batch_size, source), "epochs": Value(epochs, source)}


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "lenet5",
            "LeCun, Bottou, Bengio, Haffner 1998",
            ("lenet5",),
            _momentum("pycnn; the paper has neither momentum nor decay, section III.B", Value(5e-4, "pycnn"))
            | {"lr": Value(0.03, "pycnn; the paper's 5e-4 … 1e-5 scale a diagonal Levenberg-Marquardt step, section III.B")}
            | {"schedule": Value("cosine", "pycnn; the paper lowers its rate after 2, 5, 8 and 12 passes, section III.B")}
            | {"batch_size": Value(64, "pycnn; the paper updates after every image, section III.B")}
            | {"epochs": Value(20, "section III.B")},
        ),
        Recipe(
            "alexnet",
            "Krizhevsky, Sutskever, Hinton 2012",
            ("alexnet*",),
            _momentum("section 5", Value(5e-4, "section 5"))
            | _plateau("section 5", 0.01)
            | _run("section 5", 128, 90)
            | {"dropout": Value(0.5, "section 4.2")}
            | _crops("section 4.1")
            | {"pca_lighting": Value(0.1, "section 4.1")},
            "Tested on ten crops: pycnn eval --ten-crop. Seven nets are averaged: 18.2 % to 15.4 % top-5 error.",
        ),
        Recipe(
            "zfnet",
            "Zeiler, Fergus 2013, arXiv 1311.2901",
            ("zfnet*",),
            _momentum("section 3", Value(5e-4, "AlexNet's; the paper gives none"))
            | _plateau("section 3", 0.01)
            | _run("section 3", 128, 70)
            | {"dropout": Value(0.5, "section 3")}
            | _crops("section 3"),
            "The paper also scales filters of the first layer back to a root mean square of 0.1; not done here.",
        ),
        Recipe(
            "vgg",
            "Simonyan, Zisserman 2014, arXiv 1409.1556",
            ("vgg*",),
            _momentum("section 3.1", Value(5e-4, "section 3.1"))
            | _plateau("section 3.1", 0.01)
            | {"batch_size": Value(256, "section 3.1", "128 (similar training procedure as AlexNet)")}
            | {"epochs": Value(74, "section 3.1, 370,000 iterations")}
            | {"dropout": Value(0.5, "section 3.1")}
            | _crops("section 3.1, S = 256")
            | {"pca_lighting": Value(0.1, "section 3.1, AlexNet's colour shift")},
            "The paper also trains with S = 384 and S random in [256, 512].",
        ),
        Recipe(
            "googlenet",
            "Szegedy et al. 2014, arXiv 1409.4842",
            ("googlenet*",),
            _momentum("section 6", Value(2e-4, "BVLC solver.prototxt; the paper gives none"))
            | {
                "lr": Value(0.01, "BVLC solver.prototxt; the paper gives none"),
                "schedule": Value("step", "section 6"),
                "lr_step_size": Value(8, "section 6"),
                "lr_gamma": Value(0.96, "section 6, 4 % less"),
            }
            | _run("BVLC solver.prototxt; the paper gives none", 32, 250)
            | {"dropout": Value(0.4, "section 5"), "aux_weight": Value(0.3, "section 5")}
            | _crops("section 6: 8 % to 100 % of the area, aspect 3/4 to 4/3", None),
            "The auxiliary heads' dropout is 0.7 (section 5). The paper averages parameters over time (Polyak); not done here.",
        ),
        Recipe(
            "resnet",
            "He, Zhang, Ren, Sun 2015, arXiv 1512.03385",
            ("resnet18", "resnet34", "resnet50*", "resnet101*", "resnet152*"),
            _momentum("section 3.4", Value(1e-4, "section 3.4", "1e-5"))
            | _plateau("section 3.4", 0.1)
            | _run("section 3.4, 600,000 iterations", 256, 120)
            | _crops("section 3.4")
            | {"train_resize_size": Value(256, "section 3.4, there random in [256, 480]")}
            | {"pca_lighting": Value(0.1, "section 3.4, AlexNet's colour shift")},
            "No dropout (section 3.4, and the lecture).",
        ),
        Recipe(
            "resnet_cifar",
            "He, Zhang, Ren, Sun 2015, arXiv 1512.03385",
            ("resnet*_cifar", "plain*_cifar"),
            _momentum("section 4.2", Value(1e-4, "section 4.2", "1e-5"))
            | _steps("section 4.2, after 32,000 and 48,000 iterations", 0.1, (82, 123))
            | {"schedule": Value("multistep", "section 4.2", "plateau")}
            | {"batch_size": Value(128, "section 4.2", "256")}
            | {"epochs": Value(164, "section 4.2, 64,000 iterations")}
            | _padded("section 4.2"),
            "ResNet-110 starts with a rate of 0.01 (section 4.2): --lr-warmup-epochs 1 --lr-warmup-decay 0.1.",
        ),
        Recipe(
            "preact_resnet_cifar",
            "He, Zhang, Ren, Sun 2016, arXiv 1603.05027",
            ("preact_resnet*_cifar",),
            _momentum("section 5 and appendix", Value(1e-4, "appendix"))
            | _steps("appendix, after 32,000 and 48,000 iterations", 0.1, (82, 123))
            | {
                "lr_warmup_epochs": Value(1, "appendix, 400 iterations"),
                "lr_warmup_decay": Value(0.1, "appendix, a rate of 0.01"),
            }
            | _run("appendix", 128, 164)
            | _padded("appendix"),
        ),
        Recipe(
            "wide_resnet_cifar",
            "Zagoruyko, Komodakis 2016, arXiv 1605.07146",
            ("wide_resnet*_cifar",),
            _nesterov("section 3", 5e-4)
            | _steps("section 3", 0.1, (60, 120, 160), 0.2)
            | _run("section 3", 128, 200)
            | _padded("section 3"),
            "With dropout in the blocks it is 0.3 (section 3.3).",
        ),
        Recipe(
            "resnext",
            "Xie, Girshick, Dollár, Tu, He 2016, arXiv 1611.05431",
            ("resnext50*", "resnext101*"),
            _momentum("section 4", Value(1e-4, "section 4"))
            | _steps("section 4, as fb.resnet.torch", 0.1, (30, 60, 90))
            | {"batch_size": Value(256, "section 4"), "epochs": Value(100, "authors' opts.lua")}
            | _crops("section 4: scale and aspect ratio as fb.resnet.torch", None),
        ),
        Recipe(
            "resnext_cifar",
            "Xie, Girshick, Dollár, Tu, He 2016, arXiv 1611.05431",
            ("resnext29*",),
            _momentum("appendix A", Value(5e-4, "appendix A"))
            | _steps("appendix A", 0.1, (150, 225))
            | _run("appendix A", 128, 300)
            | _padded("appendix A"),
        ),
        Recipe(
            "stochastic_depth_cifar",
            "Huang, Sun, Liu, Sedra, Weinberger 2016, arXiv 1603.09382",
            ("stochastic_resnet*_cifar",),
            _nesterov("section 4", 1e-4)
            | _steps("section 4", 0.1, (250, 375))
            | _run("section 4", 128, 500)
            | _padded("section 4"),
        ),
        Recipe(
            "densenet",
            "Huang, Liu, van der Maaten, Weinberger 2016, arXiv 1608.06993",
            ("densenet121", "densenet161", "densenet169", "densenet201", "densenet264"),
            _nesterov("section 4.2", 1e-4)
            | _steps("section 4.2", 0.1, (30, 60))
            | _run("section 4.2", 256, 90)
            | _crops("section 4.1: augmentation of fb.resnet.torch", None),
        ),
        Recipe(
            "densenet_cifar",
            "Huang, Liu, van der Maaten, Weinberger 2016, arXiv 1608.06993",
            ("densenet*_cifar",),
            _nesterov("section 4.2", 1e-4)
            | _steps("section 4.2, after a half and three quarters", 0.1, (150, 225))
            | _run("section 4.2", 64, 300)
            | _padded("section 4.1"),
            "Without augmentation dropout is 0.2 (section 4.2): --random-crop-padding 0 --hflip-prob 0 --dropout 0.2.",
        ),
        Recipe(
            "squeezenet",
            "Iandola et al. 2016, arXiv 1602.07360",
            ("squeezenet*",),
            _momentum("authors' solver.prototxt", Value(2e-4, "authors' solver.prototxt"))
            | {
                "lr": Value(0.04, "section 3.3"),
                "schedule": Value("poly", "section 3.3, in a straight line to 0"),
                "lr_power": Value(1.0, "section 3.3"),
            }
            | _run("authors' solver.prototxt, 170,000 iterations", 512, 68)
            | {"dropout": Value(0.5, "section 3.3")}
            | _crops("authors' train_val.prototxt; 227 of 256 there"),
        ),
        Recipe(
            "mobilenet",
            "Howard et al. 2017, arXiv 1704.04861",
            ("mobilenet_v1*",),
            {
                "optimizer": Value("sgd", "tensorflow/models mobilenet_v1_train.py; the paper: RMSprop, section 3.2"),
                "momentum": Value(0.0, "tensorflow/models mobilenet_v1_train.py"),
                "weight_decay": Value(4e-5, "tensorflow/models mobilenet_v1.py"),
                "lr": Value(0.045, "tensorflow/models mobilenet_v1_train.py"),
                "schedule": Value("step", "tensorflow/models mobilenet_v1_train.py"),
                "lr_step_size": Value(5, "tensorflow/models mobilenet_v1_train.py, 0.94 every 2.5 epochs"),
                "lr_gamma": Value(0.8836, "0.94²"),
                "batch_size": Value(64, "tensorflow/models mobilenet_v1_train.py"),
                "epochs": Value(100, "pycnn; neither says how many"),
            }
            | _crops("section 3.2, Inception's crops, less aggressive", None),
            "The paper puts little or no weight decay on depthwise filters (section 3.2); here they have the others'.",
        ),
        Recipe(
            "shufflenet",
            "Zhang, Zhou, Lin, Sun 2017, arXiv 1707.01083",
            ("shufflenet_v1*",),
            _momentum("section 4, as ResNeXt", Value(4e-5, "section 4"))
            | {
                "lr": Value(0.5, "section 4"),
                "schedule": Value("poly", "section 4, in a straight line to 0"),
                "lr_power": Value(1.0, "section 4"),
            }
            | _run("section 4, 300,000 iterations", 1024, 240)
            | _crops("section 4, as ResNeXt, scales less aggressive", None),
        ),
    )
}
