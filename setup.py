"""Builds ``pycnn._cpu``, and ``pycnn._cuda`` where nvcc is found, with CMake.

Environment variables of the names of CMakeLists.txt's options are passed on: ``PYCNN_CUDA=ON pip install .``
``python setup.py build_ext --inplace`` rebuilds into the checkout. Objects are kept in ``build/cmake-*`` and reused.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
DEFAULTS = {"PYCNN_CUDA": "AUTO", "PYCNN_CUDA_ARCHITECTURES": "auto", "PYCNN_CPU": "native", "PYCNN_CHECKED": "OFF"}


def tool(name: str) -> str:
    """The path of cmake or ninja, which may lie beside a Python that is not on PATH."""
    path = shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
    if not path:
        sys.exit(f"pycnn: {name} is needed to build; run: pip install cmake ninja pybind11")
    return path


def run(*command) -> None:
    """Run a command; where it fails, its own words are the last ones."""
    if code := subprocess.run([str(word) for word in command]).returncode:
        sys.exit(code)


def still_valid(folder: Path) -> bool:
    """Whether a build folder is of this checkout (it may have been copied or moved) and its compiler is still there."""
    cache = folder / "CMakeCache.txt"
    values = dict(re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), re.M)) if cache.exists() else {}
    return values.get("CMAKE_HOME_DIRECTORY") == str(ROOT) and Path(values.get("CMAKE_CXX_COMPILER", "")).is_file()


class CMakeBuild(build_ext):
    """Configure, build and install with CMake, into the wheel or (editable, --inplace) into the checkout."""

    def run(self):
        in_place = self.inplace or self.editable_mode
        prefix = ROOT if in_place else Path(self.build_lib).resolve()
        folder = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        cmake, ninja = tool("cmake"), tool("ninja")
        options = [f"-D{name}={os.environ.get(name) or default}" for name, default in DEFAULTS.items()]
        if not still_valid(folder):
            shutil.rmtree(folder, ignore_errors=True)
        run(cmake, "-S", ROOT, "-B", folder, "-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}",
            f"-DPython_EXECUTABLE={sys.executable}", *options)  # fmt: skip
        run(cmake, "--build", folder)
        for stale in (prefix / "pycnn").glob("_c[pu]*.so"):
            stale.unlink()
        run(cmake, "--install", folder, "--prefix", prefix)

    def get_outputs(self):
        return []

    def get_output_mapping(self):
        return {}


class BuildPy(build_py):
    """Start from an empty folder, so that a deleted file leaves the wheel, and add the kernels' sources."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "kernels", Path(self.build_lib) / "pycnn" / "_kernels")


setup(ext_modules=[Extension("pycnn._cpu", [])], cmdclass={"build_ext": CMakeBuild, "build_py": BuildPy})
