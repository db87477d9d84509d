"""pycnn against the PyTorch that is installed: the cases of tests/torch_reference, computed now by both."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (the stored comparisons of test_torch_reference.py ran)")

from pycnn.bench.cases import CASES  # noqa: E402
from pycnn.bench.frameworks import assert_agree, framework, run  # noqa: E402


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_agrees_with_pytorch(case):
    theirs = run(framework("torch"), case)
    assert_agree(case, run(framework("pycnn"), case, theirs), theirs)
