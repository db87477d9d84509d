"""Models by name: ``create_model("lenet5")``. One file per paper, architecture only."""

from .backbone import Backbone
from .densenet import DenseNet
from .lenet import LeNet5
from .mobilenet_v1 import MobileNetV1
from .mobilenet_v2 import MobileNetV2
from .registry import create_model, list_models
from .shufflenet_v1 import ShuffleNetV1
from .shufflenet_v2 import ShuffleNetV2

__all__ = [
    "Backbone",
    "DenseNet",
    "LeNet5",
    "MobileNetV1",
    "MobileNetV2",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "create_model",
    "list_models",
]
