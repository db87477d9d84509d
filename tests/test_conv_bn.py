"""conv_bn and bn_conv against the same layers called one after the other."""

import itertools
from functools import partial

import numpy as np
import pytest
from helpers import DEVICE, DTYPES, assert_close, bits, normal

import pycnn
from pycnn import Tensor, nn, ops
from pycnn import backend as backends
from pycnn.errors import DTypeError, GraphError, ShapeError


def layers(bias=False, channels=6, before=False, training=True, dtype=np.float32, **options):
    """A convolution 5 -> 6 and a batch norm after it (or before), with parameters that are not their defaults."""
    pycnn.manual_seed(3)
    conv, bn = nn.Conv2d(5, channels, 3, bias=bias, **options), nn.BatchNorm2d(5 if before else channels)
    generator = np.random.default_rng(1)
    for module in (conv, bn):
        for tensor in vars(module).values():
            if isinstance(tensor, Tensor) and tensor.data.dtype.kind == "f":
                tensor.data[...] = generator.random(tensor.data.shape) + (0.5 if module is bn else -0.5)
                if dtype != np.float32:
                    tensor._set(tensor.data.astype(dtype), tensor.layout, tensor.requires_grad)
    bn.training = training
    return conv, bn


def gradients(*tensors):
    return [None if t is None or t.grad is None else t.grad.numpy() for t in tensors]


def outcome(compute, conv, bn, x, add, dy):
    """Everything that may depend on how it was computed."""
    inputs = [x, conv.weight, conv.bias, bn.weight, bn.bias, add]
    for t in inputs:
        if t is not None:
            t.zero_grad()
    y = compute()
    y.backward(dy)
    return [y.numpy(), *gradients(*inputs), bn.running_mean.numpy(), bn.running_var.numpy(), bn.num_batches_tracked.numpy()]


OPTIONS = [dict(), dict(bias=True, stride=2, padding=1), dict(padding="same", dilation=2)]


@pytest.mark.parametrize("options, relu, shortcut, training", list(itertools.product(OPTIONS, *[(True, False)] * 3)))
def test_conv_bn(options, relu, shortcut, training):
    def apart(conv, bn, x, add):
        y = bn(conv(x))
        y = y if add is None else y + add
        return ops.relu(y) if relu else y

    results = []
    for fused in (True, False):
        conv, bn = layers(training=training, **options)
        x = Tensor(normal((3, 5, 9, 8)), requires_grad=True, layout="image")
        shape = conv(x).shape
        add = Tensor(normal(shape, seed=2), requires_grad=True, layout="image") if shortcut else None
        whole = partial(ops.conv_bn, conv, bn, x, add, relu) if fused else partial(apart, conv, bn, x, add)
        results.append(outcome(whole, conv, bn, x, add, Tensor(normal(shape, seed=4))))
    for ours, expected in zip(*results, strict=True):
        assert (ours is None) == (expected is None)
        assert ours is None or np.allclose(ours, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("options, relu, training", list(itertools.product(OPTIONS, *[(True, False)] * 2)))
def test_bn_conv(options, relu, training):
    def apart(conv, bn, x):
        y = bn(x)
        return conv(ops.relu(y) if relu else y)

    results = []
    for fused in (True, False):
        conv, bn = layers(before=True, training=training, **options)
        x = Tensor(normal((3, 5, 9, 8)), requires_grad=True, layout="image")
        whole = partial(ops.bn_conv, bn, conv, x, relu) if fused else partial(apart, conv, bn, x)
        with pycnn.no_grad():
            shape = conv(x).shape
        results.append(outcome(whole, conv, bn, x, None, Tensor(normal(shape, seed=4))))
    for ours, expected in zip(*results, strict=True):
        assert (ours is None) == (expected is None)
        assert ours is None or np.allclose(ours, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("training", [True, False])
def test_gradients(training):
    conv, bn = layers(bias=True, channels=3, training=training, dtype=np.float64)
    bn.step_momentum = lambda: 0.0  # the statistics stay where they are while differences are taken
    x = Tensor(normal((2, 5, 4, 5), "float64"), requires_grad=True, layout="image")
    add = Tensor(normal((2, 3, 2, 3), "float64", 2), requires_grad=True, layout="image")
    parameters = (conv.weight, conv.bias, bn.weight, bn.bias)
    assert pycnn.gradcheck(lambda *_: ops.conv_bn(conv, bn, x, add), (x, add, *parameters), atol=1e-4)
    conv, bn = layers(bias=True, channels=3, before=True, training=training, dtype=np.float64)
    bn.step_momentum = lambda: 0.0
    assert pycnn.gradcheck(lambda *_: ops.bn_conv(bn, conv, x), (x, conv.weight, conv.bias, bn.weight, bn.bias), atol=1e-4)


def test_needs():
    """Whatever subset of the inputs needs a gradient gets one, and nobody else."""
    for needs in itertools.product((True, False), repeat=4):
        conv, bn = layers()
        x = Tensor(normal((2, 5, 6, 6)), requires_grad=needs[0], layout="image")
        add = Tensor(normal((2, 6, 4, 4)), requires_grad=needs[1], layout="image")
        conv.weight.requires_grad, bn.weight.requires_grad, bn.bias.requires_grad = needs[2], needs[3], False
        y = ops.conv_bn(conv, bn, x, add)
        assert y.requires_grad == any(needs)
        if any(needs):
            y.backward(Tensor(normal(y.shape)))
            assert [g is not None for g in gradients(x, add, conv.weight, bn.weight, bn.bias)] == [*needs, False]


def test_shortcut_from_the_same_input():
    """x goes through the convolution and around it: both gradients meet."""
    conv, bn = layers(channels=5, padding=1)
    results = []
    for fused in (True, False):
        x = Tensor(normal((2, 5, 4, 4)), requires_grad=True, layout="image")
        y = ops.conv_bn(conv, bn, x, x) if fused else ops.relu(bn(conv(x)) + x)
        y.backward(Tensor(normal(y.shape, seed=2)))
        results.append(x.grad.numpy())
    assert np.allclose(*results, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("relu, shortcut", list(itertools.product((True, False), repeat=2)))
def test_inference_is_never_stale(relu, shortcut):
    """Without gradients in eval mode the batch norm may be folded: whatever changes in between counts, and nothing is changed."""
    conv, bn = layers(bias=True, training=False)
    x = Tensor(normal((2, 5, 9, 8)), layout="image")
    add = Tensor(normal((2, 6, 7, 6), seed=2), layout="image") if shortcut else None

    def check():
        state = [t.numpy().copy() for t in (conv.weight, conv.bias, bn.running_mean, bn.running_var)]
        with pycnn.no_grad():
            y = ops.conv_bn(conv, bn, x, add, relu).numpy()
        expected = ops.conv_bn(conv, bn, x, add, relu)
        assert expected.requires_grad and np.allclose(y, expected.numpy(), rtol=1e-5, atol=2e-5)
        for before, after in zip(state, (conv.weight, conv.bias, bn.running_mean, bn.running_var), strict=True):
            assert bits(before) == bits(after.numpy())
        return y

    seen = [check()]
    bn.train()
    with pycnn.no_grad():
        ops.conv_bn(conv, bn, x, add, relu)  # moves the running statistics
    bn.eval()
    seen.append(check())
    bn.running_mean.data[...] += 1
    seen.append(check())
    bn.load_state_dict({name: value + 1 for name, value in bn.state_dict().items()})
    seen.append(check())
    optimizer = pycnn.optim.SGD([conv.weight, conv.bias, bn.weight, bn.bias], lr=0.1)
    ops.sum(ops.conv_bn(conv, bn, x, add, relu)).backward()
    optimizer.step()
    seen.append(check())
    conv.weight.data[...] *= 2
    seen.append(check())
    assert len({bits(y) for y in seen}) == len(seen)


@pytest.mark.parametrize("options", [dict(), dict(bias=True, stride=2), dict(channels=5, groups=5)])
def test_folded_convolution_is_within_the_bound(options):
    conv, bn = layers(training=False, **options)
    x = normal((4, 5, 9, 8))
    with pycnn.kernels(), pycnn.no_grad():
        y = ops.conv_bn(conv, bn, Tensor(x, layout="image"), relu=False).numpy()
        assert "batch_norm_fold" in backends.versions_used()
    weight, mean, variance, scale, bias = (
        t.numpy().astype(np.float64) for t in (conv.weight, bn.running_mean, bn.running_var, bn.weight, bn.bias)
    )
    own = np.zeros_like(mean) if conv.bias is None else conv.bias.numpy().astype(np.float64)
    scale = scale / np.sqrt(variance + bn.eps)
    products, squares = (
        ops.conv2d(Tensor(power(x)), Tensor(power(weight)), None, conv.stride, 0, 1, conv.groups).numpy()
        for power in (np.float64, lambda a: np.float64(a) ** 2)
    )
    scale, shift, bias = (a[:, None, None] for a in (scale, own - mean, bias))
    squares = scale**2 * (squares + shift**2) + bias**2
    assert_close(y, (products + shift) * scale + bias, squares, weight[0].size + 2)


@pytest.mark.parametrize("storage, relu", [("float16", False), ("bfloat16", False), ("float32", True)])
def test_what_is_not_folded(storage, relu):
    """16-bit filters would be rounded twice; where ReLU follows there is a pass over the output in any case."""
    conv, bn = (module.eval() for module in (nn.Conv2d(5, 6, 3, bias=False), nn.BatchNorm2d(6)))
    for tensor in (conv.weight, bn.weight, bn.bias):
        tensor.data = tensor.data.astype(DTYPES[storage])
    with pycnn.kernels(), pycnn.no_grad():
        ops.conv_bn(conv, bn, Tensor(normal((3, 5, 9, 8), storage)), relu=relu)
        assert "batch_norm_fold" not in backends.versions_used()


def test_graph_is_used_once():
    conv, bn = layers()
    y = ops.conv_bn(conv, bn, Tensor(normal((2, 5, 6, 6)), requires_grad=True, layout="image"))
    y.backward(Tensor(normal(y.shape)), retain_graph=True)
    y.backward(Tensor(normal(y.shape)))
    with pytest.raises(GraphError):
        y.backward(Tensor(normal(y.shape)))


def test_threads_do_not_change_bits():
    if DEVICE != "cpu":
        pytest.skip("thread counts belong to the CPU")
    results = set()
    try:
        for threads in (1, 2, 3):
            backends.cpu().module.set_num_threads(threads)
            conv, bn = layers(padding=1)
            x = Tensor(normal((4, 5, 17, 19)), requires_grad=True, layout="image")
            y = ops.conv_bn(conv, bn, x)
            y.backward(Tensor(normal(y.shape, seed=2)))
            results.add(b"".join(bits(a) for a in (y.numpy(), *gradients(x, conv.weight, bn.weight, bn.bias))))
    finally:
        backends.cpu().module.set_num_threads(2)
    assert len(results) == 1


def test_bad_input():
    conv, bn = layers()
    x = Tensor(np.zeros((2, 5, 6, 6), np.float32))
    with pytest.raises(ShapeError, match=r"conv_bn: add has shape \(2, 6, 6, 6\), must be \(2, 6, 4, 4\)"):
        ops.conv_bn(conv, bn, x, Tensor(np.zeros((2, 6, 6, 6), np.float32)))
    with pytest.raises(DTypeError, match="conv_bn: add is float64"):
        ops.conv_bn(conv, bn, x, Tensor(np.zeros((2, 6, 4, 4))))
    with pytest.raises(ShapeError, match="conv_bn: running_mean has shape"):
        ops.conv_bn(conv, nn.BatchNorm2d(7), x)
    with pytest.raises(ShapeError, match="has 4 channels"):
        ops.conv_bn(conv, bn, Tensor(np.zeros((2, 4, 6, 6), np.float32)))
    with pytest.raises(ShapeError, match="more than 1 value per channel"):
        ops.conv_bn(conv, bn, Tensor(np.zeros((1, 5, 3, 3), np.float32)))
    with pytest.raises(ShapeError, match="bn_conv: running_mean has shape"):
        ops.bn_conv(bn, conv, x)
    assert bn.num_batches_tracked.item() == 0  # a refused batch does not count


def test_errors_name_the_layer_that_does_not_fit():
    class Net(nn.Module):
        def __init__(self):
            conv, bn = layers()
            self.features = nn.Sequential(conv, bn)

        def forward(self, x):
            return ops.conv_bn(self.features[0], self.features[1], x)

    model = nn.Sequential(nn.Identity(), Net())
    with pytest.raises(ShapeError, match=r"^1.features.0 = Conv2d\(5, 6.*has 4 channels"):
        model(Tensor(np.zeros((2, 4, 6, 6), np.float32)))
    with pytest.raises(ShapeError, match=r"^1.features.1 = BatchNorm2d\(6.*more than 1 value per channel"):
        model(Tensor(np.zeros((1, 5, 3, 3), np.float32)))


@pytest.mark.parametrize("watched", ["conv", "bn"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("before", [False, True], ids=["conv_bn", "bn_conv"])
def test_hooks_on_either_layer_are_called(before, training, watched):
    x = Tensor(normal((2, 5, 7, 6)))
    results, seen = [], []
    for hooked in (False, True):
        conv, bn = layers(before=before, training=training)
        add = None if before else Tensor(normal((2, 6, 5, 4), seed=1))
        compute = (lambda: ops.bn_conv(bn, conv, x)) if before else (lambda: ops.conv_bn(conv, bn, x, add))  # noqa: B023
        if hooked:
            remove = (conv if watched == "conv" else bn).register_forward_hook(lambda *call: seen.append(call))
        results.append((compute().numpy(), bn.running_mean.numpy(), bn.running_var.numpy()))
    ((module, _, y),) = seen
    assert module is (conv if watched == "conv" else bn)
    assert y.shape == ((2, 5, 7, 6) if before and watched == "bn" else (2, 6, 5, 4))
    for fused, separate in zip(*results, strict=True):
        assert np.allclose(fused, separate, rtol=1e-5, atol=1e-5)
    remove()
    compute()
    assert len(seen) == 1


def test_agrees_with_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the comparison with single layers ran)")
    conv, bn = layers(padding=1)
    x, add = normal((3, 5, 7, 6)), normal((3, 6, 7, 6), seed=2)
    theirs = torch.nn.Conv2d(5, 6, 3, padding=1, bias=False), torch.nn.BatchNorm2d(6)
    for module, mine in zip(theirs, (conv, bn), strict=True):
        module.load_state_dict({name: torch.tensor(value) for name, value in mine.state_dict().items()})
    mine, their = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = ops.conv_bn(conv, bn, mine, Tensor(add))
    expected = torch.relu(theirs[1](theirs[0](their)) + torch.tensor(add))
    y.backward(Tensor(normal(y.shape, seed=5)))
    expected.backward(torch.tensor(normal(y.shape, seed=5)))
    pairs = [(y, expected), (mine.grad, their.grad), (bn.running_var, theirs[1].running_var)]
    pairs += [(ours.grad, theirs[i].weight.grad) for i, ours in enumerate((conv.weight, bn.weight))]
    pairs += [(bn.bias.grad, theirs[1].bias.grad)]
    for ours, reference in pairs:
        assert np.allclose(ours.numpy(), reference.detach().numpy(), rtol=1e-4, atol=1e-4)
