"""What one row is made of: the sides that run, and the check of their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .. import backend as backends
from ..tensor import Tensor


@dataclass(frozen=True)
class Setting:
    """Where a benchmark runs: the device, PyTorch (None where it is not installed), and whether it is a quick one."""

    device: str = "cpu"
    torch: object = None
    quick: bool = False

    @property
    def backend(self) -> backends.Backend:
        """pycnn's backend of the device."""
        return backends.get(self.device)

    def image(self, array: np.ndarray, requires_grad: bool = False) -> Tensor:
        """An (N, C, H, W) array as a pycnn Tensor in image layout."""
        return Tensor(array, requires_grad, self.device, layout="image")

    def plain(self, array: np.ndarray, requires_grad: bool = False) -> Tensor:
        """An array as a pycnn Tensor in C order."""
        return Tensor(array, requires_grad, self.device)

    def torch_tensor(self, array: np.ndarray, layout: str = "NCHW"):
        """An array as a PyTorch tensor on the device, contiguous or channels_last."""
        tensor = self.torch.from_numpy(np.array(array, order="C")).to(self.device)
        return tensor.to(memory_format=self.torch.channels_last) if layout == "channels_last" else tensor

    def layouts(self, make: Callable[[str], Callable[[], object]]) -> dict[str, Callable[[], object]]:
        """PyTorch's two layouts as rivals; none without PyTorch."""
        return {name: make(name) for name in ("NCHW", "channels_last")} if self.torch else {}

    def rival(self, name: str, make: Callable[[], Callable[[], object]]) -> dict[str, Callable[[], object]]:
        """One rival; none without PyTorch."""
        return {name: make()} if self.torch else {}


@dataclass
class Contest:
    """One row, ready to run.

    Attributes:
        pycnn: does the work once and returns the result (a Tensor, a tuple of them, or numbers).
        rivals: PyTorch's ways to do the same.
        error: the largest error of a result in units of its bound; at most 1 is right. It is given host arrays in logical order.
    """

    pycnn: Callable[[], object]
    rivals: dict[str, Callable[[], object]] = field(default_factory=dict)
    error: Callable[..., float] = lambda *_: 0.0

    def errors(self) -> dict[str, float]:
        """Run every side once and judge its result."""
        return {name: float(self.error(*numbers(run()))) for name, run in ({"pycnn": self.pycnn} | self.rivals).items()}


def numbers(result) -> list[np.ndarray]:
    """The host arrays, in logical order, of what a side returned."""
    if isinstance(result, tuple | list):
        return [array for part in result for array in numbers(part)]
    if isinstance(result, Tensor):
        return [result.numpy()]
    if hasattr(result, "detach"):
        return [result.detach().cpu().numpy()]
    return [np.asarray(result)]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Zero-mean float32 numbers, the same in every run."""
    return np.asarray(np.random.Generator(np.random.Philox(seed)).standard_normal(shape, np.float32))


def worst(actual: np.ndarray, expected: np.ndarray, sum_of_squares, terms: int) -> float:
    """max |actual - expected| / bound with bound = 4·2⁻²⁴·sqrt(terms)·sqrt(sum_of_squares) + 2⁻²⁴·|expected|: `terms` products
    aᵢbᵢ summed in fp32, sum_of_squares = Σ(aᵢbᵢ)², expected in fp64. NaN anywhere is infinitely wrong."""
    bound = 4 * 2.0**-24 * np.sqrt(terms) * np.sqrt(sum_of_squares) + 2.0**-24 * np.abs(expected) + 1e-30
    error = np.abs(np.asarray(actual, np.float64) - expected) / bound
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))
