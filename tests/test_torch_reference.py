"""pycnn against PyTorch's stored outputs and gradients (tests/torch_reference); PyTorch is not needed."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pycnn.bench.cases import CASES
from pycnn.bench.frameworks import assert_agree, framework, part, run

FOLDER = Path(__file__).with_name("torch_reference")


@cache
def stored(family: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{family}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_agrees_with_stored_pytorch(case):
    theirs = part(stored(case.family), f"{case.name.partition('/')[2]}:")
    assert theirs, f"{case.name} is not stored; run tests/torch_reference/make.py"
    assert_agree(case, run(framework("pycnn"), case, theirs), theirs)


def test_stored_files_hold_the_table():
    names = {f"{family}/{key.partition(':')[0]}" for family in {c.family for c in CASES} for key in stored(family) if ":" in key}
    assert names == {case.name for case in CASES}
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) <= 5_000_000
    assert len({str(stored(case.family)["torch_version"]) for case in CASES}) == 1
