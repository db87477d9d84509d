"""Models by name: ``create_model("lenet5")``. One file per paper, architecture only."""

from .alexnet import AlexNet, AlexNetPaper
from .backbone import Backbone
from .cifar10_quick import Cifar10Quick
from .densenet import DenseNet
from .googlenet import GoogLeNet
from .lenet import LeNet5, LeNet5Of1998
from .lenet_caffe import LeNetCaffe
from .mobilenet_v1 import MobileNetV1
from .mobilenet_v2 import MobileNetV2
from .nin import NiN, NiNCifar
from .preact_resnet import PreActResNet, PreActResNetCifar
from .registry import create_model, list_models
from .resnet import ResNet
from .resnet_cifar import ResNetCifar
from .resnext import ResNeXt, ResNeXtCifar
from .shufflenet_v1 import ShuffleNetV1
from .shufflenet_v2 import ShuffleNetV2
from .squeezenet import SqueezeNet
from .stochastic_depth import StochasticResNetCifar
from .vgg import VGG
from .weight_files import WeightsError, load_weights
from .weights import list_weights
from .wide_resnet import WideResNet, WideResNetCifar
from .zfnet import ZFNet

__all__ = [
    "AlexNet",
    "AlexNetPaper",
    "Backbone",
    "Cifar10Quick",
    "DenseNet",
    "GoogLeNet",
    "LeNet5",
    "LeNet5Of1998",
    "LeNetCaffe",
    "MobileNetV1",
    "MobileNetV2",
    "NiN",
    "NiNCifar",
    "PreActResNet",
    "PreActResNetCifar",
    "ResNeXt",
    "ResNeXtCifar",
    "ResNet",
    "ResNetCifar",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "SqueezeNet",
    "StochasticResNetCifar",
    "VGG",
    "WeightsError",
    "WideResNet",
    "WideResNetCifar",
    "ZFNet",
    "create_model",
    "list_models",
    "list_weights",
    "load_weights",
]
