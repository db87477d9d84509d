"""Store what PyTorch computes for every case: ``python tests/torch_reference/make.py`` (needs PyTorch).

Writes one ``<family>.npz`` beside itself with, for each case, ``case:input/…``, ``case:upstream/…`` (gradients that arrive at
the outputs), ``case:output/…`` and ``case:gradient/…``, and ``torch_version``; and ``lenet5_agreement.npz`` (``agreement.py``).
Inputs are seeded, so a run changes nothing but what another version of PyTorch rounds otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from torch_reference import agreement  # noqa: E402

from pycnn.bench.cases import CASES  # noqa: E402
from pycnn.bench.frameworks import framework, run  # noqa: E402

LIMIT = 5_000_000  # bytes, of all files together


def main() -> int:
    import torch

    torch.set_num_threads(1)
    families: dict[str, dict[str, np.ndarray]] = {}
    for case in CASES:
        results = run(framework("torch"), case)
        stored = families.setdefault(case.family, {"torch_version": np.array(torch.__version__)})
        stored |= {f"{case.name.partition('/')[2]}:{name}": a for name, a in results.items()}
    families["lenet5_agreement"] = agreement.stored_by_torch()
    for family, arrays in families.items():
        np.savez_compressed(HERE / f"{family}.npz", **arrays)
    total = sum(path.stat().st_size for path in HERE.glob("*.npz"))
    print(f"PyTorch {torch.__version__}: {len(CASES)} cases in {len(families)} files, {total / 1e6:.2f} MB")
    return 0 if total <= LIMIT else f"more than {LIMIT / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
