"""Tensor, Function and the backward pass.

A :class:`Tensor` is an array with a layout and, perhaps, a place in a graph. A :class:`Function` is one op: it runs kernels
forward, keeps what it saves, and is itself the graph's node. Edges lead from node to node, never to Tensors, so an
intermediate Tensor is freed as soon as nobody holds it.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Sequence
from contextvars import ContextVar

import numpy as np

from . import backend as backends
from . import dlpack
from .errors import DeviceError, DTypeError, GraphError, ShapeError

_grad_enabled: ContextVar[bool] = ContextVar("pycnn_grad_enabled", default=True)
recomputing: ContextVar[bool] = ContextVar("pycnn_recomputing", default=False)  # a forward pass that is made for a second time
next_in_sequence = functools.partial(next, itertools.count())  # a node's age


class no_grad:
    """Context manager and decorator under which no graph is recorded."""

    recording = False

    def __enter__(self):
        self._outer = (*getattr(self, "_outer", ()), _grad_enabled.get())
        _grad_enabled.set(self.recording)
        return self

    def __exit__(self, *_):
        *rest, outer = self._outer
        self._outer = tuple(rest)
        _grad_enabled.set(outer)

    def __call__(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)

        return wrapped


class enable_grad(no_grad):
    """Context manager and decorator under which the graph is recorded, inside of :class:`no_grad`, too."""

    recording = True


def is_grad_enabled() -> bool:
    """Whether ops record a graph at the moment."""
    return _grad_enabled.get()


_observer: ContextVar[Observer | None] = ContextVar("pycnn_observer", default=None)


class Observer:
    """Context manager that is told of every op and every module's call in its thread; a subclass overrides what it wants to see.

    The inner one of two sees what runs inside both.
    """

    def __enter__(self):
        self._outer = _observer.set(self)
        return self

    def __exit__(self, *_):
        _observer.reset(self._outer)

    def ran(self, function: Function, inputs: tuple, outputs: list[Tensor]) -> None:
        """An op has run forward; `inputs` are Tensors or None."""

    def entered(self, module, inputs: tuple) -> None:
        """A module is being called."""

    def left(self, module, outputs) -> None:
        """A module's call has returned."""


def current_observer() -> Observer | None:
    """The observer whose ``with`` block this is, or None."""
    return _observer.get()


# ---- the one translation between what users see (N,C,H,W) and memory (N,H,W,C) --------------------------------------


def to_memory(array, layout: str):
    """An array in logical order (N,C,H,W for images) as it lies in memory."""
    if layout == "image":
        if array.ndim != 4:
            raise ShapeError(f"layout 'image' needs 4 axes (N, C, H, W), got shape {array.shape}")
        array = array.transpose(0, 2, 3, 1)
    if isinstance(array, np.ndarray):
        if (array.flags.c_contiguous and array.flags.aligned) or array.dtype not in backends.STORAGE:
            return array
        copy = backends.cpu().empty(array.shape, array.dtype)  # starts with a cache line, where NumPy's may not: no vector in two
        copy[...] = array
        return copy
    return array if array.flags.c_contiguous else array.copy("C")


def to_logical(array, layout: str):
    """A memory array in logical order, as a view."""
    return array.transpose(0, 3, 1, 2) if layout == "image" else array


# ---- slices of channels ---------------------------------------------------------------------------------------------
#
# An array (a Tensor's, or a gradient) is dense, in C order of its memory axes, or a view of channels of a wider array: then one
# stride differs, the pitch from pixel to pixel. `split` and `narrow` make such views in forward, `concat` in backward, so that no
# element moves. A Function names the inputs that it takes as slices in `takes_slices` (and then gets gradients as slices, too);
# all others are handed dense copies, made by :func:`dense` each time and kept nowhere. Gradient buffers are always dense.


def copy_rows(backend, x, y, accumulate: bool = False) -> None:
    """y = x or y += x, where both have one shape and each may be a slice of channels."""
    if not x.size:
        return
    if x.dtype.kind in "iu" and x.itemsize > 1:  # moved as floats of the same size
        x, y = (array.view(f"f{array.itemsize}") for array in (x, y))
    channels = x.shape[-1]
    x, y = x.reshape(-1, channels), y.reshape(-1, channels)
    backend.run("copy_rows", (len(x), channels, int(accumulate)), x.dtype, x, y)


def dense(backend, array):
    """`array` itself, or a dense copy of it if it is a slice of channels."""
    if array.flags.c_contiguous:
        return array
    copy = backend.empty(array.shape, array.dtype)
    copy_rows(backend, array, copy)
    return copy


def _add_gradient(backend, array, buffer, accumulate: bool) -> None:
    """Write or add a gradient, perhaps a slice, into a dense buffer."""
    if array.flags.c_contiguous:
        backend.run("copy", (array.size, int(accumulate)), array.dtype, array, buffer)
    else:
        copy_rows(backend, array, buffer, accumulate)


class Tensor:
    """An n-dimensional array that gradients can flow through.

    An array's memory is shared, not copied, if it lies as `layout` wants it on the device asked for and has the type: one in C
    order for "plain", a transposed view of (N, H, W, C) or PyTorch's channels_last for "image". One that may only be read
    (NumPy's `writeable` flag) is refused where a kernel would write into it.

    Args:
        array: anything NumPy understands, a CuPy array, or an array with ``__dlpack__`` (PyTorch's, JAX's) or
            ``__cuda_array_interface__``; images are (N, C, H, W).
        requires_grad: whether `backward` computes its gradient.
        device: "cpu", "cuda" or "cuda:N"; left out, where `array` is if that is a GPU, else the default device
            ("cpu" unless set_default_device named another).
        dtype: storage type; Python numbers become float32.
        layout: how it lies in memory: "plain" (C order) or "image" (N, H, W, C). Ops convert where they must.

    Raises:
        DTypeError: the type is not one pycnn stores, or an integer Tensor is to require a gradient.
        DeviceError: the device does not exist here.
    """

    __slots__ = (
        "data",
        "layout",
        "requires_grad",
        "node",
        "index",
        "_grad",
        "_grad_ready",
        "_grad_shared",
        "_hooks",
        "__weakref__",
    )

    def __init__(self, array, requires_grad: bool = False, device: str | None = None, *, dtype=None, layout: str = "plain"):
        array = to_logical(array.data, array.layout) if isinstance(array, Tensor) else backends.adopt(array)
        if isinstance(array, np.ndarray | np.generic):
            array = np.asarray(array, dtype)
        elif backends.is_cupy(array):
            array = array if dtype is None else array.astype(dtype, copy=False)
        else:
            array = np.asarray(array, dtype)
            if dtype is None and array.dtype == np.float64:
                array = array.astype(np.float32)
        array = to_memory(array, layout)
        source = backends.of(array)
        default = backends.get_default_device() if source is backends.cpu() else source.device
        backend = backends.get(device or default)
        if source is not backend:
            array = backend.to_device(source.to_host(array))
        if array.dtype not in backends.STORAGE:
            raise DTypeError(
                f"Tensor: dtype {array.dtype} is not stored by pycnn; use one of {', '.join(backends.STORAGE.values())}"
            )
        self._set(array, layout, requires_grad)

    def _set(self, data, layout, requires_grad=False, node=None, index=0):
        if requires_grad and data.dtype.kind in "iu":
            raise DTypeError(f"only floating-point Tensors can require gradients, this one is {data.dtype}")
        self.data, self.layout, self.requires_grad = data, layout, requires_grad
        self.node, self.index = node, index
        self._grad, self._grad_ready, self._grad_shared, self._hooks = None, False, False, None

    @classmethod
    def from_memory(cls, data, layout: str, requires_grad: bool = False) -> Tensor:
        """A Tensor around an array that already lies in memory order; nothing is copied."""
        tensor = cls.__new__(cls)
        tensor._set(data, layout, requires_grad)
        return tensor

    # ---- what it is ----

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in logical order: (N, C, H, W) for an image."""
        if self.layout == "image":
            n, h, w, c = self.data.shape
            return (n, c, h, w)
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        """Storage type."""
        return self.data.dtype

    @property
    def backend(self) -> backends.Backend:
        """The backend its array lives on."""
        return backends.of(self.data)

    @property
    def device(self) -> str:
        """'cpu', 'cuda' or 'cuda:N'."""
        return self.backend.device

    @property
    def is_leaf(self) -> bool:
        """Whether it is an input of the graph and not an op's result."""
        return self.node is None

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{type(self).__name__}({self.numpy()!r}, device={self.device!r}{grad})"

    # ---- out of it ----

    def numpy(self) -> np.ndarray:
        """Its values on the host, in logical order. A CPU Tensor shares its memory (an image as a transposed view), and whoever
        writes into it writes into the Tensor; a slice of channels, and a Tensor on a GPU, is copied. Other than PyTorch's, it may
        require a gradient."""
        return to_logical(self.backend.to_host(dense(self.backend, self.data)), self.layout)

    def __array__(self, dtype=None, copy=None):
        """For ``np.asarray(tensor)`` and ``np.array(tensor)``.

        Raises:
            ValueError: `copy` is False, but the Tensor is on a GPU, a slice of channels or of another type.
        """
        array = self.numpy()
        moved = self.backend is not backends.cpu() or not self.data.flags.c_contiguous
        if copy is False and (moved or dtype not in (None, array.dtype)):
            raise ValueError(f"a Tensor of {self.dtype} on {self.device} cannot become a NumPy array of {dtype} without a copy")
        if copy and not moved:
            return np.array(array, dtype)
        return array if dtype is None else array.astype(dtype, copy=False)

    # Other libraries take a Tensor with their from_dlpack(), asarray() or as_tensor(); what they get shares its memory in
    # logical order, an image as a channels_last array. On a GPU the streams are CuPy's affair: what pycnn has still to compute
    # is on CuPy's current stream, which both protocols name to the consumer. To compute on another library's stream, make it
    # CuPy's: with cupy.cuda.Stream.from_external(torch.cuda.current_stream()): ...

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A DLPack capsule of its memory.

        Raises:
            GraphError: it requires a gradient.
            BufferError: it cannot be shared as asked (on that device, without a copy, or read-only with an old `max_version`).
        """
        array = to_logical(self._exported("__dlpack__"), self.layout)
        return dlpack.export(array, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's type and number of its device."""
        return self.data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict:
        """Version 3, with the stream, of a Tensor on a GPU; absent on the CPU and for bfloat16, which the interface lacks.

        Raises:
            GraphError: it requires a gradient.
        """
        if self.backend is backends.cpu() or self.dtype == backends.bfloat16:
            raise AttributeError(f"a Tensor of {self.dtype} on {self.device} has no __cuda_array_interface__")
        return to_logical(self._exported("__cuda_array_interface__"), self.layout).__cuda_array_interface__

    def _exported(self, name: str):
        """Its array, for a library that knows nothing of gradients."""
        if self.requires_grad:
            raise GraphError(f"{name}: a Tensor that requires a gradient cannot be shared with another library; use .detach()")
        return self.data

    def item(self):
        """The value of a Tensor of one element, as a Python number.

        Raises:
            ShapeError: it has more or fewer elements.
        """
        if self.size != 1:
            raise ShapeError(f"item() needs exactly one element, this Tensor has shape {self.shape}")
        return self.backend.to_host(self.data).item()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def detach(self) -> Tensor:
        """The same values outside the graph; memory is shared."""
        return Tensor.from_memory(self.data, self.layout)

    def to(self, device: str) -> Tensor:
        """The same values on another device, outside the graph (itself when it is there already)."""
        target = backends.get(device)
        if target is self.backend:
            return self
        array = target.to_device(self.backend.to_host(dense(self.backend, self.data)))
        return Tensor.from_memory(array, self.layout, self.requires_grad)

    # ---- gradients ----

    @property
    def grad(self) -> Tensor | None:
        """The gradient `backward` summed up for this leaf, or None."""
        return Tensor.from_memory(self._grad, self.layout) if self._grad_ready else None

    @grad.setter
    def grad(self, value):
        if value is None:
            self.zero_grad()
        elif value.shape != self.shape:
            raise ShapeError(f"grad has shape {value.shape}, must be {self.shape}")
        else:
            buffer, _ = self._grad_buffer(0)
            self.backend.write(buffer, to_memory(value.numpy(), self.layout))

    def zero_grad(self) -> None:
        """Forget the gradient. The next `backward` overwrites it."""
        self._grad_ready = False
        if self._grad_shared:
            self._grad, self._grad_shared = None, False

    def use_grad_memory(self, array) -> None:
        """Keep the gradient in `array` (an optimiser's flat slot) from now on."""
        self._grad, self._grad_ready, self._grad_shared = array, False, False

    def register_hook(self, hook) -> None:
        """Call `hook(tensor)` whenever a `backward` has finished this leaf's gradient."""
        self._hooks = (*(self._hooks or ()), hook)

    # A leaf is the last node of its edges: the same two methods as Function's.

    def _grad_buffer(self, _index):
        if self._grad_ready and self._grad_shared:
            shared, self._grad = self._grad, self.backend.empty(self.data.shape, self.data.dtype)
            _add_gradient(self.backend, shared, self._grad, False)
            self._grad_shared = False
            return self._grad, True
        if self._grad is None:
            self._grad = self.backend.empty(self.data.shape, self.data.dtype)
        accumulate, self._grad_ready = self._grad_ready, True
        return self._grad, accumulate

    def _pass_grad(self, index, array):
        if self._grad is None:
            self._grad, self._grad_ready, self._grad_shared = array, True, True
        else:
            buffer, accumulate = self._grad_buffer(index)
            _add_gradient(self.backend, array, buffer, accumulate)

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Compute the gradient of this Tensor with respect to every leaf that requires one and add it to ``leaf.grad``.

        Args:
            gradient: the gradient with respect to this Tensor, same shape; may be left out for a single element (1).
            retain_graph: keep what ops saved, so that the graph can be used again.

        Raises:
            GraphError: there is no graph, or it was used already.
            ShapeError: `gradient` is missing or has another shape.
        """
        if not self.requires_grad:
            raise GraphError("backward: this Tensor does not require a gradient (no input of its graph has requires_grad=True)")
        if gradient is None:
            if self.size != 1:
                raise ShapeError(
                    f"backward: a Tensor of shape {self.shape} needs an explicit gradient; only one element needs none"
                )
            start = self.backend.to_device(np.ones(self.data.shape, self.data.dtype))
        else:
            if gradient.shape != self.shape or gradient.dtype != self.dtype:
                raise ShapeError(
                    f"backward: gradient is {gradient.shape} {gradient.dtype}, must be {self.shape} {self.dtype} like the Tensor"
                )
            start = gradient.data
            if gradient.layout != self.layout:
                start = self.backend.to_device(to_memory(np.array(gradient.numpy()), self.layout))
        if self.node is None:
            self._pass_grad(0, start)
        else:
            _backward(self.node, self.index, start, retain_graph)


def _backward(root: Function, index: int, gradient, retain_graph: bool) -> None:
    """Compute the gradients of all leaves that `root` depends on, given that of its output `index`."""
    leaf_edges = count_leaf_edges(root)
    root._pass_grad(index, gradient)
    for node in run_nodes({root}, retain_graph=retain_graph):
        for target, _ in filter(None, node.edges):
            if isinstance(target, Tensor):
                leaf_edges[target] -= 1
                if not leaf_edges[target]:
                    for hook in target._hooks or ():
                        hook(target)


def run_nodes(roots: set, after: int = -1, retain_graph: bool = False):
    """Walk the graph from `roots`, which have their gradients, later nodes first, so that a node runs once all its consumers
    have. Nodes that are not younger than `after` only collect gradients. Yields each node that has run, then frees it."""
    heap = [(-node.sequence, node) for node in roots]
    heapq.heapify(heap)
    queued = set(roots)
    while heap:
        _, node = heapq.heappop(heap)
        for target, _ in filter(None, node.edges):
            if isinstance(target, Function) and target.sequence > after and target not in queued:
                queued.add(target)
                heapq.heappush(heap, (-target.sequence, target))
        node._run_backward(retain_graph)
        yield node
        if not retain_graph:
            node.free()


def count_leaf_edges(root: Function) -> dict:
    """How many edges of the graph lead into each leaf; refuses a graph that was used before."""
    counts: dict = {}
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        if node.freed:
            raise GraphError(
                f"backward: {type(node).__name__.strip('_')} was already used by a backward and its saved arrays are freed; "
                "run forward again, or pass retain_graph=True to the first backward"
            )
        for target, _ in filter(None, node.edges):
            if isinstance(target, Tensor):
                counts[target] = counts.get(target, 0) + 1
            elif target not in seen:
                seen.add(target)
                stack.append(target)
    return counts


class Function:
    """One op, forward and backward, and its node in the graph.

    A subclass holds the op's settings (set in ``__init__``) and defines ``forward(*arrays)``, which allocates outputs with
    ``self.empty``, runs kernels with ``self.run`` and keeps what it needs with ``self.save``, and ``backward(*gradients)``,
    which writes each needed input's gradient where ``self.grad_buffer(i)`` says, or hands one on with ``self.pass_grad``.
    Arrays are the backend's, in memory order. Called with Tensors (or None), it returns Tensors.
    """

    layout: str | None = None  # of the outputs; None: the first input's
    takes_slices: Sequence[int] = ()  # inputs that may be slices of channels; if any, so may be the gradients that arrive
    edges: tuple = ()
    saved: tuple = ()
    freed = False
    needs: tuple[bool, ...] = ()

    def forward(self, *arrays):
        """Compute the output array, or a tuple of them."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, *gradients):
        """Write the gradients of the inputs that need one. A gradient is None where that output was not used."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def __call__(self, *inputs: Tensor | None):
        first = next(t for t in inputs if t is not None)
        self.backend = backend = first.backend
        for i, t in enumerate(inputs):
            if t is None:
                continue
            if not isinstance(t, Tensor):
                raise DTypeError(f"{self.name}: input {i} is a {type(t).__name__}, must be a pycnn.Tensor")
            if t.backend is not backend:
                raise DeviceError(
                    f"{self.name}: input {i} is on {t.device}, the others are on {backend.device}; move it with .to()"
                )
        recording = _grad_enabled.get() and any(t is not None and t.requires_grad for t in inputs)
        self.needs = tuple(recording and t is not None and t.requires_grad for t in inputs)
        arrays = [None if t is None else t.data for t in inputs]
        for i, array in enumerate(arrays):
            if array is not None and not array.flags.c_contiguous and i not in self.takes_slices:
                arrays[i] = dense(backend, array)
        outputs = self.forward(*arrays)
        layout = self.layout or first.layout
        results = outputs if isinstance(outputs, tuple) else (outputs,)
        if recording:
            self.sequence = next_in_sequence()
            self.edges = tuple((t.node or t, t.index) if needed else None for t, needed in zip(inputs, self.needs, strict=True))
            self.specs = [(y.shape, y.dtype) for y in results]
            self.grads, self.shared = [None] * len(results), [False] * len(results)
            self.changes = [(t, t.changes) for t in inputs if getattr(t, "changes", None) is not None]
        else:
            self.saved = ()
        tensors = []
        for i, y in enumerate(results):
            tensor = Tensor.__new__(Tensor)
            floating = y.dtype.kind not in "iu"
            node = self if recording and floating else None
            tensor._set(y, layout if y.ndim == 4 else "plain", node is not None, node, i)
            tensors.append(tensor)
        if (observer := _observer.get()) is not None:
            observer.ran(self, inputs, tensors)
        return tuple(tensors) if isinstance(outputs, tuple) else tensors[0]

    # ---- for forward and backward ----

    @property
    def name(self) -> str:
        """The op's name in messages."""
        return type(self).__name__.strip("_").lower()

    def empty(self, shape, dtype):
        """A new uninitialised array on the inputs' device."""
        return self.backend.empty(shape, dtype)

    def run(self, op: str, problem: tuple, dtype, *arrays) -> None:
        """Run a kernel (see :meth:`pycnn.backend.Backend.run`)."""
        self.backend.run(op, problem, dtype, *arrays)

    def save(self, *arrays) -> None:
        """Keep arrays for backward as ``self.saved``."""
        if any(self.needs):
            self.saved = arrays

    def grad_buffer(self, i: int):
        """Where the gradient of input `i` belongs: (array, accumulate). The kernel writes = if accumulate is False, else +=."""
        target, index = self.edges[i]
        return target._grad_buffer(index)

    def pass_grad(self, i: int, array) -> None:
        """Hand a gradient on to input `i` unchanged. It is marked shared and never written into."""
        target, index = self.edges[i]
        target._pass_grad(index, array)

    # ---- the node ----

    def _grad_buffer(self, index):
        held = self.grads[index]
        if held is None or self.shared[index]:
            self.grads[index] = fresh = self.backend.empty(*self.specs[index])
            self.shared[index] = False
            if held is None:
                return fresh, False
            _add_gradient(self.backend, held, fresh, False)
        return self.grads[index], True

    def _pass_grad(self, index, array):
        if self.grads[index] is None:
            self.grads[index], self.shared[index] = array, True
        else:
            buffer, _ = self._grad_buffer(index)
            _add_gradient(self.backend, array, buffer, True)

    def _run_backward(self, retain_graph: bool) -> None:
        for parameter, changes in self.changes:
            if parameter.changes != changes:
                raise GraphError(f"backward: a parameter of shape {parameter.shape} was changed after {self.name} used it")
        grads, self.grads = self.grads, [None] * len(self.grads)
        self.shared = [False] * len(self.grads)
        if not self.takes_slices:
            grads = [None if g is None else dense(self.backend, g) for g in grads]
        if any(g is not None for g in grads):
            self.backward(*grads)

    def free(self) -> None:
        """Drop what was saved; the node cannot be used again."""
        self.saved, self.edges, self.changes, self.freed = (), (), [], True


class Parameter(Tensor):
    """A Tensor that a model learns; its arguments are those of :class:`Tensor`. `changes` counts its updates; a backward through
    an older value is refused."""

    __slots__ = ("changes",)

    def __init__(self, array, requires_grad: bool = True, device: str | None = None, **options):
        super().__init__(array, requires_grad, device, **options)
        self.changes = 0


class Buffer(Tensor):
    """A Tensor that belongs to a model's state but is not learned (running statistics)."""

    __slots__ = ()


def from_dlpack(array, *, copy: bool | None = None) -> Tensor:
    """Another library's array (PyTorch's, CuPy's, JAX's, NumPy's) as a Tensor on the same device.

    Memory is shared where it lies in C order (layout "plain") or is a channels_last image (layout "image"); anything else is
    copied into C order. It lives as long as the Tensor, whichever of the two is dropped first.

    Args:
        array: has ``__dlpack__`` and ``__dlpack_device__``.
        copy: True: never share; False: never copy.

    Raises:
        DTypeError: `array` does not speak DLPack, or its type is none that pycnn stores.
        DeviceError: its memory is of a kind that pycnn has no backend for.
        BufferError: `copy` is False, but its strides need a copy.
    """
    found = backends.from_dlpack(array)
    image = found.ndim == 4 and not found.flags.c_contiguous and found.transpose(0, 2, 3, 1).flags.c_contiguous
    if copy is False and not (image or found.flags.c_contiguous):
        raise BufferError(f"from_dlpack: strides {found.strides} of shape {found.shape} need a copy, and copy is False")
    if copy:
        found = found.copy("K")
    return Tensor(found, device=backends.of(found).device, layout="image" if image else "plain")
