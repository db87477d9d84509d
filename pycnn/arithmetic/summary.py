"""A model's layers with their arithmetic, as torchinfo lists them, and the formulas beside the numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np

from ..models import create_model, registry
from ..nn import Module, init
from ..nn import layers as own_layers
from ..tensor import Parameter, Tensor, no_grad
from .ops import product_formula
from .tape import Call, Field, Step, Tape

MOVES = ("reshape", "flatten", "permute", "cast")


@dataclass(frozen=True)
class Row:
    """One layer, one op called without a layer, or a module that holds others.

    Attributes:
        type: class of the layer, or name of the op.
        name: what the enclosing module calls it, "" for an op.
        path: the layer's path in the model, that of the enclosing module for an op.
        depth, index: place in the tree, torchinfo's depth-idx.
        container: it has rows of its own below it; its counts are their sums.
        input_shape, output_shape: logical, (N, C, H, W) for images.
        size_formula: the output's size with its numbers, "" where it is the input's.
        parameters: how many it learns, those of a layer used before left out.
        parameters_formula: the same as products of extents.
        macs: multiply-adds.
        flops: floating-point operations, counted as :mod:`pycnn.arithmetic.ops` says.
        output_bytes: what its results take while training, 0 for a view.
        im2col_bytes: the column matrix of one image, if the convolution is done as a product of matrices.
        receptive_field: (height, width) in pixels of the model's input that one output sees, padding counted.
        stride: (vertical, horizontal) pixels from one output to the next; None where there is no next one.
        repeated: the layer ran before; its parameters are counted there.
    """

    type: str
    name: str
    path: str
    depth: int
    index: int
    container: bool
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    size_formula: str
    parameters: int
    parameters_formula: str
    macs: int
    flops: int
    output_bytes: int
    im2col_bytes: int
    receptive_field: tuple[int, int] | None
    stride: tuple[float, float] | None
    repeated: bool


@dataclass(frozen=True)
class Summary:
    """The rows of a model and their totals; ``str()`` is a table, :func:`pycnn.arithmetic.table.render` has other formats.

    Attributes:
        model: its name.
        input_shape: (N, C, H, W).
        rows: :class:`Row` by :class:`Row`, in the order of execution, the model itself first.
        parameters: all that the model learns, whether this pass ran it or not.
        trainable: those with ``requires_grad``.
        not_run: layers with parameters that a pass in evaluation mode leaves out (auxiliary heads).
        macs, flops: sums over the layers.
        activations: numbers in the input and in every layer's output; what works element by element, and batch norm, counts as
            done in place. This is the count of papers and courses.
        input_bytes, parameter_bytes: of the input and of the parameters.
        inference_bytes: the most that inputs and outputs of ops take at one time if each array is freed after the last op that
            reads it. Parameters and workspaces come on top.
        training_bytes: the input and every array that an op makes, all kept until the backward pass; nothing is in place.
        im2col_bytes: the largest column matrix of one image.
    """

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    not_run: tuple[str, ...]
    macs: int
    flops: int
    activations: int
    input_bytes: int
    parameter_bytes: int
    inference_bytes: int
    training_bytes: int
    im2col_bytes: int

    def __str__(self):
        from .table import render

        return render(self)

    def asdict(self) -> dict:
        """Everything as plain values, for JSON."""
        return asdict(self)

    def row(self, path: str, type: str | None = None) -> Row:
        """The first row at a path, or of an op (`type`) that ran there.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.path == path and type in (None, row.type):
                return row
        raise KeyError(f"{self.model} has no row {path!r}" + (f" of type {type!r}" if type else ""))


class _Rows:
    """Makes rows of a tape's calls and steps."""

    def __init__(self, tape: Tape):
        self.rows: list[Row] = []
        self.counted: set[int] = set()
        self.indices: dict[int, int] = {}
        self.activations = 0
        if tape.root is not None:
            self.add_call(tape.root, 0, "")

    def _index(self, depth: int) -> int:
        self.indices[depth] = self.indices.get(depth, 0) + 1
        return self.indices[depth]

    def _count(self, parameters) -> tuple[int, str, bool]:
        """Number, formula, and whether they were all counted before."""
        fresh = [p for p in {id(p): p for p in parameters}.values() if id(p) not in self.counted]
        self.counted |= {id(p) for p in fresh}
        repeated = bool(parameters) and not fresh
        return sum(p.size for p in fresh), product_formula([p.shape for p in fresh]), repeated

    def _add(self, steps: list[Step], parameters, **known) -> None:
        """One row for steps that belong together; the one that computes gives the formula."""
        main = next((s for s in steps if s.part.op not in MOVES), steps[0] if steps else None)
        number, formula, repeated = self._count(parameters)
        seen = known.pop("seen", None) or (steps[-1].seen if steps else None)
        itemsize = steps[-1].itemsize if steps else 4
        self.activations += sum(0 if s.part.in_place else s.part.stored for s in steps)
        row = Row(
            container=False, size_formula=main.part.size if main else "", parameters=number, parameters_formula=formula,
            macs=sum(s.part.macs for s in steps), flops=sum(s.part.flops for s in steps),
            output_bytes=known.pop("output_bytes", sum(s.part.stored * s.itemsize for s in steps)),
            im2col_bytes=max((s.part.columns * itemsize for s in steps), default=0),
            receptive_field=None if seen is None else seen.size,
            stride=_stride(seen),
            repeated=repeated, **known,
        )  # fmt: skip
        self.rows.append(row)

    def add_call(self, call: Call, depth: int, name: str) -> None:
        """A module: one row if it is a layer, else a row and those of what ran inside."""
        steps = [s for s in call.inside if isinstance(s, Step)]
        computing = [s for s in steps if s.part.op not in MOVES]
        is_layer = not any(True for _ in call.module.named_children()) and len(steps) == len(call.inside)
        if is_layer and (len(computing) <= 1 or type(call.module).__module__ == own_layers.__name__):
            own = [p for p in vars(call.module).values() if isinstance(p, Parameter)]
            known = {} if steps else {"output_bytes": _dropped(call)}
            self._add(
                steps, [*own, *(p for s in steps for p in s.parameters)], type=type(call.module).__name__, name=name,
                path=call.path, depth=depth, index=self._index(depth), input_shape=call.input, output_shape=call.output,
                seen=call.seen, **known,
            )  # fmt: skip
            return
        place, index = len(self.rows), self._index(depth)
        waiting: list[Step] = []
        for item in call.inside:
            if isinstance(item, Call):
                self.add_call(item, depth + 1, _below(call.path, item.path))
            elif item.hidden:
                waiting.append(item)
            else:
                self._add_step([*waiting, item], call, depth + 1)
                waiting = []
        if waiting:
            self._add_step(waiting, call, depth + 1)
        inside = [row for row in self.rows[place:] if not row.container]
        self.rows.insert(place, Row(
            type=type(call.module).__name__, name=name, path=call.path, depth=depth, index=index, container=True,
            input_shape=call.input, output_shape=call.output, size_formula="", parameters_formula="",
            **{key: sum(getattr(row, key) for row in inside) for key in ("parameters", "macs", "flops", "output_bytes")},
            im2col_bytes=max((row.im2col_bytes for row in inside), default=0),
            receptive_field=None if call.seen is None else call.seen.size,
            stride=_stride(call.seen),
            repeated=False,
        ))  # fmt: skip

    def _add_step(self, steps: list[Step], call: Call, depth: int) -> None:
        """An op called without a layer, or with the parameters of a layer that was not called itself."""
        step = steps[-1]
        layer = step.owner is not None
        self._add(
            steps, [p for s in steps for p in s.parameters], type=type(step.owner).__name__ if layer else step.part.op,
            name=_below(call.path, step.path) if layer else "", path=step.path if layer else call.path, depth=depth,
            index=self._index(depth), input_shape=steps[0].input, output_shape=step.part.output,
        )  # fmt: skip


def _below(outer: str, inner: str) -> str:
    """A path as seen from a module that encloses it."""
    return inner.removeprefix(f"{outer}.") if outer else inner


def _stride(seen: Field | None) -> tuple[float, float] | None:
    return None if seen is None or seen.jump is None else (_number(seen.jump[0]), _number(seen.jump[1]))


def _number(fraction: Fraction) -> float:
    return int(fraction) if fraction.denominator == 1 else float(fraction)


def _dropped(call: Call) -> int:
    """Bytes of what dropout makes while training, though evaluation mode skips it."""
    active = isinstance(call.module, own_layers.Dropout | own_layers.DropPath) and call.module.p > 0
    return int(np.prod(call.output)) * call.itemsize if active else 0


class _Evaluating:
    """Context manager: a model in evaluation mode; afterwards each module is as it was."""

    def __init__(self, model: Module):
        self.modules = list(model.modules())

    def __enter__(self):
        self.before = [(vars(module).get("training")) for module in self.modules]
        for module in self.modules:
            module.training = False

    def __exit__(self, *_):
        for module, training in zip(self.modules, self.before, strict=True):
            if training is None:
                del module.training
            else:
                module.training = training


def image_size(model: Module) -> tuple[int, int, int]:
    """(C, H, W) of the images that a registered model was designed for.

    Raises:
        ValueError: its class is not registered, or for several sizes.
    """
    sizes = {entry.image for entry in map(registry.entry, registry.list_models()) if entry.build is type(model)}
    if len(sizes) != 1:
        raise ValueError(f"size: {type(model).__name__} is not registered with one image size; give size=(C, H, W)")
    return sizes.pop()


def summary(model: Module | str, size: tuple[int, ...] | None = None, name: str | None = None) -> Summary:
    """Run a model once on zeros, in evaluation mode and without a graph, and list what it does; it is left as it was.

    Args:
        model: a Module, or the name of a registered one.
        size: (C, H, W) or (N, C, H, W) of its input; left out, the size that a registered model was designed for.
        name: what to call it; left out, its registered name or its class.

    Raises:
        ValueError: `size` is neither of the two, or is missing for a model that is not registered; there is no such model.
        ShapeError: the model does not take such images.
    """
    if isinstance(model, str):
        with init.skip():
            built = create_model(model)
        return summary(built, size or registry.entry(model).image, name or model)
    size = tuple(image_size(model) if size is None else size)
    if len(size) not in (3, 4) or not all(isinstance(extent, int | np.integer) and extent > 0 for extent in size):
        raise ValueError(f"size must be (C, H, W) or (N, C, H, W), positive integers, got {size!r}")
    shape = tuple(map(int, size if len(size) == 4 else (1, *size)))
    parameters = list(model.parameters())
    first = next(iter(parameters), None)
    zeros = np.zeros(shape, np.float32 if first is None else first.dtype)
    image = Tensor(zeros, device=None if first is None else first.device, layout="image")
    tape = Tape(model, image)
    with _Evaluating(model), no_grad(), tape:
        model(image)
    found = _Rows(tape)
    layers = [row for row in found.rows if not row.container]
    not_run = [path for path, p in model.named_parameters() if id(p) not in found.counted]
    return Summary(
        model=name or type(model).__name__, input_shape=shape, rows=tuple(found.rows),
        parameters=sum(p.size for p in parameters), trainable=sum(p.size for p in parameters if p.requires_grad),
        not_run=tuple(dict.fromkeys(path.rpartition(".")[0] or path for path in not_run)),
        macs=sum(row.macs for row in layers), flops=sum(row.flops for row in layers),
        activations=image.size + found.activations, input_bytes=image.data.nbytes,
        parameter_bytes=sum(p.data.nbytes for p in parameters), inference_bytes=tape.peak,
        training_bytes=image.data.nbytes + sum(row.output_bytes for row in layers),
        im2col_bytes=max((row.im2col_bytes for row in layers), default=0),
    )  # fmt: skip
