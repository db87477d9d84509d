"""How a case is run: the ops of pycnn and of PyTorch under the same names, and what must hold between their results."""

from __future__ import annotations

import warnings
from functools import cache

import ml_dtypes
import numpy as np

from .cases import Case


class Pycnn:
    """pycnn's ops, as a case sees them."""

    def __init__(self):
        import pycnn

        self.pycnn, self.optim, self.create_model = pycnn, pycnn.optim, pycnn.models.create_model

    def __getattr__(self, op):
        return getattr(self.pycnn.ops, op)

    def tensor(self, array, requires_grad=False):
        return self.pycnn.Tensor(np.array(array), requires_grad)

    def array(self, tensor) -> np.ndarray:
        return np.array(tensor.numpy())

    def parameter(self, tensor):
        return self.pycnn.Parameter(np.array(tensor.numpy()))

    def copy(self, tensor):
        return self.pycnn.Tensor(np.array(tensor.numpy()))

    def load(self, model, weights):
        model.load_state_dict({name: w.numpy() for name, w in weights.items()})

    def double(self, model):
        for parameter in model.parameters():
            parameter.data = parameter.data.astype(np.float64)

    def backward(self, outputs, gradients):
        for i, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
            output.backward(self.tensor(gradient), retain_graph=i + 1 < len(outputs))


class Torch:
    """PyTorch's ops, as a case sees them."""

    def __init__(self):
        import torch

        from .torch_twin import torch_model

        torch.set_num_threads(1)  # its threads spin while they wait, which small work on a busy machine does not survive
        self.torch, self.optim, self.create_model = torch, torch.optim, torch_model

    def __getattr__(self, op):
        functional = self.torch.nn.functional
        return getattr(functional, op) if hasattr(functional, op) else getattr(self.torch, op)

    def tensor(self, array, requires_grad=False):
        bfloat16 = array.dtype == ml_dtypes.bfloat16  # which PyTorch does not take from NumPy, nor give
        tensor = self.torch.from_numpy(np.array(array, np.float32 if bfloat16 else None))
        return (tensor.bfloat16() if bfloat16 else tensor).requires_grad_(requires_grad)

    def array(self, tensor) -> np.ndarray:
        bfloat16 = tensor.dtype == self.torch.bfloat16
        return np.array((tensor.float() if bfloat16 else tensor).detach().numpy(), ml_dtypes.bfloat16 if bfloat16 else None)

    def parameter(self, tensor):
        return self.torch.nn.Parameter(tensor.detach().clone())

    def copy(self, tensor):
        return tensor.detach().clone()

    def load(self, model, weights):
        model.load_state_dict(weights)

    def double(self, model):
        model.double()

    def backward(self, outputs, gradients):
        self.torch.autograd.backward(outputs, [self.tensor(g) for g in gradients])


@cache
def framework(name: str):
    """The framework "pycnn" or "torch"."""
    return {"pycnn": Pycnn, "torch": Torch}[name]()


def run(F, case: Case, stored: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Run a case: {"input/NAME": …, "upstream/NAME": …, "output/NAME": …, "gradient/INPUT": …}.

    `stored` is an earlier run's result, whose inputs and upstream gradients are taken; without it they are drawn from the seed.
    """
    stored = stored or {}
    arrays = part(stored, "input/") or case.arrays()
    wanted = [name for name, a in arrays.items() if floating(a) and name not in case.constants]
    inputs = {name: F.tensor(a, name in wanted) for name, a in arrays.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel lengths")
        outputs = case.function(F, **inputs)
    if not isinstance(outputs, dict):
        outputs = {str(i): y for i, y in enumerate(outputs if isinstance(outputs, tuple) else (outputs,))}
    results = {f"input/{name}": a for name, a in arrays.items()} | {f"output/{name}": F.array(y) for name, y in outputs.items()}
    differentiable = [name for name, y in outputs.items() if y.requires_grad]
    if differentiable:
        upstream = part(stored, "upstream/") or {name: case.upstream(name, results[f"output/{name}"]) for name in differentiable}
        arriving = [upstream[name].astype(results[f"output/{name}"].dtype) for name in differentiable]
        F.backward([outputs[name] for name in differentiable], arriving)
        results |= {f"upstream/{name}": dy for name, dy in upstream.items()}
    return results | {f"gradient/{name}": F.array(inputs[name].grad) for name in wanted}


def floating(array: np.ndarray) -> bool:
    """Whether an array holds floating-point numbers, bfloat16 among them."""
    return array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16


def part(results: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): a for name, a in results.items() if name.startswith(prefix)}


def assert_agree(case: Case, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Both may be off by DESIGN's bound, so they may differ by twice that: 2·4·2⁻²⁴·sqrt(K) · rms + 2⁻²³·|value|, for each of the
    sums that follow one another. K is at most the number of elements of the largest input; on zero-mean inputs the rms of the
    output estimates sqrt(Σ(aᵢbᵢ)²). Integers, NaN and infinities must be equal."""
    assert sorted(ours) == sorted(theirs), f"pycnn gives {sorted(ours)}, PyTorch {sorted(theirs)}"
    terms = max([a.size for a in part(theirs, "input/").values()] + [1])
    for name, expected in theirs.items():
        actual = ours[name]
        assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, PyTorch's is {expected.shape}"
        assert actual.dtype == expected.dtype, f"{name}: {actual.dtype}, PyTorch's is {expected.dtype}"
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=name)
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(actual, expected, err_msg=name)
            continue
        a, b = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
        ordinary = b[np.abs(b) < 1e30]
        rms = np.sqrt(np.mean(ordinary**2)) if ordinary.size else 0.0
        bound = case.depth * (8 * 2.0**-24 * terms**0.5 * rms + 2.0**-23 * np.abs(b)) + 1e-44
        error = np.abs(a - b)
        assert (error <= bound).all(), f"{name}: differs by {error.max():.3g}, {(error / bound).max():.3g} times the bound"
