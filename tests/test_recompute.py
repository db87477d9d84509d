"""Recomputation: the bits of a plain run, batch norm counted once, the same masks, and less memory."""

import gc
import weakref

import numpy as np
import pytest
from helpers import bits, normal

import pycnn
from pycnn import backend as backends
from pycnn import nn, ops
from pycnn.errors import DTypeError, GraphError
from pycnn.tensor import Tensor


class Block(nn.Module):
    """Two convolutions with what recomputation must not do twice: batch norm and dropout. x, y: (N, 8, H, W)."""

    def __init__(self):
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=None)
        self.dropout = nn.Dropout(0.4)

    def forward(self, x):
        y = self.dropout(ops.conv_bn(self.conv1, self.bn1, x))
        return ops.relu(self.bn2(self.conv2(y)) + x)


class Net(nn.Module):
    """Blocks, plain or recomputed, whose inputs are used once more by a sum over them all."""

    def __init__(self, recompute: bool, count: int = 3):
        self.blocks = nn.Sequential(*(Block() for _ in range(count)))
        self.recompute = recompute

    def forward(self, x):
        total = x
        for block in self.blocks:
            x = ops.recompute(block, x) if self.recompute else block(x)
            total = total + x * x
        return total


def run(recompute: bool, training: bool, net=Net, steps: int = 2, size: int = 6):
    """Bits of outputs, gradients and state of some steps of gradient descent, in order."""
    pycnn.manual_seed(3)
    model = net(recompute).train(training)
    optimizer = pycnn.optim.SGD(model.parameters(), lr=0.1)
    seen = {}
    for step in range(steps):
        x = Tensor(normal((2, 8, size, size), seed=step), requires_grad=True)
        y = model(x)
        optimizer.zero_grad()
        ops.sum(y * y).backward()
        seen |= {f"{step} y": bits(y.numpy()), f"{step} dx": bits(x.grad.numpy())}
        seen |= {f"{step} d{name}": bits(p.grad.numpy()) for name, p in model.named_parameters()}
        optimizer.step()
        seen |= {f"{step} {name}": bits(value) for name, value in model.state_dict().items()}
    return seen


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_bits_are_those_of_a_plain_run(training):
    plain, again = run(False, training), run(True, training)
    assert plain.keys() == again.keys() and [name for name in plain if plain[name] != again[name]] == []


class Nested(Net):
    """All blocks recomputed as one, each of them once more."""

    def forward(self, x):
        return ops.recompute(super().forward, x) if self.recompute else super().forward(x)


def test_bits_of_nested_recomputation():
    assert run(False, True, Nested) == run(True, True, Nested)


def test_batch_norm_counts_a_batch_once_and_the_streams_go_on():
    model = Net(recompute=True, count=1)
    ops.sum(model(Tensor(normal((2, 8, 4, 4))))).backward()
    assert model.blocks[0].bn1.num_batches_tracked.item() == 1
    assert pycnn.random.next_op() == 1  # one dropout


def test_masks_are_the_first_ones_after_another_step_and_seed():
    x = Tensor(np.ones((1, 8, 16, 16), np.float32), requires_grad=True)
    y = ops.recompute(lambda x: ops.dropout(x, 0.5) * x, x)
    pycnn.random.next_step()
    pycnn.manual_seed(99)
    ops.sum(y).backward()
    assert np.array_equal(x.grad.numpy(), 2 * y.numpy()) and 0 < (y.numpy() == 0).mean() < 1


def test_several_outputs_and_what_is_no_tensor():
    def function(x, factor, nothing):
        y = x * factor
        return y, nothing, y, x, ops.argmax(x, 1)

    x = Tensor(normal((3, 4)), requires_grad=True)
    y, none, same, itself, index = ops.recompute(function, x, 3.0, None)
    assert none is None and itself is x and not index.requires_grad and y.node is same.node
    ops.sum(y + same * 2.0 + itself).backward()
    assert np.array_equal(x.grad.numpy(), np.full((3, 4), 10, np.float32))
    assert isinstance(ops.recompute(lambda x: [x * 2.0], x), list)


def test_gradients_of_what_the_function_takes_from_outside():
    """A Tensor with a history and a leaf, neither an input; both are used outside, too. The leaf's hook waits for all of it."""
    w, seen = Tensor(np.float32([2.0]), requires_grad=True), []
    w.register_hook(lambda t: seen.append(t.grad.item()))
    h = w * w
    y = ops.recompute(lambda x: x * h * w, Tensor(np.float32([5.0])))
    (y + h + w).backward()  # 5 w³ + w² + w
    assert w.grad.item() == 15 * 4 + 2 * 2 + 1 and seen == [w.grad.item()]


def test_kernels_are_the_ones_chosen_in_forward():
    used = []
    conv = nn.Conv2d(4, 4, 3)

    def function(x):
        used.append(backends._selection.get().version("conv2d_forward"))
        return conv(x)

    with pycnn.kernels(conv2d_forward="naive"):
        y = ops.recompute(function, Tensor(normal((1, 4, 5, 5)), requires_grad=True))
    ops.sum(y).backward()
    assert used == ["naive", "naive"]


def test_retained_graph():
    x = Tensor(normal((2, 3)), requires_grad=True)
    y = ops.sum(ops.recompute(lambda x: ops.dropout(x, 0.5) * x, x))
    y.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    y.backward()
    assert np.array_equal(x.grad.numpy(), 2 * once)
    with pytest.raises(GraphError, match="already used by a backward"):
        y.backward()


def test_without_gradients_it_is_a_call():
    x = Tensor(normal((2, 3)), requires_grad=True)
    with pycnn.no_grad():
        assert ops.recompute(ops.relu, x).node is None
    assert ops.recompute(ops.relu, x.detach()).node is None


def test_a_changed_parameter_is_refused():
    block = Block()
    y = ops.recompute(block, Tensor(normal((2, 8, 4, 4))))
    nn.init.zeros_(block.conv1.weight)
    with pytest.raises(GraphError, match=r"parameter of shape \(8, 8, 3, 3\) was changed after recompute used it"):
        ops.sum(y).backward()


def test_what_is_returned_must_be_tensors_and_the_same_ones():
    x = Tensor(normal((2, 3)), requires_grad=True)
    with pytest.raises(DTypeError, match="function returned a dict, must return a Tensor"):
        ops.recompute(lambda x: {"y": x}, x)
    widths = iter([3, 2])
    y = ops.recompute(lambda x: ops.narrow(x, 1, 0, next(widths)) * 2.0, x)
    with pytest.raises(GraphError, match=r"output 0 was float32 of \(2, 3\) in memory, the second time it is \(2, 2\) float32"):
        ops.sum(y).backward()


def peak_bytes(step, monkeypatch) -> int:
    """The most bytes that arrays made by ops during `step` hold at one time; each counts from its making until it is freed."""
    held = {"now": 0, "most": 0}
    make = backends.Backend.empty

    def empty(self, shape, dtype):
        array = make(self, shape, dtype)
        held["now"] += array.nbytes
        held["most"] = max(held["most"], held["now"])
        weakref.finalize(array, lambda size: held.__setitem__("now", held["now"] - size), array.nbytes)
        return array

    monkeypatch.setattr(backends.Backend, "empty", empty)
    gc.disable()  # what is freed must be freed without the garbage collector
    try:
        step()
    finally:
        gc.enable()
        monkeypatch.undo()
    return held["most"]


def test_peak_memory_falls(monkeypatch):
    """A chain of 9 blocks: plain, all that they save is held at once; three at a time, that of three and the others' inputs."""
    x = Tensor(normal((2, 8, 32, 32)))
    blocks = [Block() for _ in range(9)]

    def chain(some):
        def forward(x):
            for block in some:
                x = block(x)
            return x

        return forward

    def step(recompute):
        y = x
        for i in range(0, 9, 3):
            y = ops.recompute(chain(blocks[i : i + 3]), y) if recompute else chain(blocks[i : i + 3])(y)
        ops.sum(y).backward()

    step(False)  # the parameters' gradients are there from now on
    plain = peak_bytes(lambda: step(False), monkeypatch)
    again = peak_bytes(lambda: step(True), monkeypatch)
    one = x.data.nbytes
    assert plain > 9 * 4 * one
    assert again < 0.5 * plain


def test_memory_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = Tensor(normal((2, 8, 4, 4)), requires_grad=True)
        y = ops.recompute(Block(), x)
        node = weakref.ref(y.node)
        ops.sum(y).backward()
        del y
        assert node() is None
    finally:
        gc.enable()
