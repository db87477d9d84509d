"""Optimisers: PyTorch's update on flat arrays, state, groups, clipping of gradients."""

import numpy as np
import pytest
import reference

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


ADAM_SETTINGS = [
    {},
    {"betas": (0.5, 0.9), "eps": 1e-3},
    {"weight_decay": 0.1},
]


@pytest.mark.parametrize("settings", ADAM_SETTINGS)
@pytest.mark.parametrize("version", ["plain", "vectorized"])
@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW])
def test_adam(make, version, settings):
    rng = np.random.default_rng(0)
    shapes = [(5,), (3, 7), (2, 3, 5, 5)]
    start = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    params = [nn.Parameter(a, layout="image" if a.ndim == 4 else "plain") for a in start]
    optimizer = make(params, lr=0.1, **settings)
    s = optimizer.groups[0].settings
    expected = [(a.astype(np.float64), 0.0, 0.0) for a in start]
    with pycnn.kernels(adam=version):
        for t in range(1, 6):
            grads = [rng.standard_normal(s).astype(np.float32) for s in shapes]
            optimizer.zero_grad()
            for p, g in zip(params, grads, strict=True):
                p.grad = pycnn.Tensor(g)
            optimizer.step()
            settings = (0.1, *s["betas"], s["eps"], s["weight_decay"], make is optim.AdamW)
            expected = [
                reference.adam(p, g.astype(np.float64), mean, square, t, *settings)
                for (p, mean, square), g in zip(expected, grads, strict=True)
            ]
    for p, (value, _, _) in zip(params, expected, strict=True):
        assert np.abs(p.numpy() - value).max() < 2e-6
        assert p.changes >= 5


def test_adam_keeps_float32_moments_of_16_bit_parameters():
    p = nn.Parameter(np.ones(3, np.float16))
    optimizer = optim.Adam([p], lr=0.5)
    assert {name: b.dtype for name, b in optimizer.groups[0].buffers.items()} == {"mean": np.float32, "square": np.float32}
    p.grad = pycnn.Tensor(np.full(3, 1e-4, np.float16))
    optimizer.step()
    assert p.numpy().tolist() == [0.5, 0.5, 0.5]


# ---- clip_grad_norm_ ----


def with_grads(*grads):
    params = [nn.Parameter(np.zeros(g.shape, g.dtype), layout="image" if g.ndim == 4 else "plain") for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = pycnn.Tensor(g)
    return params


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("max_norm", [0.5, 3.0, 1000.0, 0.0, float("inf")])
def test_clip_grad_norm(dtype, max_norm):
    rng = np.random.default_rng(1)
    grads = [rng.standard_normal(s).astype(dtype) for s in [(5,), (33, 70), (2, 3, 5, 5), (), (0, 4)]]
    params = with_grads(*grads)
    norm = nn.utils.clip_grad_norm_(iter([nn.Parameter(np.ones(2, dtype)), *params]), max_norm)  # the first has no gradient
    wide = [g.astype(np.float64) for g in grads]
    expected = np.sqrt(sum((g**2).sum() for g in wide))
    assert norm.shape == () and norm.item() == pytest.approx(expected, rel=1e-6)
    factor = min(1.0, max_norm / (expected + 1e-6))
    for p, g in zip(params, wide, strict=True):
        np.testing.assert_allclose(
            p.grad.numpy().astype(np.float64), factor * g, rtol=2e-6 if dtype != np.float16 else 2e-3, atol=1e-7
        )
        if factor == 1:
            assert np.array_equal(p.grad.numpy(), g)


def test_clip_grad_norm_of_an_optimiser_and_of_one_parameter():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    optimizer = optim.SGD(net.parameters(), lr=1.0)
    net(pycnn.Tensor(np.ones((2, 1, 4, 4), np.float32))).sum().backward()
    before = {name: p.grad.numpy().astype(np.float64) for name, p in net.named_parameters()}
    norm = nn.utils.clip_grad_norm_(net.parameters(), 0.25).item()
    assert norm > 0.25 and np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in net.parameters())) == pytest.approx(0.25, rel=1e-5)
    start = net.state_dict()
    optimizer.step()  # the gradients of the flat array are the scaled ones
    for name, p in net.named_parameters():
        np.testing.assert_allclose(p.numpy(), start[name] - before[name] * 0.25 / norm, rtol=1e-4, atol=1e-6)
    (p,) = with_grads(np.array([3.0, 4.0], np.float32))
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == 5.0


def test_clip_grad_norm_of_nothing_nan_and_bad_input():
    p = nn.Parameter(np.ones(2, np.float32))
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 0.0
    params = with_grads(np.array([np.nan, 1], np.float32), np.array([2.0], np.float32))
    assert np.isnan(nn.utils.clip_grad_norm_(params, 1.0).item())
    assert all(np.isnan(p.grad.numpy()).all() for p in params)
    with pytest.raises(ValueError, match="max_norm must not be negative, got -1"):
        nn.utils.clip_grad_norm_(params, -1)


def test_clip_grad_norm_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(2)
    grads = [rng.standard_normal(s).astype(np.float32) for s in [(40, 9), (7,), (3, 2, 3, 3)]]
    params, theirs = with_grads(*grads), [torch.nn.Parameter(torch.zeros(g.shape)) for g in grads]
    for p, g in zip(theirs, grads, strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(theirs, 2.5)
    assert nn.utils.clip_grad_norm_(params, 2.5).item() == pytest.approx(norm.item(), rel=1e-6)
    for p, q in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)


# ---- what optimisers share ----


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


MAKERS = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda groups: optim.Adam(groups, lr=0.1, weight_decay=0.1),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.1, betas=(0.8, 0.99), weight_decay=0.1),
}


@pytest.mark.parametrize("name", MAKERS)
def test_groups_and_state_round_trip(name):
    def build():
        pycnn.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        groups = [{"params": [net[0].weight]}, {"params": [net[0].bias, *net[2].parameters()], "weight_decay": 0.0, "lr": 0.01}]
        return net, MAKERS[name](groups)

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
        (lambda p: optim.Adam([p], lr=-1), "lr must not be negative"),
        (lambda p: optim.Adam([p], eps=-1e-8), "eps must not be negative"),
        (lambda p: optim.AdamW([p], weight_decay=float("nan")), "weight_decay must not be negative, got nan"),
        (lambda p: optim.AdamW([p], betas=(0.9, 1.0)), r"betas\[1\] must be in \[0, 1\), got 1.0"),
        (lambda p: optim.Adam([{"params": [p], "betas": (-0.1, 0.9)}]), r"betas\[0\] must be in"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make(nn.Parameter(np.ones(1, np.float32)))
