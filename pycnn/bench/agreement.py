"""How far every kernel version is from float64, beside PyTorch on the same inputs: ``pycnn bench agreement``.

What is run are the cases of ``cases.py``, forward and backward, once with each version of each op they use and in each storage
type. The reference is PyTorch in float64 on the inputs as rounded to that type. Errors are given in units of a bound:

- of sums of products (ops linear in each input): 4·2⁻²⁴·sqrt(K)·sqrt(Σ(aᵢbᵢ)²) + u·|y|, with u half an ulp of the storage type.
  K and Σ(aᵢbᵢ)² follow from the op itself, and so do its gradients': it makes K of ones and Σ(aᵢbᵢ)² of squares;
- of other ops: 4·u·d·sqrt(K)·max(|y|, rms(y)), K being the inputs that an output depends on and d the sums that follow one
  another (the case's roundings or depth). A gradient, which an op computes from a result that was rounded, is never below
  rms(dy) there.

Values that overflow in the storage type are left out.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from .. import backend
from ..errors import DTypeError, NotSupported
from .cases import CASES, Case
from .frameworks import floating, framework, part, run

LINEAR = ("conv2d", "conv_transpose2d", "gemm")  # families whose ops are linear in each input
NETS = ("lenet5",)  # many ops after one another: compared in the tests
# They move, count or draw, or PyTorch has no such op: judged in tests of their own.
ELSEWHERE = ("advance_step", "batch_norm_fold", "cast", "drop_path", "dropout", "fill", "increment")
HALF_ULP = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}  # distance of numbers near zero
MOST_CASES = 12  # run with each version of an op, its own family's first


def measure(pattern: str | None = None, progress=lambda name: None) -> list[dict]:
    """One record for each kernel version whose id ``op:version`` holds `pattern`.

    Returns:
        Dictionaries with ``op``, ``version``, ``idea``, ``cases`` (how many it ran), ``pycnn`` and ``torch``: the worst error by
        storage type in units of the bound, None where no case could be run.
    """
    cases = {case.name: _Judged(case) for case in CASES if case.family not in NETS}
    users: dict[str, list[_Judged]] = {}
    for judged in cases.values():
        for op in judged.ops():
            users.setdefault(op, []).append(judged)
    records = []
    for row in backend.list_kernels():
        if row["op"] in ELSEWHERE or (pattern and pattern not in f"{row['op']}:{row['version']}"):
            continue
        progress(f"{row['op']}:{row['version']}")
        family = row["file"].partition("/")[0]
        chosen = sorted(users.get(row["op"], []), key=lambda judged: judged.case.family != family)[:MOST_CASES]
        head = {"group": "agreement", "op": row["op"], "version": row["version"], "idea": row["idea"]}
        record: dict = head | {"cases": 0, "pycnn": {}, "torch": {}}
        for storage in (s for s in HALF_ULP if s in row["storage"]):
            with backend.kernels(**{row["op"]: row["version"]}):
                errors = [(judged.error("pycnn", storage), judged) for judged in chosen]
            done = [(error, judged.error("torch", storage)) for error, judged in errors if error is not None]
            record["cases"] = max(record["cases"], len(done))
            record["pycnn"][storage] = max((ours for ours, _ in done), default=None)
            record["torch"][storage] = max((theirs for _, theirs in done if theirs is not None), default=None)
        if record["pycnn"]:
            records.append(record)
    return records


class _Judged:
    """A case with its reference and bound in each storage type."""

    def __init__(self, case: Case):
        self.case = case
        self.references: dict[str, tuple[dict, dict, dict]] = {}
        self.theirs: dict[str, float | None] = {}

    def ops(self) -> list[str]:
        """The kernel ops the case runs."""
        with backend.kernels():
            run(framework("pycnn"), self.case)
            return list(backend.versions_used())

    def given(self, storage: str) -> dict[str, np.ndarray]:
        """Inputs and upstream gradients, rounded to the storage type; integers and constants as they are."""
        kind = np.dtype(ml_dtypes.bfloat16 if storage == "bfloat16" else storage)
        keep = lambda name, a: not floating(a) or name in self.case.constants
        inputs = {f"input/{name}": a if keep(name, a) else a.astype(kind) for name, a in self.case.arrays().items()}
        upstream = part(run(framework("torch"), self.case, inputs if storage == "float32" else None), "upstream/")
        return inputs | {f"upstream/{name}": dy.astype(kind) for name, dy in upstream.items()}

    def reference(self, storage: str) -> tuple[dict, dict, dict]:
        """(what both sides are given, PyTorch's results in float64, their bounds)."""
        if storage not in self.references:
            given = self.given(storage)
            wide = {name: a.astype(np.float64) if floating(a) else a for name, a in given.items()}
            exact = self.results(wide)
            bounds = self.sums(wide, exact, storage) if self.case.family in LINEAR else self.magnitudes(wide, exact, storage)
            self.references[storage] = given, exact, bounds
        return self.references[storage]

    def results(self, given: dict, library: str = "torch") -> dict[str, np.ndarray]:
        """Outputs and gradients."""
        found = run(framework(library), self.case, given)
        return {name: a for name, a in found.items() if name.startswith(("output/", "gradient/"))}

    def sums(self, wide: dict, exact: dict, storage: str) -> dict[str, np.ndarray]:
        """The bounds of an op that is linear in each input: K is what the op makes of ones, Σ(aᵢbᵢ)² what it makes of squares."""
        change = lambda function: {name: function(a) if floating(a) else a for name, a in wide.items()}
        terms, squares = self.results(change(np.ones_like)), self.results(change(np.square))
        return {
            name: 4 * 2.0**-24 * np.sqrt(terms[name] * squares[name]) + HALF_ULP[storage] * np.abs(y) + SMALLEST[storage]
            for name, y in exact.items()
        }

    def magnitudes(self, wide: dict, exact: dict, storage: str) -> dict[str, np.ndarray]:
        """The bounds of any other op."""
        inputs, upstream = part(wide, "input/"), [a.ravel() for a in part(wide, "upstream/").values()]
        elements = max([a.size for a in inputs.values()] + [1])
        arriving = _rms(np.concatenate(upstream)) if upstream else 0.0
        bounds = {}
        for name, y in exact.items():
            terms = (self.case.roundings or self.case.depth) ** 2 * max(1, elements / max(y.size, 1))
            least = max(_rms(y), arriving if name.startswith("gradient/") else 0.0)
            bounds[name] = 4 * HALF_ULP[storage] * np.sqrt(terms) * np.maximum(np.abs(y), least) + SMALLEST[storage]
        return bounds

    def error(self, library: str, storage: str) -> float | None:
        """The worst error in units of the bound; None where the library cannot run the case so."""
        if library == "torch" and storage in self.theirs:
            return self.theirs[storage]
        if storage != "float32" and not any(floating(a) and n not in self.case.constants for n, a in self.case.arrays().items()):
            return None  # it has no array of that type
        given, exact, bounds = self.reference(storage)
        found: float | None = None
        try:
            with np.errstate(invalid="ignore"):
                results = self.results(given, library)
                found = max((_worst(results[name], y, bounds[name], storage) for name, y in exact.items()), default=0.0)
        except (NotSupported, DTypeError):
            pass
        except RuntimeError:
            if library == "pycnn":
                raise
        if library == "torch":
            self.theirs[storage] = found
        return found


def _rms(array: np.ndarray) -> float:
    """The root mean square of the ordinary numbers of an array."""
    ordinary = array[np.isfinite(array) & (np.abs(array) < 1e30)].astype(np.float64)
    return float(np.sqrt(np.mean(ordinary**2))) if ordinary.size else 0.0


def _worst(actual, expected, bound, storage: str) -> float:
    """max |actual - expected| / bound over what is finite in the storage type; other results must be equal."""
    if expected.dtype.kind in "iub":
        return 0.0 if np.array_equal(actual, expected) else np.inf
    largest = {"float32": 3.4e38, "float16": 65504.0, "bfloat16": 3.38e38}[storage]
    ordinary = np.isfinite(expected) & (np.abs(expected) < largest)
    if not ordinary.any():
        return 0.0
    error = np.abs(np.asarray(actual).astype(np.float64) - expected)[ordinary] / np.broadcast_to(bound, expected.shape)[ordinary]
    return float(np.where(np.isnan(error), np.inf, error).max())
