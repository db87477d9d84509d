"""All that needs a GPU, in stages of at most ten minutes each, and a results file.

    python benchmarks/gpu_check.py --list            the stages and their commands
    python benchmarks/gpu_check.py                   all of them
    python benchmarks/gpu_check.py --stage build tests

Run from a checkout on a machine with an NVIDIA GPU, nvcc, CuPy, CMake, ninja and pybind11; nothing is installed or downloaded.
Results go to ``benchmarks/results/<device>/<date>-<commit>-check.json``, stages run later on the same day and commit too; the
benchmark's own figures lie beside it in ``<date>-<commit>.json``.
Without a GPU it says what it would do and exits with 0.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LIMIT = 600  # seconds a stage may take
PYTHON = [sys.executable]
PYCNN = [*PYTHON, "-m", "pycnn"]
SELF = [*PYTHON, "benchmarks/gpu_check.py"]
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
FOUND = 9  # compute-sanitizer's exit code when it reports an error


def stages(work: Path) -> dict[str, tuple[str, list[list[str]]]]:
    """name -> (what it shows, commands). A command that starts with "!" must exit with FOUND."""
    lenet = [*PYCNN, "train", "lenet5", "--data", "digits", "--device", "cuda"]
    bugs = str(work / "sanitizer_bugs")
    table: dict[str, tuple[str, list[list[str]]]] = {
        "build": ("pycnn._cuda is built for this GPU and works", [
            [*PYTHON, "setup.py", "build_ext", "--inplace"],
            [*PYCNN, "doctor", "--device", "cuda"],
        ]),
        "tests": ("every test, on the GPU", [[*PYTHON, "-m", "pytest", "-q", "--durations=10", "tests"]]),
        "train": ("LeNet-5 learns, and twice gives the same bits", [
            [*lenet, "--output", str(work / "first")],
            [*lenet, "--output", str(work / "second")],
            [*SELF, "--same-bits", str(work / "first"), str(work / "second")],
        ]),
        "naive": ("LeNet-5 learns on the first versions too", [
            [*lenet, "--kernels", "conv2d_*=naive", "gemm=naive", "--epochs", "2", "--output", str(work / "naive")],
        ]),
        "nvrtc": ("a training step compiles nothing at run time", [[*SELF, "--steps", "no-nvrtc"]]),
    }  # fmt: skip
    for tool in SANITIZERS:
        run = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(FOUND)]
        table[tool] = (f"{tool} finds a planted bug, and nothing in a training step of every kernel version", [
            ["nvcc", "-arch=native", "-lineinfo", "benchmarks/sanitizer_bugs.cu", "-o", bugs],
            ["!", *run, bugs, tool],
            [*run, *SELF, "--steps", "all"],
        ])  # fmt: skip
    table["bench"] = (
        "pycnn and PyTorch (cuDNN) side by side",
        [[*PYCNN, "bench", "--device", "cuda", "--json", "benchmarks/results"]],
    )
    return table


# ---- what the stages run besides pycnn's commands ----


def training_steps(mode: str) -> None:
    """LeNet-5's training step on four digits: `all` once with each version of each op, `no-nvrtc` with CuPy's compiler away."""
    if mode == "no-nvrtc":
        import cupy.cuda.compiler

        def refuse(*args, **kwargs):
            raise RuntimeError("CuPy was about to compile a kernel at run time")

        cupy.cuda.compiler.compile_using_nvrtc = refuse
    import numpy as np

    import pycnn
    from pycnn import nn, optim
    from pycnn.models import create_model

    pycnn.set_default_device("cuda")
    pycnn.manual_seed(0)
    images = np.random.Generator(np.random.Philox(0)).standard_normal((4, 1, 32, 32), np.float32)

    def step() -> float:
        model, loss = create_model("lenet5").to("cuda"), nn.CrossEntropyLoss()
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        error = loss(model(pycnn.Tensor(images, device="cuda")), pycnn.Tensor(np.arange(4), device="cuda"))
        error.backward()
        optimizer.step()
        return error.item()

    print(f"default versions: loss {step():.6f}")
    if mode == "all":
        for row in pycnn.list_kernels():
            if not row["host"] and "float32" in row["storage"]:
                with pycnn.kernels(**{row["op"]: row["version"]}):
                    try:
                        print(f"{row['op']}:{row['version']}: loss {step():.6f}")
                    except pycnn.errors.NotSupported as error:
                        print(f"{row['op']}:{row['version']}: {error}")


def same_bits(first: Path, second: Path) -> None:
    """The last checkpoints of two runs hold equal weights, and the accuracy is LeNet-5's."""
    weights = [max(run.rglob("model.safetensors"), key=lambda path: path.parent.name).read_bytes() for run in (first, second)]
    if weights[0] != weights[1]:
        sys.exit("two runs with one seed gave different weights")
    print((first / "result.json").read_text())


# ---- the machine ----


def output(*command: str) -> str:
    """What a command prints, empty where it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> dict | None:
    """The GPU and the versions of what runs on it; None without a GPU."""
    gpu = output("nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader")
    if not gpu:
        return None
    name, driver, capability, memory = (part.strip() for part in gpu.splitlines()[0].split(","))
    versions = {"python": platform.python_version(), "nvcc": (re.findall(r"V([\d.]+)", output("nvcc", "--version")) or [None])[0]}
    for package in ("numpy", "ml_dtypes", "cupy-cuda13x", "cupy-cuda12x", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return {"device": name, "driver": driver, "compute_capability": capability, "memory": memory, "versions": versions}


def shown(text: str, work: Path) -> str:
    """A command or a line without the paths of this machine."""
    for path, name in ((str(work), "$work"), (sys.executable, "python"), (str(ROOT), ".")):
        text = text.replace(path, name)
    return text


def run_stage(commands: list[list[str]], environment: dict[str, str], work: Path) -> dict:
    """Run a stage's commands one after another within its limit, showing what they print."""
    began, record = time.monotonic(), {"passed": True, "commands": []}
    for command in commands:
        expected = FOUND if command[0] == "!" else 0
        command = command[1:] if expected else command
        words = shown(" ".join(command), work)
        print("$", words, flush=True)
        tail: list[str] = []
        process = subprocess.Popen(["timeout", str(max(1, int(LIMIT - (time.monotonic() - began)))), *command], cwd=ROOT,
                                   env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            tail = [*tail[-39:], shown(line.rstrip(), work)]
        code = process.wait()
        record["commands"].append({"command": words, "exit_code": code, "output": tail})
        if code != expected:
            print(f"exit code {code}, expected {expected}")
            record["passed"] = False
            break
    return record | {"seconds": round(time.monotonic() - began, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say what would be done")
    parser.add_argument("--stage", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--commit", default="", help="name of the results file where git is absent")
    parser.add_argument("--steps", choices=("all", "no-nvrtc"), help=argparse.SUPPRESS)
    parser.add_argument("--same-bits", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps:
        sys.path.insert(0, str(ROOT))
        return training_steps(args.steps) or 0
    if args.same_bits:
        return same_bits(*args.same_bits) or 0

    work = Path(tempfile.mkdtemp(prefix="pycnn-gpu-check-"))
    table = stages(work)
    if unknown := set(args.stage or ()) - set(table):
        parser.error(f"there is no stage {', '.join(sorted(unknown))}; there are {', '.join(table)}")
    chosen = {name: stage for name, stage in table.items() if not args.stage or name in args.stage}
    here = machine()
    if args.list or here is None:
        print("The stages:" if args.list else "There is no NVIDIA GPU here. On one, this would run:")
        for name, (purpose, commands) in chosen.items():
            print(f"\n{name}: {purpose}")
            for command in commands:
                must_fail = command[0] == "!"
                print("   ", shown(" ".join(command[must_fail:]), work), "  # must report it" if must_fail else "")
        shutil.rmtree(work)
        return 0

    commit = args.commit or output("git", "describe", "--always", "--dirty") or "unknown"
    device = re.sub(r"[^a-z0-9]+", "-", here["device"].lower()).strip("-")
    file = RESULTS / device / f"{datetime.date.today()}-{commit}-check.json"
    record = json.loads(file.read_text()) if file.exists() else here | {"commit": commit, "stages": {}}
    environment = os.environ | {
        "PYCNN_CUDA": "ON",
        "PYCNN_TEST_DEVICE": "cuda",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "CUPY_CACHE_DIR": str(work / "cupy"),  # empty: a kernel compiled before would hide a compilation
    }
    for name, (purpose, commands) in chosen.items():
        print(f"\n==== {name}: {purpose}", flush=True)
        record["stages"][name] = {"purpose": purpose} | run_stage(commands, environment, work)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, indent=1) + "\n")
    shutil.rmtree(work)

    print(f"\n{file.relative_to(ROOT)}")
    for name in chosen:
        stage = record["stages"][name]
        print(f"{stage['seconds']:8.1f} s  {'passed' if stage['passed'] else 'FAILED'}  {name}")
    return 0 if all(record["stages"][name]["passed"] for name in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
