"""Models by name: ``create_model("lenet5")``. One file per paper, architecture only."""

from .lenet import LeNet5
from .registry import create_model, list_models

__all__ = ["LeNet5", "create_model", "list_models"]
