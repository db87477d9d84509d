"""Module, initialisers, state_dict, and messages that name the layer."""

import math

import numpy as np
import pytest

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.errors import ShapeError


class Block(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

    def forward(self, x):
        return self.head(self.bn(self.conv(x)))


def test_names_order_and_round_trip():
    net = Block()
    names = list(net.state_dict())
    assert names == [
        "conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
        "head.1.weight", "head.1.bias",
    ]  # fmt: skip
    assert net.state_dict()["conv.weight"].shape == (3, 1, 3, 3)
    other = Block()
    other.load_state_dict(net.state_dict())
    for name, value in other.state_dict().items():
        assert np.array_equal(value, net.state_dict()[name])


def test_load_state_dict_names_what_does_not_fit():
    net = Block()
    state = net.state_dict()
    before = state["bn.bias"].copy()
    state["extra"] = state.pop("conv.bias")
    state["bn.bias"] = before + 1
    with pytest.raises(KeyError, match=r"missing \['conv.bias'\], unexpected \['extra'\]"):
        net.load_state_dict(state)
    net.load_state_dict(state, strict=False)
    state = net.state_dict() | {"head.1.weight": np.ones((2, 5), np.float32), "bn.bias": before + 7}
    with pytest.raises(ShapeError, match="head.1.weight.*(2, 5).*(2, 12)"):
        net.load_state_dict(state)
    assert np.array_equal(net.state_dict()["bn.bias"], before + 1)  # nothing was changed


def test_shape_error_names_path_layer_and_formula():
    net = Block()
    with pytest.raises(
        ShapeError, match=r"head\.1 = Linear\(12, 2\).*shape \(1, 27\).*in_features = 12.* given \(1, 1, 5, 5\)\)$"
    ):
        net(pycnn.Tensor(np.ones((1, 1, 5, 5), np.float32)))
    with pytest.raises(ShapeError, match=r"^conv = Conv2d\(1, 3"):
        net(pycnn.Tensor(np.ones((1, 2, 4, 4), np.float32)))
    with pytest.raises(ShapeError, match=r"^the model = Linear\(3, 4\).*in_features = 3 elements$"):
        nn.Linear(3, 4)(pycnn.Tensor(np.ones((2, 5), np.float32)))


def test_train_eval_zero_grad_hooks():
    net = Block()
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    seen = []
    remove = net.bn.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    x = pycnn.Tensor(np.random.default_rng(0).standard_normal((4, 1, 4, 4)).astype(np.float32))
    net(x).sum().backward()
    remove()
    net(x)
    assert seen == [(4, 3, 2, 2)]
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert int(net.bn.num_batches_tracked.item()) == 2


def test_shared_parameters_are_listed_once():
    net = Block()
    net.again = net.conv
    assert len(list(net.parameters())) == 6


def test_manual_seed_repeats_everything():
    weights = []
    for _ in range(2):
        pycnn.manual_seed(7)
        weights.append(Block().state_dict())
    assert all(np.array_equal(weights[0][n], weights[1][n]) for n in weights[0])


@pytest.mark.parametrize(
    "name, spread",
    [
        ("kaiming_uniform_", math.sqrt(2 / 450)),
        ("kaiming_normal_", math.sqrt(2 / 450)),
        ("xavier_uniform_", math.sqrt(2 / (450 + 720))),
        ("xavier_normal_", math.sqrt(2 / (450 + 720))),
        ("lecun_uniform_", math.sqrt(1 / 450)),
        ("lecun_normal_", math.sqrt(1 / 450)),
    ],
)
def test_initialisers_have_the_papers_spread(name, spread):
    pycnn.manual_seed(0)
    weight = nn.Parameter(np.empty((80, 50, 3, 3), np.float32), layout="image")
    getattr(nn.init, name)(weight)
    values = weight.numpy()
    assert abs(values.mean()) < 4 * spread / math.sqrt(values.size)
    assert values.std() == pytest.approx(spread, rel=0.02)


def test_default_init_is_pytorchs():
    pycnn.manual_seed(0)
    layer = nn.Conv2d(16, 64, 5)
    bound = 1 / math.sqrt(16 * 25)
    for tensor in (layer.weight, layer.bias):
        assert np.abs(tensor.numpy()).max() <= bound
    assert layer.weight.numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Conv2d(4, 4, 3, groups=0), "groups must be a positive integer"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), "divisible by groups = 4"),
        (lambda: nn.Conv2d(1, 1, 3, padding="foo"), "padding must be 'same', 'valid'"),
        (lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), "padding='same' is not supported for strided"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), "kernel_size must be one number or two"),
        (lambda: nn.Dropout(1.5), "p must be a probability"),
        (lambda: nn.init.kaiming_normal_(nn.Parameter(np.ones((2, 2))), mode="both"), "mode must be"),
        (lambda: nn.init.fans(nn.Parameter(np.ones(2))), "at least 2 axes"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_without_parameters_call_their_ops():
    x, t = Tensor(np.linspace(-2, 8, 12, dtype=np.float32).reshape(3, 4)), Tensor(np.full((3, 4), 0.25, np.float32))
    for layer, expected in (
        (nn.LeakyReLU(0.2), ops.leaky_relu(x, 0.2)),
        (nn.ReLU6(), ops.relu6(x)),
        (nn.Softmax(dim=1), ops.softmax(x, 1)),
        (nn.LogSoftmax(1), ops.log_softmax(x, 1)),
        (nn.Identity(54, unused=1), x),
        (nn.DropPath(0.3).eval(), x),
    ):
        np.testing.assert_array_equal(layer(x).numpy(), expected.numpy())
    for layer, expected in (
        (nn.MSELoss(reduction="sum"), ops.mse_loss(x, t, "sum")),
        (nn.L1Loss(), ops.l1_loss(x, t)),
        (nn.SmoothL1Loss(beta=0.5), ops.smooth_l1_loss(x, t, beta=0.5)),
        (nn.BCEWithLogitsLoss(t, pos_weight=t), ops.binary_cross_entropy_with_logits(x, t, t, pos_weight=t)),
        (nn.CrossEntropyLoss(), ops.cross_entropy(x, t)),
    ):
        np.testing.assert_array_equal(layer(x, t).numpy(), expected.numpy())


@pytest.mark.parametrize("layer", [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Dropout])
def test_in_place_is_refused(layer):
    layer(inplace=False)
    with pytest.raises(ValueError, match="no operations in place"):
        layer(inplace=True)
