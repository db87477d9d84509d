"""create_model(…, features_only=True): which maps, of which channels and strides, from which layers."""

import numpy as np
import pytest
from helpers import normal

import pycnn
from pycnn import nn, ops
from pycnn.models import Backbone, create_model
from pycnn.tensor import Tensor


class Stages(nn.Module):
    """Valid and padded convolutions, odd sizes, and a top. Maps of strides 1, 2, 8."""

    top = ("classifier",)

    def __init__(self):
        self.conv1 = nn.Conv2d(3, 4, 5)
        self.layers = nn.Sequential(nn.Conv2d(4, 5, 3, 2), nn.Conv2d(5, 6, 3, 2, padding=1))
        self.scale = nn.Parameter(np.ones((1, 6, 1, 1), np.float32))
        self.classifier = nn.Linear(6, 7)
        self.ran: list = []

    def stages(self, x):
        first, second = self.layers
        for i, step in enumerate((self.conv1, first, lambda x: ops.max_pool2d(second(x), 2) * self.scale)):
            self.ran.append(i)
            x = step(x)
            yield x


def test_maps_channels_and_strides():
    backbone = Backbone(Stages(), (3, 31, 31))
    assert backbone.channels == (4, 5, 6) and backbone.strides == (1, 2, 8)
    maps = backbone(Tensor(normal((2, 3, 31, 31))))
    assert [y.shape for y in maps] == [(2, 4, 27, 27), (2, 5, 13, 13), (2, 6, 3, 3)]


@pytest.mark.parametrize("indices, places", [((1,), [1]), ((2, 0), [0, 2]), ((-1,), [2]), ([-3, 1], [0, 1])])
def test_out_indices(indices, places):
    model = Stages()
    x = Tensor(normal((1, 3, 31, 31)))
    whole = list(model.stages(x))
    backbone = Backbone(model, (3, 31, 31), indices)
    assert backbone.channels == tuple((4, 5, 6)[i] for i in places)
    model.ran.clear()
    for y, i in zip(backbone(x), places, strict=True):
        assert np.array_equal(y.numpy(), whole[i].numpy())
    assert model.ran == list(range(places[-1] + 1))


def test_what_no_map_depends_on_is_gone():
    names = lambda indices: set(Backbone(Stages(), (3, 31, 31), indices).state_dict())
    conv1, first = {"conv1.weight", "conv1.bias"}, {"layers.0.weight", "layers.0.bias"}
    assert names((0,)) == {"scale"} | conv1
    assert names((1,)) == {"scale"} | conv1 | first
    assert names(None) == {"scale", "layers.1.weight", "layers.1.bias"} | conv1 | first
    with pycnn.no_grad():
        assert names((1,)) == {"scale"} | conv1 | first


def test_weights_of_the_whole_model_load():
    state = create_model("mobilenet_v1_025", num_classes=3).state_dict()
    backbone = create_model("mobilenet_v1_025", num_classes=3, features_only=True)
    assert set(backbone.state_dict()) == {name for name in state if not name.startswith("classifier")}
    backbone.load_state_dict(state, strict=False)
    assert all(np.array_equal(value, state[name]) for name, value in backbone.state_dict().items())


def test_it_trains_as_a_part_of_a_net():
    class Net(nn.Module):
        def __init__(self):
            self.backbone = create_model("mobilenet_v1_025", features_only=True, out_indices=(1, 2))
            self.head = nn.Conv2d(self.backbone.channels[-1], 2, 1)

        def forward(self, x):
            return self.head(self.backbone(x)[-1])

    net = Net()
    assert net.backbone.strides == (4, 8) and net.backbone.channels == (32, 64)
    assert all(module.training for module in net.modules())
    used = [name for name in net.state_dict() if name.endswith("pointwise.weight")]
    assert used == [f"backbone.blocks.{i}.pointwise.weight" for i in range(5)]
    ops.sum(net(Tensor(normal((2, 3, 32, 32))))).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert not any(module.training for module in net.eval().modules())
    with pytest.raises(pycnn.errors.ShapeError, match=r"backbone.conv1 = Conv2d\(3"):
        net(Tensor(normal((2, 4, 32, 32))))


@pytest.mark.parametrize(
    "indices, message",
    [
        ((1, 3), r"out_indices = \(1, 3\): of 3 maps, 3 is not between -3 and 2"),
        ((-4,), r"out_indices = \(-4,\): of 3 maps, -4 is not between -3 and 2"),
        ((2, -1), r"out_indices = \(2, -1\) must name at least one map, and none twice"),
        ((), r"out_indices = \(\) must name at least one map"),
        (1, "out_indices must be integers in a tuple or list, got 1"),
        ((1.0,), r"out_indices must be integers in a tuple or list, got \(1.0,\)"),
    ],
)
def test_bad_indices(indices, message):
    with pytest.raises(ValueError, match=message):
        Backbone(Stages(), (3, 31, 31), indices)


def test_bad_models_and_calls():
    with pytest.raises(ValueError, match="features_only: Linear has no stages"):
        Backbone(nn.Linear(2, 3), (3, 8, 8))
    with pytest.raises(ValueError, match=r"out_indices = \(1,\) needs features_only=True"):
        create_model("mobilenet_v1_025", out_indices=(1,))
