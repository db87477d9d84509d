"""Every version file teaches (Math, Memory, Threads, Limit, Next), and the lists agree: files, records, ops, names."""

import re
from pathlib import Path

import pytest

import pycnn
from pycnn import backend as backends

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
FILES = sorted(p for p in KERNELS.glob("*/*.cuh") if re.search(r"_\d+_|_host$", p.stem))
STORAGE = {
    "float": "float32",
    "half": "float16",
    "bfloat16": "bfloat16",
    "double": "float64",
    "int64_t": "int64",
    "uint8_t": "uint8",
}
LINES = ("Math", "Memory", "Threads", "Limit", "Next", "Storage")


def header(path: Path) -> str:
    return path.read_text().split("*/")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_header_says_what_a_reader_needs(path):
    text = header(path)
    assert text.startswith("/*\n"), "the file starts with its header comment"
    for word in LINES:
        assert re.search(rf"^{word} +\S", text, re.M), f"no line '{word}'"
    for name in re.findall(r"[a-z0-9_]+\.cuh", text):
        assert (path.parent / name).exists() or list(KERNELS.glob(f"*/{name}")), f"{name} is mentioned but does not exist"


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_records_agree_with_file_names_and_storage_lines(path):
    relative = str(path.relative_to(KERNELS))
    records = [r for r in backends.cpu().module.list_versions() if r["file"] == relative]
    assert records, "the file leaves no record"
    named = re.search(r"^Storage +(.*)$", header(path), re.M).group(1)
    assert {r["storage"] for r in records} == {STORAGE[t] for t in re.findall(r"[a-z0-9_]+", named)}
    order, version = (0, "host") if path.stem.endswith("_host") else re.search(r"_(\d+)_(\w+)$", path.stem).groups()
    assert {(r["order"], r["version"]) for r in records} == {(int(order), version)}


def test_every_op_has_a_plain_version_in_every_storage_type_and_ladders_have_no_gaps():
    ops = backends.cpu().module.list_ops()
    rows = pycnn.list_kernels()
    assert {row["op"] for row in rows} == set(ops)
    for op in ops:
        ladder = [row for row in rows if row["op"] == op and not row["host"]]
        orders = [row["order"] for row in ladder]
        assert orders == list(range(1, len(orders) + 1)), f"{op}: {orders}"
        names = [row["version"] for row in rows if row["op"] == op]
        assert len(names) == len(set(names)), f"{op}: two versions of one name"


def test_only_launch_h_launches():
    for path in KERNELS.rglob("*"):
        if path.suffix in (".cuh", ".cu", ".h", ".cpp") and path.name != "launch.h":
            text = re.sub(r"//.*|/\*.*?\*/", "", path.read_text(), flags=re.S if path.suffix == ".x" else 0)
            assert "<<<" not in text, f"{path.name} launches a kernel itself"
            assert "Python.h" not in text and "pybind11" not in text
    for path in KERNELS.glob("*/*.cu"):
        assert "__global__" not in path.read_text(), f"{path.name}: kernels belong into version files"


def test_a_version_by_name_or_a_reason():
    with pytest.raises(pycnn.errors.NotSupported, match="no op 'conv3d'"), pycnn.kernels(conv3d="naive"):
        pass
    with pytest.raises(pycnn.errors.NotSupported, match="no version 'fast'.*naive"), pycnn.kernels(gemm="fast"):
        pass
    with pytest.raises(pycnn.errors.NotSupported, match="the only mode is 'own'"), pycnn.kernels("mine"):
        pass
