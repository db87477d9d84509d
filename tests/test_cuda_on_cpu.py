"""CUDA on the CPU (kernels/cpu): compiles tests/cpp and runs its tests, each in a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tests" / "cpp" / "cuda_on_cpu.cpp"

# Two programs: as released, and with everything that can be switched on in a debug build.
FLAGS = {"release": ["-O2"], "checked": ["-O0", "-g", "-DPYCNN_CHECKED=1", "-DPYCNN_PORTABLE_FIBERS=1"]}


def programs_and_tests():
    """(program, test) for each TEST of the source; those after `#if PYCNN_CHECKED` are in the checked program only."""
    checked = False
    for line in SOURCE.read_text().splitlines():
        if line.startswith("#"):
            checked = line == "#if PYCNN_CHECKED"
        elif match := re.match(r"TEST\((\w+)\)", line):
            yield from ((program, match[1]) for program in FLAGS if program == "checked" or not checked)


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("no C++ compiler (CXX, c++, g++, clang++)")
    folder = tmp_path_factory.mktemp("cuda_on_cpu")
    sources = [SOURCE, *sorted((ROOT / "kernels" / "cpu").glob("*.cpp"))]
    compilations = {}
    for program, flags in FLAGS.items():
        command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread", "-DPYCNN_CUDA=0", *flags]
        command += ["-I", ROOT / "kernels", *sources, "-o", folder / program]
        compilations[program] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = {program: compilation.communicate()[0] for program, compilation in compilations.items()}
    for program, compilation in compilations.items():
        assert compilation.returncode == 0, output[program]
    return folder


def run(programs, program, *arguments, **environment):
    return subprocess.run(
        [programs / program, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("program, test", list(programs_and_tests()))
def test_cpp(programs, program, test):
    result = run(programs, program, test)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("program", FLAGS)
def test_an_overrun_stack_is_reported(programs, program):
    result = run(programs, program, "--overrun")
    assert result.returncode == -signal.SIGABRT
    assert result.stderr == "pycnn: stack overrun in kernel recurse, block (1,0,0), thread (2,0,0)\n"


@pytest.mark.parametrize("program", FLAGS)
def test_other_faults_reach_the_earlier_handler(programs, program):
    result = run(programs, program, "--foreign-fault")
    assert (result.returncode, result.stdout, result.stderr) == (42, "the earlier handler\n", "")


@pytest.mark.parametrize("program", FLAGS)
def test_a_bad_pointer_is_placed(programs, program):
    result = run(programs, program, "--bad-pointer", PYCNN_NUM_THREADS="1")
    assert result.returncode == -signal.SIGSEGV
    assert result.stderr == "pycnn: invalid memory access in kernel writes, block (0,0,0), thread (0,0,0)\n"


def test_number_of_threads(programs):
    default = run(programs, "release", "--threads", PYCNN_NUM_THREADS="")
    if sys.platform == "linux":
        assert int(default.stdout) == len(os.sched_getaffinity(0))
    assert run(programs, "release", "--threads", PYCNN_NUM_THREADS="5").stdout == "5\n"
    assert run(programs, "release", "--threads", PYCNN_NUM_THREADS="many").stdout == default.stdout


def test_the_kernels_are_cuda(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    command = [nvcc, "-std=c++17", "-arch=sm_80", "-DPYCNN_CUDA=1", "-I", ROOT / "kernels"]
    command += ["-c", ROOT / "tests" / "cpp" / "kernels.cu", "-o", tmp_path / "kernels.o"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
