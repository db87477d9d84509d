"""Registers, shared memory and spills of every kernel, as ptxas reports them; no GPU is needed.

    python benchmarks/nvcc_report.py                       every version file for sm_80 and sm_90a, one row each
    python benchmarks/nvcc_report.py --only gemm --all     one row per kernel of the files whose path contains "gemm"

Exits with 1 when a file does not compile, or when a kernel of a version other than the first (or one that stands alone) keeps
registers in memory ("spills").
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent / "kernels"


def find_nvcc() -> str | None:
    """The nvcc the build would take: CUDACXX, PATH, CUDA_HOME, CUDA_PATH, /usr/local/cuda."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [os.environ.get("CUDACXX"), shutil.which("nvcc"), *(f"{home}/bin/nvcc" for home in homes if home)]
    return next((place for place in places if place and Path(place).exists()), None)


def version_files(only: str) -> list[tuple[Path, str]]:
    """(file, storage type) of every CUDA version, by the rule of cmake/sources.cmake."""
    pairs = []
    for file in sorted(KERNELS.glob("*/*.cuh")):
        if re.search(r"_\d+_", file.name) and only in str(file.relative_to(KERNELS)):
            storage = re.search(r"^Storage +(.*)$", file.read_text(), re.M)[1]
            pairs += [(file, kind) for kind in re.findall(r"[a-z0-9_]+", storage) if kind != "double"]
    return pairs


def parse(log: str) -> list[dict]:
    """The kernels in ptxas' verbose output; `spills` counts bytes stored and loaded."""
    rows = []
    for block in re.split(r"Compiling entry function '", log)[1:]:
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block)
        shared = re.search(r"(\d+) bytes smem", block)
        rows.append({
            "kernel": block.split("'")[0],
            "registers": int(re.search(r"Used (\d+) registers", block)[1]),
            "shared": int(shared[1]) if shared else 0,
            "stack": int(spills[1]),
            "spills": int(spills[2]) + int(spills[3]),
        })  # fmt: skip
    return rows


def demangle(rows: list[dict]) -> None:
    """Kernel names as in the source, without argument lists."""
    if rows and shutil.which("c++filt"):
        names = subprocess.run(["c++filt", "-p"], input="\n".join(r["kernel"] for r in rows), capture_output=True, text=True)
        for row, name in zip(rows, names.stdout.splitlines(), strict=True):
            row["kernel"] = re.sub(r"^void |pycnn::|\(anonymous namespace\)::", "", name)


def compile_one(nvcc: str, file: Path, storage: str, arch: str) -> tuple[list[dict], str]:
    """One translation unit to machine code: its rows, or the compiler's complaint."""
    path = str(file.relative_to(KERNELS))
    command = [nvcc, "-std=c++17", "-cubin", f"-arch={arch}", "-Xptxas", "-v", "-DPYCNN_CUDA=1", f"-DSTORAGE={storage}",
               f'-DPYCNN_FILE="{path}"', f"-I{KERNELS}", "-x", "cu", str(file), "-o", os.devnull]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return [], f"{path} ({storage}, {arch}):\n{done.stderr}"
    return [{"file": path, "storage": storage, "arch": arch} | row for row in parse(done.stderr)], ""


def summary(rows: list[dict]) -> list[dict]:
    """One row per file and architecture: the largest of each number over storage types and kernels."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["file"], row["arch"]), []).append(row)
    numbers = ("registers", "shared", "stack", "spills")
    return [{"file": file, "arch": arch, "kernel": f"{len(group)} kernels", "storage": ""}
            | {name: max(row[name] for row in group) for name in numbers} for (file, arch), group in groups.items()]  # fmt: skip


def print_table(rows: list[dict]) -> None:
    columns = ("file", "storage", "kernel", "arch", "registers", "shared", "stack", "spills")
    columns = tuple(c for c in columns if any(row[c] != "" for row in rows))
    cells = [columns, *(tuple(str(row[c]) for c in columns) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(c.rjust(w) if c.isdigit() else c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=["sm_80", "sm_90a"])
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--all", action="store_true", help="one row per kernel")
    parser.add_argument("--json", type=Path, help="write the rows of --all here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    nvcc = find_nvcc()
    if not nvcc:
        print("nvcc_report: there is no nvcc in CUDACXX, PATH, CUDA_HOME, CUDA_PATH or /usr/local/cuda")
        return 0

    units = [(file, storage, arch) for file, storage in version_files(args.only) for arch in args.arch]
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda unit: compile_one(nvcc, *unit), units))
    rows = [row for part, _ in results for row in part]
    failures = [text for _, text in results if text]
    demangle(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print_table(rows if args.all else summary(rows))
    bad = [row for row in rows if row["spills"] and not re.search(r"_1_", row["file"])]
    for row in bad:
        print(f"SPILL {row['file']} {row['storage']} {row['arch']}: {row['spills']} bytes in {row['kernel']}")
    for text in failures:
        print(f"FAILED {text}", file=sys.stderr)
    print(f"{len(units)} units, {len(rows)} kernels, {len(bad)} spilling, {len(failures)} failed")
    return 1 if bad or failures else 0


if __name__ == "__main__":
    sys.exit(main())
