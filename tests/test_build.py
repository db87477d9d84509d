"""The build: what it does without nvcc or with the wrong CPU, what is installed, and the programs that check it."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pycnn
from pycnn.kernel_source import kernels_folder

ROOT = Path(__file__).resolve().parents[1]
CMAKE = shutil.which("cmake")
NVCC = shutil.which("nvcc")


def configure(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """Run CMake on the checkout, with this Python."""
    command = [CMAKE, "-S", ROOT, "-B", folder, f"-DPython_EXECUTABLE={sys.executable}", *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.skipif(not CMAKE, reason="CMake is not installed")
@pytest.mark.parametrize(("nvcc", "reason"), [("absent/nvcc", "there is no nvcc"), ("broken/nvcc", "cannot compile with")])
def test_cuda_on_fails_loudly_and_says_what_was_looked_for(tmp_path, nvcc, reason):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "nvcc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "broken" / "nvcc").chmod(0o755)
    done = configure(tmp_path / "build", "-DPYCNN_CUDA=ON", CUDACXX=str(tmp_path / nvcc))
    message = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "PYCNN_CUDA=ON, but pycnn._cuda is not built" in message
    assert reason in message and nvcc in message.replace("- ", "-").replace(" ", "")


@pytest.mark.skipif(not CMAKE, reason="CMake is not installed")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("-DPYCNN_CUDA=MAYBE", "it must be AUTO, ON or OFF"),
        ("-DPYCNN_CPU=abacus", "does not know -march=abacus"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path, option, message):
    done = configure(tmp_path / "build", option, CUDACXX=str(tmp_path / "none"))
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(("needs", "code"), [("sse2", 0), ("avx5124fmaps", 1)])
def test_a_cpu_that_lacks_instructions_is_told(tmp_path, needs, code):
    compiler = shutil.which(os.environ.get("CXX", "")) or shutil.which("c++") or shutil.which("g++")
    if not compiler or os.uname().machine != "x86_64":
        pytest.skip("needs a C++ compiler on x86-64")
    source = tmp_path / "main.cpp"
    source.write_text('#include <cstdio>\nstruct A { A() { std::puts("constructor"); } } a;\nint main() { std::puts("main"); }\n')
    guard = ROOT / "cmake" / "cpu_guard.cpp"
    subprocess.run([compiler, source, guard, f"-DPYCNN_CPU_NEEDS=NEED({needs})", "-o", tmp_path / "main"], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    assert done.returncode == code
    if code:
        assert "avx5124fmaps, which this one lacks" in done.stderr and "PYCNN_CPU=portable" in done.stderr
        assert done.stdout == "", "the guard runs before every other constructor"


def test_the_module_says_how_it_was_built():
    build = pycnn.backend.cpu().module.build
    assert re.search(r"(GNU|Clang) \d", build) and "pycnn._cuda:" in build
    assert "fast-math" not in build, "NaN and infinity keep their meaning"


def test_the_package_carries_sources_data_and_types():
    package = Path(pycnn.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "data" / "uci_digits" / "digits.npz").exists()
    installed = {row["file"] for row in pycnn.list_kernels()}
    assert all((kernels_folder() / file).is_file() for file in installed)
    assert (kernels_folder() / "common" / "launch.h").is_file()


@pytest.mark.skipif(importlib.util.find_spec("pycnn._cuda") is None, reason="pycnn._cuda is not built")
def test_importing_the_cuda_module_needs_no_driver():
    cuda = importlib.import_module("pycnn._cuda")  # beside pycnn._cpu, in one process
    assert "nvcc" in cuda.build
    versions = {(row["op"], row["version"]) for row in cuda.list_versions()}
    assert versions == {(row["op"], row["version"]) for row in pycnn.list_kernels() if not row["host"]}


def benchmark_program(name: str):
    """A file of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nvcc_report_reads_ptxas():
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5plainPf' for 'sm_80'
ptxas info    : Function properties for _Z5plainPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers, 360 bytes cmem[0]
ptxas info    : Compiling entry function '_Z5tiledPf' for 'sm_80'
ptxas info    : Function properties for _Z5tiledPf
    8 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size, 8192 bytes smem, 360 bytes cmem[0]
"""
    rows = benchmark_program("nvcc_report").parse(log)
    assert [(row["registers"], row["shared"], row["spills"]) for row in rows] == [(12, 0, 0), (255, 8192, 20)]


@pytest.mark.skipif(not NVCC, reason="nvcc is not installed")
def test_nvcc_report_compiles_a_kernel():
    command = [sys.executable, "benchmarks/nvcc_report.py", "--only", "elementwise/map_1", "--arch", "sm_80"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "elementwise/map_1_plain.cuh" in done.stdout and "0 spilling, 0 failed" in done.stdout


def test_gpu_check_lists_its_stages():
    done = subprocess.run([sys.executable, "benchmarks/gpu_check.py", "--list"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for stage in ("build", "tests", "train", "memcheck", "racecheck", "initcheck", "synccheck", "bench"):
        assert re.search(rf"^{stage}: ", done.stdout, re.M)


def test_ci_and_readme_agree():
    script, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    for name in re.findall(r"run_block (\w+)$", script, re.M):
        assert re.search(rf"<!-- ci: {name} -->\n```sh\n.+?\n```", readme, re.S), f"README.md has no block {name}"
