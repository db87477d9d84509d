"""`pycnn bench agreement`: every kernel version within its bound of float64, and the table that says so."""

import json

import numpy as np
import pytest

from pycnn import backend
from pycnn.bench import agreement, main, report
from pycnn.bench.cases import CASES

pytest.importorskip("torch", reason="PyTorch is not installed (agreement needs its float64)")
STORAGE = set(agreement.HALF_ULP)


@pytest.fixture(scope="module")
def records():
    return agreement.measure()


def test_every_version_is_within_its_bound(records):
    wrong = [(r["op"], r["version"], r["pycnn"]) for r in records if any(e is not None and e > 1 for e in r["pycnn"].values())]
    assert not wrong


def test_every_version_has_a_case(records):
    judged = {(r["op"], r["version"]) for r in records if r["cases"]}
    every = {(r["op"], r["version"]) for r in backend.list_kernels() if STORAGE & set(r["storage"])}
    assert {(op, version) for op, version in every if op not in agreement.ELSEWHERE} == judged


def test_a_wrong_result_is_seen(monkeypatch):
    judged = agreement._Judged(next(case for case in CASES if case.name == "conv2d/3x3"))
    assert judged.error("pycnn", "float32") <= 1
    right = judged.results
    monkeypatch.setattr(judged, "results", lambda *given: {name: a * np.float32(1 + 1e-5) for name, a in right(*given).items()})
    assert judged.error("pycnn", "float32") > 1


def test_one_line_an_op(records):
    lines = report.by_op(records)
    assert len(lines) == len({r["op"] for r in records})
    gemm = next(line for line in lines if line["op"] == "gemm")
    assert gemm["pycnn"]["float32"] == max(r["pycnn"]["float32"] for r in records if r["op"] == "gemm")
    assert report.agreement_cells(gemm)[0].startswith("gemm:")


def test_the_command_prints_and_saves_a_table(tmp_path, capsys):
    assert main(["agreement", "--filter", "log:", "--json", str(tmp_path)]) == 0
    assert "log:vectorized" in capsys.readouterr().out
    (saved,) = tmp_path.glob("*/*-agreement.json")
    assert [row["op"] for row in json.loads(saved.read_text())["rows"]] == ["log", "log"]
    assert main(["agreement", "--filter", "nothing"]) == 2
