"""Where arrays live and who computes on them: NumPy with `pycnn._cpu`, or CuPy with `pycnn._cuda`.

This is the one file that asks about devices, and the only one that imports CuPy. It caches plans, allocates workspaces and
keeps the choice of kernel versions (:func:`kernels`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import threading
from contextvars import ContextVar
from fnmatch import fnmatch
from functools import cache, lru_cache
from importlib.machinery import ExtensionFileLoader, ModuleSpec

import ml_dtypes
import numpy as np

from . import dlpack
from .errors import DeviceError, DTypeError, NotSupported

bfloat16 = np.dtype(ml_dtypes.bfloat16)
STORAGE = {np.dtype(name): name for name in ("float32", "float64", "float16", "int32", "int64", "uint8")} | {bfloat16: "bfloat16"}
WORKSPACE_LIMIT = 64 << 20  # bytes a plan may ask for
MAX_PLANS = 8192  # a program that keeps meeting new shapes starts over instead of growing


class Selection:
    """A choice of kernel versions and the plans made under it."""

    def __init__(self, choices: dict[str, str], own: bool):
        self.choices, self.own = choices, own
        self.plans: dict = {}

    def version(self, op: str) -> str:
        return self.choices.get(op, "")


_selection: ContextVar[Selection] = ContextVar("pycnn_kernels", default=Selection({}, own=False))  # noqa: B039


@contextlib.contextmanager
def kernels(*mode: str, **versions: str):
    """Choose kernel versions for everything that runs inside the ``with`` block.

    ``kernels(conv2d_forward="naive")`` names a version for an op; a pattern such as ``**{"conv2d_*": "naive"}`` names it for
    several. ``kernels("own")`` leaves out the CPU's ``host`` micro-kernels, so that every product goes through the CUDA kernels.
    A version that cannot do a problem raises :class:`~pycnn.errors.NotSupported` with the reason; nothing else is tried.

    Raises:
        NotSupported: an op or version of that name does not exist.
    """
    if any(m != "own" for m in mode):
        raise NotSupported(f"kernels({mode[0]!r}): the only mode is 'own'; versions are named as op='version'")
    known: dict[str, set[str]] = {}
    for row in list_kernels():
        known.setdefault(row["op"], set()).add(row["version"])
    outer = _selection.get()
    choices = dict(outer.choices)
    for pattern, version in versions.items():
        ops = [op for op in known if fnmatch(op, pattern)]
        if not ops:
            raise NotSupported(f"there is no op {pattern!r}; the ops are {', '.join(sorted(known))}")
        named = [op for op in ops if version in known[op]]
        if not named:
            raise NotSupported(f"{pattern} has no version {version!r}; it has {', '.join(sorted(known[ops[0]]))}")
        choices.update(dict.fromkeys(named, version))
    token = _selection.set(Selection(choices, outer.own or "own" in mode))
    try:
        yield
    finally:
        _selection.reset(token)


def versions_used() -> dict[str, list[str]]:
    """The kernel versions that ran under the current choice: op -> sorted names."""
    used: dict[str, set[str]] = {}
    for plan in _selection.get().plans.values():
        used.setdefault(plan.op, set()).add(plan.version)
    return {op: sorted(names) for op, names in sorted(used.items())}


def list_kernels(op: str = "*") -> list[dict]:
    """Every kernel version of the CPU build, in reading order.

    Returns:
        Dictionaries with ``op``, ``version``, ``order`` (its number on the ladder, 0 = host), ``idea``, ``file`` (below
        ``kernels/``), ``storage`` (a list of types) and ``host``.
    """
    rows: dict[tuple, dict] = {}
    for record in cpu().module.list_versions():
        if fnmatch(record["op"], op):
            storage = record.pop("storage")
            rows.setdefault((record["op"], record["order"]), record | {"storage": []})["storage"].append(storage)
    return [rows[key] | {"storage": sorted(rows[key]["storage"])} for key in sorted(rows)]


class Backend:
    """One device: its array library ``xp``, its kernel module and the ops run on it."""

    def __init__(self, device: str, xp, module, sm: int = 0):
        self.device, self.xp, self.module, self.sm = device, xp, module, sm
        self._run = module.run
        self._workspaces = threading.local()
        self.checks: dict = {}  # name -> function that raises what a kernel found wrong; called when results are read

    def __repr__(self):
        return f"Backend({self.device!r})"

    def empty(self, shape, dtype):
        """A new uninitialised array in C order (a large one in memory of earlier arrays, see ``bindings/pool.h``)."""
        return self.module.empty(shape, dtype)

    def to_device(self, array: np.ndarray):
        """Copy a host array here (no copy when it is already there)."""
        return self.xp.asarray(array)

    def to_host(self, array) -> np.ndarray:
        """Copy an array of this device to the host (no copy when it is already there); raises what `checks` find."""
        for check in tuple(self.checks.values()):
            check()
        return self.read(array)

    def read(self, array) -> np.ndarray:
        """As `to_host`, without the checks."""
        return array

    @property
    def reads_are_free(self) -> bool:
        """Whether reading an array waits for no queue of kernels."""
        return True

    def write(self, target, values: np.ndarray) -> None:
        """Overwrite a contiguous array of this device with host values of its shape."""
        target[...] = values

    def stream(self) -> int:
        """The stream kernels are launched on."""
        return 0

    def workspace(self, size: int):
        """Scratch memory of at least `size` bytes, aligned to 64, reused by every op of this thread."""
        held = getattr(self._workspaces, "array", None)
        if held is None or held.size < size:
            memory = np.empty(size + 64, np.uint8)
            start = -memory.ctypes.data % 64
            held = self._workspaces.array = memory[start : start + size]
        return held

    def plan(self, op: str, problem: tuple, dtype: np.dtype, alignment: int = 16):
        """The plan for a problem under the current choice of versions (see ``kernels/common/plan.h``).

        Raises:
            NotSupported: no version, or not the one chosen, can do it; the message holds the reason.
            ShapeError: the problem's numbers make no sense.
        """
        selection = _selection.get()
        storage = STORAGE.get(dtype)
        if storage is None:
            raise DTypeError(f"{op}: pycnn does not store {dtype}; it stores {', '.join(STORAGE.values())}")
        made = self.module.plan(op, problem, storage, selection.version(op), selection.own, self.sm, WORKSPACE_LIMIT, alignment)
        if len(selection.plans) >= MAX_PLANS:
            selection.plans.clear()
        selection.plans[self.device, op, problem, dtype, alignment] = made
        return made

    def run(self, op: str, problem: tuple, dtype: np.dtype, *arrays) -> None:
        """Run `op` on `arrays` (its signature's order, None for a missing one); `problem` are its numbers in field order."""
        plans = _selection.get().plans
        plan = plans.get((self.device, op, problem, dtype, 16)) or self.plan(op, problem, dtype)
        workspace = self.workspace(plan.workspace) if plan.workspace else None
        if not self._run(plan, self.stream(), workspace, *arrays):
            # Some array starts between 16-byte boundaries: take a version that only needs whole elements.
            plan = plans.get((self.device, op, problem, dtype, 1)) or self.plan(op, problem, dtype, 1)
            workspace = self.workspace(plan.workspace) if plan.workspace else None
            self._run(plan, self.stream(), workspace, *arrays)


class CudaBackend(Backend):
    """One GPU, through CuPy. Arrays and workspaces come from CuPy's pool, launches go to its current stream."""

    def __init__(self, ordinal: int, cupy, module):
        self.ordinal = ordinal
        super().__init__(
            f"cuda:{ordinal}" if ordinal else "cuda", cupy, module, int(cupy.cuda.Device(ordinal).compute_capability)
        )

    def empty(self, shape, dtype):
        with self.xp.cuda.Device(self.ordinal):
            return self.xp.empty(shape, dtype)

    def to_device(self, array):
        with self.xp.cuda.Device(self.ordinal):
            return self.xp.asarray(array)

    def read(self, array):
        return self.xp.asnumpy(array)

    @property
    def reads_are_free(self) -> bool:
        return False

    def write(self, target, values):
        target.set(np.ascontiguousarray(values, target.dtype))  # a copy; an assignment would compile a kernel

    def stream(self) -> int:
        return self.xp.cuda.get_current_stream().ptr

    def workspace(self, size: int):
        return self.empty((size,), np.uint8)  # the pool orders reuse by stream


@cache
def cpu() -> Backend:
    """The CPU's backend."""
    path = os.environ.get("PYCNN_CPU_MODULE")  # another build of pycnn._cpu, e.g. the checked one
    try:
        if not path:
            return Backend("cpu", np, importlib.import_module("._cpu", __package__))
        loader = ExtensionFileLoader("_cpu", path)
        module = importlib.util.module_from_spec(ModuleSpec("_cpu", loader, origin=path))
        loader.exec_module(module)
        return Backend("cpu", np, module)
    except ImportError as error:
        raise DeviceError(f"pycnn._cpu cannot be loaded ({error}); build it with: pip install .") from error


@cache
def cuda(ordinal: int = 0) -> CudaBackend:
    """A GPU's backend.

    Raises:
        DeviceError: pycnn._cuda, CuPy, the driver or the GPU is missing; the message says which and what to do.
    """
    try:
        from . import _cuda
    except ImportError as error:
        raise DeviceError(
            f"device 'cuda': pycnn was built without CUDA ({error}); install nvcc and run: PYCNN_CUDA=ON pip install ."
        ) from error
    try:
        import cupy
    except ImportError as error:
        raise DeviceError("device 'cuda': CuPy is missing; run: pip install cupy-cuda13x (or cupy-cuda12x)") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"device 'cuda': no usable NVIDIA driver or GPU ({error})") from error
    if ordinal >= count:
        raise DeviceError(f"device 'cuda:{ordinal}': there are {count} GPUs")
    return CudaBackend(ordinal, cupy, _cuda)


_default_device: ContextVar[str] = ContextVar("pycnn_default_device", default="cpu")


def set_default_device(device: str) -> None:
    """Make `device` the one new Tensors and Parameters are put on when none is named (at first "cpu").

    Raises:
        DeviceError: the device cannot be used here.
    """
    _default_device.set(get(device).device)


def get_default_device() -> str:
    """The device new Tensors are put on when none is named."""
    return _default_device.get()


@lru_cache(maxsize=64)
def get(device: str) -> Backend:
    """The backend of 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        DeviceError: no such device, or it cannot be used here.
    """
    if device == "cpu":
        return cpu()
    kind, _, ordinal = str(device).partition(":")
    if kind == "cuda" and (ordinal.isdigit() or not ordinal):
        return cuda(int(ordinal or 0))
    raise DeviceError(f"unknown device {device!r}; it must be 'cpu', 'cuda' or 'cuda:N'")


def of(array) -> Backend:
    """The backend an array lives on."""
    if isinstance(array, np.ndarray):
        return cpu()
    if is_cupy(array):
        return cuda(array.device.id)
    raise DTypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")


HOST_MEMORY, GPU_MEMORY = (1, 3), (2, 13)  # DLPack's kinds of devices: CPU and pinned; CUDA and managed


def from_dlpack(array):
    """A NumPy or CuPy array around the memory of another library's array. On a GPU the producer makes CuPy's current stream
    wait for what it has still to compute.

    Raises:
        DTypeError: `array` does not speak DLPack.
        DeviceError: its memory is of a kind that pycnn has no backend for, or it is read-only on a GPU.
    """
    producer = dlpack.Producer(array)
    kind, ordinal = map(int, producer.__dlpack_device__())
    if kind in HOST_MEMORY:
        return producer.taken(np.from_dlpack(producer))
    if kind not in GPU_MEMORY:
        raise DeviceError(f"from_dlpack: DLPack device type {kind} is neither CPU nor CUDA memory")
    taken = producer.taken(cuda(ordinal).xp.from_dlpack(producer))
    if producer.read_only:
        raise DeviceError("from_dlpack: the array is read-only, which CuPy cannot keep; copy it first")
    return taken


def adopt(array):
    """A NumPy or CuPy array itself, another library's as one that shares its memory, anything else as it is."""
    if isinstance(array, np.ndarray) or is_cupy(array):
        return array
    if hasattr(array, "__dlpack__"):
        return from_dlpack(array)
    if hasattr(array, "__cuda_array_interface__"):
        return cuda().xp.asarray(array)  # waits for the stream that the interface names
    return array


def is_cupy(array) -> bool:
    """Whether it is a CuPy array; CuPy is not imported for that."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def set_num_threads(count: int) -> None:
    """Let the CPU backend use `count` threads. Results do not depend on it.

    Raises:
        ValueError: `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"set_num_threads: count must be at least 1, got {count}")
    cpu().module.set_num_threads(count)


def get_num_threads() -> int:
    """How many threads the CPU backend uses."""
    return cpu().module.get_num_threads()
