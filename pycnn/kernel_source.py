"""Where the kernels' source files are, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

from .backend import list_kernels
from .errors import NotSupported


def kernels_folder() -> Path:
    """The folder with ``api.h``.

    Raises:
        NotSupported: this installation carries no sources.
    """
    package = Path(__file__).parent
    for folder in (package / "_kernels", package.parent / "kernels"):
        if (folder / "api.h").is_file():
            return folder
    raise NotSupported(f"the kernel sources are neither in {package / '_kernels'} nor in {package.parent / 'kernels'}")


def kernel_path(kernel: str) -> Path:
    """The file of a kernel version, named ``op:version`` ("conv2d_forward:naive").

    Raises:
        NotSupported: there is no such op or version (those that exist are named), or this installation carries no
            sources.
    """
    op, _, version = kernel.partition(":")
    rows = list_kernels()
    ops = sorted({row["op"] for row in rows})
    if op not in ops:
        raise NotSupported(f"there is no op {op!r}; the ops are {', '.join(ops)}")
    versions = {row["version"]: row["file"] for row in rows if row["op"] == op}
    if version not in versions:
        raise NotSupported(f"{op} has no version {version!r}; name one as {' or '.join(f'{op}:{name}' for name in versions)}")
    return kernels_folder() / versions[version]


def kernel_source(kernel: str) -> str:
    """The text of a kernel version's file; see :func:`kernel_path`."""
    return kernel_path(kernel).read_text(encoding="utf-8")
