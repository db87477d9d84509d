"""Recipes: their values, pinned to the papers and the lecture, and what ``pycnn recipes`` prints."""

from __future__ import annotations

import dataclasses

import pytest

from pycnn import cli
from pycnn.models import list_models
from pycnn.train import RECIPES, Config, RunError
from pycnn.train.config import new_config

CROPS = {"train_resize_size": 256, "train_crop_size": 224, "val_resize_size": 256, "val_crop_size": 224, "hflip_prob": 0.5}
AREA_CROPS = {name: value for name, value in CROPS.items() if name != "train_resize_size"}
PADDED = {"random_crop_padding": 4, "hflip_prob": 0.5}
SGD = {"optimizer": "sgd", "momentum": 0.9}
NESTEROV = SGD | {"nesterov": True}
PLATEAU = {"schedule": "plateau", "lr_gamma": 0.1}
POLY = {"schedule": "poly", "lr_power": 1.0}


def steps(*milestones, gamma=0.1):
    return {"lr": 0.1, "schedule": "multistep", "lr_milestones": list(milestones), "lr_gamma": gamma}


def run(batch_size, epochs, weight_decay):
    return {"batch_size": batch_size, "epochs": epochs, "weight_decay": weight_decay}


EXPECTED = {
    "lenet5": SGD | {"lr": 0.03, "schedule": "cosine"} | run(64, 20, 5e-4),
    "alexnet": SGD | PLATEAU | CROPS | run(128, 90, 5e-4) | {"lr": 0.01, "dropout": 0.5, "pca_lighting": 0.1},
    "zfnet": SGD | PLATEAU | CROPS | run(128, 70, 5e-4) | {"lr": 0.01, "dropout": 0.5},
    "vgg": SGD | PLATEAU | CROPS | run(256, 74, 5e-4) | {"lr": 0.01, "dropout": 0.5, "pca_lighting": 0.1},
    "googlenet": SGD
    | AREA_CROPS
    | run(32, 250, 2e-4)
    | {"lr": 0.01, "schedule": "step", "lr_step_size": 8, "lr_gamma": 0.96, "dropout": 0.4, "aux_weight": 0.3},
    "resnet": SGD | PLATEAU | CROPS | run(256, 120, 1e-4) | {"lr": 0.1, "pca_lighting": 0.1},
    "resnet_cifar": SGD | steps(82, 123) | PADDED | run(128, 164, 1e-4),
    "preact_resnet_cifar": SGD | steps(82, 123) | PADDED | run(128, 164, 1e-4) | {"lr_warmup_epochs": 1, "lr_warmup_decay": 0.1},
    "wide_resnet_cifar": NESTEROV | steps(60, 120, 160, gamma=0.2) | PADDED | run(128, 200, 5e-4),
    "resnext": SGD | steps(30, 60, 90) | AREA_CROPS | run(256, 100, 1e-4),
    "resnext_cifar": SGD | steps(150, 225) | PADDED | run(128, 300, 5e-4),
    "stochastic_depth_cifar": NESTEROV | steps(250, 375) | PADDED | run(128, 500, 1e-4),
    "densenet": NESTEROV | steps(30, 60) | AREA_CROPS | run(256, 90, 1e-4),
    "densenet_cifar": NESTEROV | steps(150, 225) | PADDED | run(64, 300, 1e-4),
    "squeezenet": SGD | POLY | CROPS | run(512, 68, 2e-4) | {"lr": 0.04, "dropout": 0.5},
    "mobilenet": AREA_CROPS
    | run(64, 100, 4e-5)
    | {"optimizer": "sgd", "momentum": 0.0, "lr": 0.045, "schedule": "step", "lr_step_size": 5, "lr_gamma": 0.8836},
    "shufflenet": SGD | POLY | AREA_CROPS | run(1024, 240, 4e-5) | {"lr": 0.5},
}


@pytest.mark.parametrize("name", RECIPES)
def test_values_are_the_papers(name):
    assert RECIPES[name].settings() == EXPECTED[name]
    assert all(value.source for value in RECIPES[name].values.values())


def test_every_recipe_is_pinned():
    assert RECIPES.keys() == EXPECTED.keys()


@pytest.mark.parametrize(("images", "iterations", "name"), [
    (1_281_167, 370_000, "vgg"), (1_281_167, 600_000, "resnet"), (1_281_167, 170_000, "squeezenet"),
    (1_281_167, 300_000, "shufflenet"), (1_281_167, 10_000_000, "googlenet"), (50_000, 64_000, "resnet_cifar"),
])  # fmt: skip
def test_epochs_are_the_papers_iterations(images, iterations, name):
    settings = RECIPES[name].settings()
    assert settings["epochs"] == round(iterations * settings["batch_size"] / images)


def test_googlenet_lowers_its_rate_by_4_percent_every_8_epochs_as_caffe_by_320000_iterations():
    settings = RECIPES["googlenet"].settings()
    assert round(320_000 * settings["batch_size"] / 1_281_167) == settings["lr_step_size"]


@pytest.mark.parametrize(("name", "setting", "lecture"), [
    ("resnet", "weight_decay", "1e-5"), ("resnet_cifar", "weight_decay", "1e-5"), ("resnet_cifar", "batch_size", "256"),
    ("resnet_cifar", "schedule", "plateau"), ("vgg", "batch_size", "128 (similar training procedure as AlexNet)"),
])  # fmt: skip
def test_where_the_lecture_differs_both_are_known(name, setting, lecture):
    assert RECIPES[name].differences()[setting].lecture == lecture


def test_nothing_else_differs_from_the_lecture():
    """AlexNet: batch 128, momentum 0.9, rate 1e-2 by 10, decay 5e-4, dropout 0.5. GoogLeNet: 4 % every 8 epochs."""
    assert {name for name, recipe in RECIPES.items() if recipe.differences()} == {"vgg", "resnet", "resnet_cifar"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_make_a_configuration(name):
    config = new_config({"model": "lenet5", "data": "mnist", "recipe": name, "lr": 0.5, "workers": 3})
    assert config.recipe == name and config.lr == 0.5 and config.workers == 3
    for setting, value in RECIPES[name].settings().items():
        assert setting == "lr" or getattr(config, setting) == value
    assert config.shift == 0  # of the data set's settings nothing is left


def test_a_recipes_settings_are_settings():
    names = {field.name for field in dataclasses.fields(Config)}
    assert all(names.issuperset(recipe.values) for recipe in RECIPES.values())


def test_an_unknown_recipe_is_refused():
    with pytest.raises(RunError, match="no recipe 'alexnets'; there are lenet5, alexnet"):
        new_config({"model": "lenet5", "recipe": "alexnets"})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_for_models_that_exist(name):
    assert all(list_models(pattern) for pattern in RECIPES[name].models)


def test_the_table_shows_values_sources_and_the_lecture(capsys):
    assert cli.main(["recipes", "resnet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("resnet: He, Zhang, Ren, Sun 2015")
    assert "  weight_decay         0.0001       section 3.4; lecture: 1e-5" in lines
    assert cli.main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name}: " in f"\n{out}" for name in RECIPES) and "82, 123" in out
    assert cli.main(["recipes", "nothing"]) == 1
