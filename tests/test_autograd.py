"""The Function protocol: edges, gradient buffers, shared gradients, graphs used twice."""

import gc
import sys
import weakref

import numpy as np
import pytest

import pycnn
from pycnn import nn, ops
from pycnn.errors import DeviceError, DTypeError, GraphError, ShapeError


def leaf(values, dtype=np.float32):
    return pycnn.Tensor(np.asarray(values, dtype), requires_grad=True)


class Double(pycnn.Function):
    """y = x + x, written with nothing but the copy kernel."""

    def forward(self, x):
        y = self.empty(x.shape, x.dtype)
        self.run("copy", (x.size, 0), x.dtype, x, y)
        self.run("copy", (x.size, 1), x.dtype, x, y)
        return y

    def backward(self, dy):
        dx, accumulate = self.grad_buffer(0)
        self.run("copy", (dy.size, int(accumulate)), dy.dtype, dy, dx)
        self.run("copy", (dy.size, 1), dy.dtype, dy, dx)


class Split(pycnn.Function):
    """Two outputs, an optional second input that is ignored."""

    def forward(self, x, unused):
        return x.copy(), x.copy()

    def backward(self, da, db):
        if da is not None:
            self.pass_grad(0, da)
        if db is not None:
            self.pass_grad(0, db)


def test_chain_and_leaf():
    x = leaf([1.0, 2.0])
    y = Double()(Double()(x))
    y.backward(pycnn.Tensor(np.ones(2, np.float32)))
    assert y.numpy().tolist() == [4.0, 8.0]
    assert x.grad.numpy().tolist() == [4.0, 4.0]
    assert x.is_leaf and not y.is_leaf


def test_backward_twice_into_one_leaf_adds_until_zero_grad():
    x = leaf([3.0])
    for expected in (2.0, 4.0):
        Double()(x).backward()
        assert x.grad.item() == expected
    x.zero_grad()
    assert x.grad is None
    Double()(x).backward()
    assert x.grad.item() == 2.0


def test_diamond_of_adds():
    x = leaf([1.0, -2.0])
    y = x
    for _ in range(5):  # 2**5 paths, 5 nodes
        y = y + y
    y.sum().backward()
    assert x.grad.numpy().tolist() == [32.0, 32.0]


def test_shared_gradient_is_never_written_into():
    x, z = leaf([1.0]), leaf([1.0])
    gradient = pycnn.Tensor(np.array([5.0], np.float32))
    (x + z + x).backward(gradient)
    assert gradient.item() == 5.0
    assert (x.grad.item(), z.grad.item()) == (10.0, 5.0)
    z_before = z.grad
    (x + z).backward(gradient)
    assert z_before.item() == 5.0 and z.grad.item() == 10.0


def test_several_outputs_and_none():
    x = leaf([1.0, 2.0])
    a, b = Split()(x, None)
    (a + Double()(b)).sum().backward()
    assert x.grad.numpy().tolist() == [3.0, 3.0]
    x.zero_grad()
    a, _ = Split()(x, None)
    a.sum().backward()
    assert x.grad.numpy().tolist() == [1.0, 1.0]


def test_intermediate_tensors_are_freed_while_the_graph_lives():
    x = leaf([1.0])
    middle = Double()(x)
    y = Double()(middle)
    alive = weakref.ref(middle)
    del middle
    assert alive() is None
    y.backward()
    assert x.grad.item() == 4.0


def test_graph_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        y = Double()(leaf([1.0]))
        node = weakref.ref(y.node)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_deep_graph_needs_no_recursion():
    x = leaf([0.0])
    y = x
    for _ in range(5 * sys.getrecursionlimit()):
        y = y + x
    y.backward()
    assert x.grad.item() == 5 * sys.getrecursionlimit() + 1
    del y


def test_graph_used_twice_is_refused():
    y = Double()(leaf([1.0]))
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(GraphError, match="already used by a backward.*retain_graph"):
        y.backward()


def test_parameter_changed_between_forward_and_backward_is_refused():
    p = nn.Parameter(np.ones(2, np.float32))
    y = (p * p).sum()
    pycnn.nn.init.zeros_(p)
    with pytest.raises(GraphError, match="changed after"):
        y.backward()


def test_no_graph():
    x = leaf([1.0])
    with pycnn.no_grad():
        y = Double()(x)
    with pytest.raises(GraphError, match="does not require a gradient"):
        y.backward()

    @pycnn.no_grad()
    def f():
        return Double()(x)

    assert f().node is None and pycnn.is_grad_enabled()
    with pycnn.no_grad():
        assert pycnn.enable_grad()(lambda: Double()(x))().node is not None and not pycnn.is_grad_enabled()


def test_wrong_gradient_dtype_device():
    x = leaf([1.0, 2.0])
    with pytest.raises(ShapeError, match="explicit gradient"):
        Double()(x).backward()
    with pytest.raises(ShapeError, match="must be"):
        Double()(x).backward(pycnn.Tensor(np.ones(3, np.float32)))
    with pytest.raises(DTypeError, match="floating-point"):
        pycnn.Tensor(np.arange(3), requires_grad=True)
    with pytest.raises(DTypeError, match="complex"):
        pycnn.Tensor(np.ones(3, complex))
    with pytest.raises(DeviceError, match="unknown device 'tpu'"):
        pycnn.Tensor([1.0], device="tpu")
    with pytest.raises(DTypeError, match="float64"):
        leaf([1.0]) + leaf([1.0], np.float64)


def test_cuda_without_cuda_says_what_is_missing():
    try:
        pycnn.Tensor([1.0], device="cuda")
    except DeviceError as error:
        assert "\n" not in str(error) and ("install" in str(error) or "driver" in str(error))


def test_hook_runs_once_when_the_leaf_is_final():
    x, seen = leaf([1.0]), []
    x.register_hook(lambda t: seen.append(t.grad.item()))
    (x + x + Double()(x)).backward()
    assert seen == [4.0]


def test_layouts_are_translated_in_one_place():
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    x = pycnn.Tensor(values, layout="image")
    assert x.shape == (1, 2, 3, 4) and x.data.shape == (1, 3, 4, 2)
    assert np.array_equal(x.numpy(), values)
    assert np.array_equal(ops.flatten(x, 1).numpy(), values.reshape(1, 24))
    assert np.array_equal(np.asarray(x), values)
    with pytest.raises(ShapeError, match="4 axes"):
        pycnn.Tensor(np.ones(3), layout="image")


def test_own_function_gradcheck():
    x = leaf(np.linspace(-1, 1, 5), np.float64)
    assert pycnn.gradcheck(Double(), (x,))

    class Wrong(Double):
        def backward(self, dy):
            self.pass_grad(0, dy)

    with pytest.raises(AssertionError, match="analytic gradient"):
        pycnn.gradcheck(Wrong(), (x,))
