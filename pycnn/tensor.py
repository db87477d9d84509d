"""Tensor, Function and the backward pass.

A :class:`Tensor` is an array with a layout and, perhaps, a place in a graph. A :class:`Function` is one op: it runs kernels
forward, keeps what it saves, and is itself the graph's node. Edges lead from node to node, never to Tensors, so an
intermediate Tensor is freed as soon as nobody holds it.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from contextvars import ContextVar

import numpy as np

from . import backend as backends
from .errors import DeviceError, DTypeError, GraphError, ShapeError

_grad_enabled: ContextVar[bool] = ContextVar("pycnn_grad_enabled", default=True)
_sequence = itertools.count()


class no_grad:
    """Context manager and decorator under which no graph is recorded."""

    def __enter__(self):
        self._outer = (*getattr(self, "_outer", ()), _grad_enabled.get())
        _grad_enabled.set(False)
        return self

    def __exit__(self, *_):
        *rest, outer = self._outer
        self._outer = tuple(rest)
        _grad_enabled.set(outer)

    def __call__(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with no_grad():
                return function(*args, **kwargs)

        return wrapped


def is_grad_enabled() -> bool:
    """Whether ops record a graph at the moment."""
    return _grad_enabled.get()


# ---- the one translation between what users see (N,C,H,W) and memory (N,H,W,C) --------------------------------------


def to_memory(array, layout: str):
    """An array in logical order (N,C,H,W for images) as it lies in memory."""
    if layout == "image":
        if array.ndim != 4:
            raise ShapeError(f"layout 'image' needs 4 axes (N, C, H, W), got shape {array.shape}")
        array = array.transpose(0, 2, 3, 1)
    return np.asarray(array, order="C") if isinstance(array, np.ndarray) else array.copy("C")


def to_logical(array, layout: str):
    """A memory array in logical order, as a view."""
    return array.transpose(0, 3, 1, 2) if layout == "image" else array


class Tensor:
    """An n-dimensional array that gradients can flow through.

    Args:
        array: anything NumPy understands, or a CuPy array; images are (N, C, H, W).
        requires_grad: whether `backward` computes its gradient.
        device: "cpu", "cuda" or "cuda:N"; left out, the default device ("cpu" unless set_default_device named another).
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
        if isinstance(array, Tensor):
            array = array.numpy()
        backend = backends.get(device or backends.get_default_device())
        if not isinstance(array, backend.xp.ndarray):
            given = isinstance(array, (np.ndarray, np.generic))
            array = np.asarray(array, dtype)
            if dtype is None and not given and array.dtype == np.float64:
                array = array.astype(np.float32)
            array = backend.to_device(to_memory(array, layout))
        else:
            array = to_memory(array if dtype is None else array.astype(dtype), layout)
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
        """Its values on the host, in logical order. A plain CPU Tensor shares its memory; others are copied."""
        return np.asarray(to_logical(self.backend.to_host(self.data), self.layout), order="C")

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

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
        return Tensor.from_memory(target.to_device(self.backend.to_host(self.data)), self.layout, self.requires_grad)

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
            self.backend.run("copy", (shared.size, 0), shared.dtype, shared, self._grad)
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
            self.backend.run("copy", (array.size, int(accumulate)), array.dtype, array, buffer)

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
    """Walk the graph from `root`, later nodes first, so that a node runs once all its consumers have."""
    leaf_edges = _count_leaf_edges(root)
    root._pass_grad(index, gradient)
    heap = [(-root.sequence, root)]
    queued = {root}
    while heap:
        _, node = heapq.heappop(heap)
        for target, _ in filter(None, node.edges):
            if isinstance(target, Function) and target not in queued:
                queued.add(target)
                heapq.heappush(heap, (-target.sequence, target))
        node._run_backward(retain_graph)
        for target, _ in filter(None, node.edges):
            if isinstance(target, Tensor):
                leaf_edges[target] -= 1
                if not leaf_edges[target]:
                    for hook in target._hooks or ():
                        hook(target)
        if not retain_graph:
            node.free()


def _count_leaf_edges(root: Function) -> dict:
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
        outputs = self.forward(*[None if t is None else t.data for t in inputs])
        layout = self.layout or first.layout
        results = outputs if isinstance(outputs, tuple) else (outputs,)
        if recording:
            self.sequence = next(_sequence)
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
            self.backend.run("copy", (held.size, 0), held.dtype, held, fresh)
        return self.grads[index], True

    def _pass_grad(self, index, array):
        if self.grads[index] is None:
            self.grads[index], self.shared[index] = array, True
        else:
            buffer, _ = self._grad_buffer(index)
            self.backend.run("copy", (array.size, 1), array.dtype, array, buffer)

    def _run_backward(self, retain_graph: bool) -> None:
        for parameter, changes in self.changes:
            if parameter.changes != changes:
                raise GraphError(f"backward: a parameter of shape {parameter.shape} was changed after {self.name} used it")
        grads, self.grads = self.grads, [None] * len(self.grads)
        self.shared = [False] * len(self.grads)
        if any(g is not None for g in grads):
            self.backward(*grads)

    def free(self) -> None:
        """Drop what was saved; the node cannot be used again."""
        self.saved, self.edges, self.changes, self.freed = (), (), [], True


class Parameter(Tensor):
    """A Tensor that a model learns. `changes` counts its updates; a backward through an older value is refused."""

    __slots__ = ("changes",)

    def __init__(self, array, requires_grad: bool = True, device: str | None = None, **options):
        super().__init__(array, requires_grad, device, **options)
        self.changes = 0


class Buffer(Tensor):
    """A Tensor that belongs to a model's state but is not learned (running statistics)."""

    __slots__ = ()
