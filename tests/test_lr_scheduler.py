"""Learning-rate schedules: PyTorch's values over time, in one form for a loop and for the Trainer."""

import math

import numpy as np
import pytest

from pycnn import nn, optim
from pycnn.optim import lr_scheduler as lr

LR = 0.1


def make_optimizer(*rates):
    groups = [{"params": [nn.Parameter(np.ones(2, np.float32))], "lr": rate} for rate in rates or (LR,)]
    return optim.SGD(groups, lr=LR)


def warmed(module, optimizer, **cosine):
    """Five steps of warm-up, then half a cosine."""
    warmup = module.LinearLR(optimizer, start_factor=0.01, total_iters=5)
    return module.SequentialLR(optimizer, [warmup, module.CosineAnnealingLR(optimizer, **cosine)], milestones=[5])


def three_parts(module, optimizer):
    parts = [module.ConstantLR(optimizer, 0.5, 3), module.StepLR(optimizer, 7, 0.3), module.PolynomialLR(optimizer, 40, 2)]
    return module.SequentialLR(optimizer, parts, milestones=[10, 50])


# name -> (schedule of a module `pycnn.optim.lr_scheduler` or `torch.optim.lr_scheduler`, its closed form)
SCHEDULES = {
    "lambda": (lambda m, o: m.LambdaLR(o, lambda n: 0.95**n), lambda n: LR * 0.95**n),
    "step": (lambda m, o: m.StepLR(o, 30, 0.5), lambda n: LR * 0.5 ** (n // 30)),
    "multi_step": (
        lambda m, o: m.MultiStepLR(o, [80, 20, 20], 0.3),
        lambda n: LR * (1 if n < 20 else 0.3**2 if n < 80 else 0.3**3),
    ),
    "exponential": (lambda m, o: m.ExponentialLR(o, 0.9), lambda n: LR * 0.9**n),
    "cosine": (
        lambda m, o: m.CosineAnnealingLR(o, 40, 0.01),
        lambda n: 0.01 + (LR - 0.01) * (1 + math.cos(math.pi * n / 40)) / 2,
    ),
    "polynomial": (lambda m, o: m.PolynomialLR(o, 60, 0.9), lambda n: LR * (1 - min(n, 60) / 60) ** 0.9),
    "constant": (lambda m, o: m.ConstantLR(o, 0.25, 9), lambda n: LR * (0.25 if n < 9 else 1)),
    "linear": (lambda m, o: m.LinearLR(o, 0.1, 0.8, 50), lambda n: LR * (0.1 + 0.7 * min(n, 50) / 50)),
    "warm_up": (
        lambda m, o: warmed(m, o, T_max=95, eta_min=1e-4),
        lambda n: (
            LR * (0.01 + 0.99 * n / 5) if n < 5 else 1e-4 + (LR - 1e-4) * (1 + math.cos(math.pi * (n - 5) / 95)) / 2
        ),
    ),
    "three_parts": (
        three_parts,
        lambda n: LR * (
            (0.5 if n < 3 else 1) if n < 10 else 0.3 ** ((n - 10) // 7) if n < 50 else (1 - min(n - 50, 40) / 40) ** 2
        ),
    ),
}  # fmt: skip


def rates(scheduler, optimizer, steps=100):
    """The rate of each step."""
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
def test_closed_form(name):
    make, closed = SCHEDULES[name]
    optimizer = make_optimizer()
    np.testing.assert_allclose(rates(make(lr, optimizer), optimizer), [closed(n) for n in range(100)], rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("name", SCHEDULES)
def test_pytorch_gives_the_same(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make, _ = SCHEDULES[name]
    ours, theirs = make_optimizer(), torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=LR)
    expected = rates(make(torch.optim.lr_scheduler, theirs), theirs)
    # PyTorch multiplies step by step; near its zeros a cosine keeps the rounding of the rates it came from
    np.testing.assert_allclose(rates(make(lr, ours), ours), expected, rtol=1e-12, atol=1e-15)


PLATEAUS = [
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "cooldown": 3, "threshold": 0.05},
    {"patience": 0, "threshold": 0.02, "threshold_mode": "abs", "min_lr": 0.003},
    {"mode": "max", "patience": 3, "factor": 0.7},
    {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    {"patience": 0, "factor": 0.1, "eps": 1e-3},
]


def metrics():
    """A noisy loss that stops falling, with a NaN and an infinity in it."""
    values = 1 / (1 + 0.2 * np.arange(100)) + 0.05 * np.random.Generator(np.random.Philox(3)).standard_normal(100)
    values[[0, 7]] = np.inf, np.nan
    return values.tolist()


@pytest.mark.parametrize("settings", PLATEAUS)
def test_plateau_as_in_pytorch(settings):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = make_optimizer(), torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=LR)
    one, two = lr.ReduceLROnPlateau(ours, **settings), torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **settings)
    for metric in metrics():
        one.step(metric)
        two.step(metric)
        assert one.get_last_lr()[0] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)


def test_plateau():
    optimizer = make_optimizer(0.1, 0.2)
    scheduler = lr.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, min_lr=0.04)
    seen = []
    for metric in [1.0, 0.9, 0.95, 0.9, 0.90001, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]:
        scheduler.step(metric)
        seen.append(scheduler.get_last_lr())
    assert seen[3] == [0.1, 0.2] and seen[4] == seen[7] == [0.05, 0.1] and seen[8] == seen[10] == [0.04, 0.05]
    assert seen[11] == [0.04, 0.04]


@pytest.mark.parametrize("name", ["step", "cosine", "warm_up", "plateau"])
def test_state_round_trip(name):
    def make(optimizer):
        return lr.ReduceLROnPlateau(optimizer, patience=2) if name == "plateau" else SCHEDULES[name][0](lr, optimizer)

    def run(optimizer, scheduler, values):
        for value in values:
            optimizer.step()
            scheduler.step(*[value] if name == "plateau" else [])
        return [np.float64(rate).tobytes() for rate in scheduler.get_last_lr()]

    straight, values = make_optimizer(0.1, 0.03), metrics()
    scheduler = make(straight)
    run(straight, scheduler, values[:37])
    state, optimizer_state = scheduler.state_dict(), straight.state_dict()
    expected = run(straight, scheduler, values[37:])
    other = make_optimizer(0.7, 0.5)
    resumed = make(other)
    other.load_state_dict(optimizer_state)
    resumed.load_state_dict(state)
    assert resumed.get_last_lr() != [0.7, 0.5] and run(other, resumed, values[37:]) == expected
    with pytest.raises(KeyError, match="scheduler state has"):
        resumed.load_state_dict({"x": 1})


def test_groups_keep_their_ratio_and_the_device_knows_the_rate():
    optimizer = make_optimizer(0.1, 0.02)
    scheduler = lr.StepLR(optimizer, 1, gamma=0.5)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05, 0.01]
    assert [float(group.backend.to_host(group.state)[0]) for group in optimizer.groups] == [0.05, 0.01]
    with pytest.raises(ValueError, match="of 1 groups, the optimizer has 2"):
        scheduler.load_state_dict({"last_epoch": 3, "base_lrs": [0.1]})


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda o: lr.StepLR(o, 0), ValueError, "step_size must be at least 1"),
        (lambda o: lr.CosineAnnealingLR(o, 0), ValueError, "T_max must be at least 1"),
        (lambda o: lr.LinearLR(o, 0.0), ValueError, r"start_factor must be in \(0, 1\]"),
        (lambda o: lr.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor must be in"),
        (lambda o: lr.ReduceLROnPlateau(o, "least"), ValueError, "mode must be 'min' or 'max'"),
        (lambda o: lr.SequentialLR(o, [lr.StepLR(o, 1)], [3]), ValueError, "one fewer"),
        (lambda o: lr.SequentialLR(o, [lr.StepLR(o, 1), lr.ReduceLROnPlateau(o)], [3]), TypeError, "not a ReduceLROnPlateau"),
        (lambda o: lr.SequentialLR(o, [lr.StepLR(make_optimizer(), 1)], []), ValueError, "of another optimizer"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make(make_optimizer())


def test_a_hand_written_loop_learns():
    weight = nn.Parameter(np.array([3.0, -2.0], np.float32))
    optimizer = optim.AdamW([weight], lr=0.3)
    scheduler = warmed(lr, optimizer, T_max=95)
    for _ in range(100):
        optimizer.zero_grad()
        (weight * weight).sum().backward()
        optimizer.step()
        scheduler.step()
    assert np.abs(weight.numpy()).max() < 0.1 and optimizer.lr == pytest.approx(0, abs=1e-15)
