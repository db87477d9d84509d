"""The registry of models, and LeNet-5 as the first of the nets; each family has a file of its own."""

import pytest
from model_checks import check_against_torch, parameters

from pycnn.models import create_model, list_models
from pycnn.models.registry import entry


def test_names_are_listed_by_pattern():
    assert "lenet5" in list_models() and "lenet5" in list_models("lenet*") and list_models("x*") == []


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(ValueError, match="there is no model 'lenet'; did you mean lenet5"):
        create_model("lenet")


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="width"):
        create_model("lenet5", width=2)


def test_lenet5():
    assert parameters(create_model("lenet5")) == 61_706 and entry("lenet5").image == (1, 32, 32)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_lenet5_agrees_with_torch(training):
    check_against_torch("lenet5", (1, 32, 32), training)
