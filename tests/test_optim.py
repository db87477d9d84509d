"""Optimisers: PyTorch's update on flat arrays, state, groups."""

import numpy as np
import pytest

import pycnn
from pycnn import nn, optim


def reference_sgd(p, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    p, v = p.astype(np.float64), None
    for grad in grads:
        g = grad + weight_decay * p
        if momentum:
            v = g if v is None else momentum * v + (1 - dampening) * g
            g = g + momentum * v if nesterov else v
        p = p - lr * g
    return p


SETTINGS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"weight_decay": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("version", ["plain", "vectorized"])
def test_sgd(settings, version):
    rng = np.random.default_rng(0)
    shapes = [(5,), (3, 7), (2, 3, 5, 5)]
    start = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    params = [nn.Parameter(a, layout="image" if a.ndim == 4 else "plain") for a in start]
    grads = [[rng.standard_normal(s).astype(np.float32) for s in shapes] for _ in range(4)]
    optimizer = optim.SGD(params, lr=0.1, **settings)
    with pycnn.kernels(sgd=version):
        for step in grads:
            optimizer.zero_grad()
            for p, g in zip(params, step, strict=True):
                p.grad = pycnn.Tensor(g)
            optimizer.step()
    for i, p in enumerate(params):
        expected = reference_sgd(start[i], [step[i] for step in grads], 0.1, **settings)
        assert np.abs(p.numpy() - expected).max() < 2e-6
        assert p.changes >= 4


def test_parameters_and_gradients_are_views_of_flat_arrays():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    before = net.state_dict()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    (group,) = optimizer.groups
    assert all(np.array_equal(before[n], v) for n, v in net.state_dict().items())
    assert all(p.data.base is group.data or p.data.base.base is group.data for p in net.parameters())
    assert all(start * 4 % 16 == 0 for start, _ in group.slots)
    x = pycnn.Tensor(np.ones((2, 1, 4, 4), np.float32))
    net(x).sum().backward()
    assert group.ready_runs() == [(0, group.size)]
    for p in net.parameters():
        assert np.shares_memory(p.grad.data, group.grad)


def test_parameters_without_a_gradient_stay():
    a, b = nn.Parameter(np.ones(3, np.float32)), nn.Parameter(np.ones(3, np.float32))
    optimizer = optim.SGD([a, b], lr=1.0, momentum=0.9, weight_decay=0.5)
    (b * b).sum().backward()
    optimizer.step()
    assert np.array_equal(a.numpy(), np.ones(3)) and not np.array_equal(b.numpy(), np.ones(3))


def test_first_write_after_zero_grad_overwrites():
    p = nn.Parameter(np.ones(2, np.float32))
    optimizer = optim.SGD([p], lr=0.0)
    for _ in range(2):
        optimizer.zero_grad()
        (p + p).sum().backward()
        assert p.grad.numpy().tolist() == [2.0, 2.0]


def test_learning_rate_lives_on_the_device():
    p = nn.Parameter(np.zeros(1, np.float32))
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.lr = 0.25
    assert optimizer.groups[0].state[0] == 0.25
    p.grad = pycnn.Tensor(np.ones(1, np.float32))
    optimizer.step()
    assert p.item() == -0.25 and optimizer.groups[0].state[1] == 1


def test_groups_and_state_round_trip():
    def build():
        pycnn.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        groups = [{"params": [net[0].weight]}, {"params": [net[0].bias, *net[2].parameters()], "weight_decay": 0.0, "lr": 0.01}]
        return net, optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1)

    x = pycnn.Tensor(np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32))

    def steps(net, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            (net(x) * net(x)).sum().backward()
            optimizer.step()

    net, optimizer = build()
    steps(net, optimizer, 2)
    weights, state = net.state_dict(), optimizer.state_dict()
    steps(net, optimizer, 3)
    other, resumed = build()
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    steps(other, resumed, 3)
    assert all(np.array_equal(v, other.state_dict()[n]) for n, v in net.state_dict().items())
    with pytest.raises(KeyError, match="needs"):
        resumed.load_state_dict({})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: optim.SGD([], lr=1), "no parameters"),
        (lambda p: optim.SGD([p], lr=-1), "lr must not be negative"),
        (lambda p: optim.SGD([p, p]), "more than one place"),
        (lambda p: optim.SGD([p], nesterov=True), "nesterov needs momentum"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make(nn.Parameter(np.ones(1, np.float32)))
