"""What a model does in one forward pass: the modules called, the ops run inside them, and the arrays between the ops."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from fractions import Fraction

from ..nn import Module
from ..ops.conv_bn import _BatchNormConv, _ConvBatchNorm
from ..tensor import Function, Observer, Parameter, Tensor
from .ops import Part, Window, is_layout_change, parts


@dataclass(frozen=True)
class Field:
    """What one element sees of the model's input, vertically and horizontally.

    Attributes:
        size: pixels of the receptive field; padding counts, so it can be larger than the image.
        jump: pixels of the input from one element to the next; None where there is no next one.
    """

    size: tuple[int, int] = (1, 1)
    jump: tuple[Fraction, Fraction] | None = (Fraction(1), Fraction(1))

    def through(self, window: Window, extent: tuple[int, ...]) -> Field:
        """The field of an element that sees a window of elements with this field, in images of `extent` (H, W)."""
        if self.jump is None:
            return self
        reach = window.reach or extent
        height, width = (int(s + (r - 1) * j) for s, r, j in zip(self.size, reach, self.jump, strict=True))
        step = window.stride
        return Field((height, width), None if step is None else (self.jump[0] * step[0], self.jump[1] * step[1]))

    @staticmethod
    def largest(fields: list[Field]) -> Field:
        """Of branches that meet: the largest size and jump along each axis."""
        height, width = (max(f.size[axis] for f in fields) for axis in range(2))
        jumps = [f.jump for f in fields if f.jump is not None]
        return Field((height, width), (max(j[0] for j in jumps), max(j[1] for j in jumps)) if jumps else None)


@dataclass
class Value:
    """What is known of a Tensor: where its field lies, which array it is in, or which Parameters alone it was made of."""

    seen: Field | None = None
    array: int | None = None
    made_of: tuple[Parameter, ...] = ()


@dataclass
class Array:
    """An array between ops: its size, and the numbers of the op that makes it and of the last one that reads it."""

    nbytes: int
    made: int
    read: int


@dataclass
class Step:
    """One step of an op that ran. `path` and `owner` are those of the layer whose parameters it used, unless that layer was
    called itself: then the step lies inside that call."""

    part: Part
    input: tuple[int, ...]
    itemsize: int
    seen: Field | None
    parameters: tuple[Parameter, ...] = ()
    path: str = ""
    owner: Module | None = None
    hidden: bool = False  # nothing but a change of layout


@dataclass
class Call:
    """A module that was called, and what ran inside it, in order."""

    module: Module
    path: str
    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    itemsize: int = 4
    seen: Field | None = None
    inside: list[Call | Step] = field(default_factory=list)


class Tape(Observer):
    """Records a forward pass of `model` on `image`, which must run inside its ``with`` block.

    Attributes:
        root: the model's Call.
        arrays: those the pass went through, the model's input first.
        peak: bytes of the largest set of arrays alive at one op: its inputs, its outputs, and all that a later op reads.
    """

    def __init__(self, model: Module, image: Tensor):
        self.paths: dict[int, str] = {}
        self.owners: dict[int, Module] = {}
        for path, module in model.named_modules():
            self.paths.setdefault(id(module), path)
            for value in vars(module).values():
                if isinstance(value, Parameter):
                    self.owners.setdefault(id(value), module)
        self.arrays = [Array(image.data.nbytes, 0, 0)]
        self.values: dict[int, tuple[weakref.ref, Value]] = {}
        self.calls: list[Call] = []
        self.root: Call | None = None
        self.clock = 0
        self.transient: dict[int, int] = {}  # op -> bytes it needs beside its inputs and outputs
        self._note(image, Value(Field(), 0))

    def _note(self, tensor: Tensor, value: Value) -> None:
        self.values[id(tensor)] = (weakref.ref(tensor), value)

    def _value(self, tensor) -> Value:
        """What is known of a Tensor; a Parameter is made of itself, a Tensor from elsewhere of nothing."""
        if isinstance(tensor, Parameter):
            return Value(made_of=(tensor,))
        reference, value = self.values.get(id(tensor), (None, Value()))
        return value if reference is not None and reference() is tensor else Value()

    # ---- what is told ----

    def entered(self, module: Module, inputs: tuple) -> None:
        """Open a Call."""
        call = Call(module, self.paths.get(id(module), ""), inputs[0].shape if inputs and isinstance(inputs[0], Tensor) else ())
        if self.calls:
            self.calls[-1].inside.append(call)
        elif self.root is None:
            self.root = call
        self.calls.append(call)

    def left(self, module: Module, outputs) -> None:
        """Close it."""
        call = self.calls.pop()
        tensors = [t for t in (outputs if isinstance(outputs, tuple | list) else (outputs,)) if isinstance(t, Tensor)]
        if tensors:
            call.output, call.itemsize, call.seen = tensors[0].shape, tensors[0].dtype.itemsize, self._value(tensors[0]).seen
        if not self.calls:  # what the model returns stays
            for tensor in tensors:
                self._read(self._value(tensor))

    def ran(self, function: Function, inputs: tuple, outputs: list[Tensor]) -> None:
        """Add an op's steps to the innermost Call."""
        known = [Value() if t is None else self._value(t) for t in inputs]
        fields = [value.seen for value in known if value.seen is not None]
        if not fields:  # parameters and constants among themselves
            made_of = tuple(p for value in known for p in value.made_of)
            for tensor in outputs:
                self._note(tensor, Value(made_of=made_of))
            return
        self.clock += 1
        for value in known:
            self._read(value)
        first = next(t for t, value in zip(inputs, known, strict=True) if value.seen is not None)
        steps = parts(function, inputs, outputs)
        shape = first.shape
        shortcut = known[5].seen if isinstance(function, _ConvBatchNorm) else None  # joins after the convolution
        seen = Field.largest(fields if shortcut is None else fields[:1])
        claimed = {i for part in steps for i in part.inputs}
        for n, part in enumerate(steps):
            indices = [i for i in range(len(inputs)) if i in part.inputs or (n == 0 and i not in claimed)]
            used = tuple(p for i in indices for p in known[i].made_of)
            seen = seen.through(part.window, shape[2:] if len(shape) == 4 else (1, 1))
            if shortcut is not None and part.op == "add":
                seen = Field.largest([seen, shortcut])
            step = Step(part, shape, outputs[0].dtype.itemsize, seen, used)
            step.hidden = is_layout_change(function, inputs, outputs[0])
            self._attribute(step)
            self.calls[-1].inside.append(step)
            shape = part.output
        for tensor in outputs:
            self._note(tensor, Value(seen, self._array_of(tensor, inputs, known)))
        if isinstance(function, _BatchNormConv) or (isinstance(function, _ConvBatchNorm) and function.statistics.of_batch):
            between = sum(part.stored for part in steps) - outputs[0].size
            self.transient[self.clock] = between * outputs[0].dtype.itemsize

    def _read(self, value: Value) -> None:
        if value.array is not None:
            self.arrays[value.array].read = self.clock

    def _array_of(self, tensor, inputs, known) -> int:
        """The array an output lies in: an input's, if it is a view of it, else a new one."""
        for t, value in zip(inputs, known, strict=True):
            if value.array is not None and tensor.backend.xp.may_share_memory(tensor.data, t.data):
                return value.array
        self.arrays.append(Array(tensor.data.nbytes, self.clock, self.clock))
        return len(self.arrays) - 1

    def _attribute(self, step: Step) -> None:
        """Name the layer that owns a step's parameters, where it was not called itself."""
        owners = {id(self.owners[id(p)]): self.owners[id(p)] for p in step.parameters if id(p) in self.owners}
        if len(owners) == 1:
            ((identity, owner),) = owners.items()
            if all(owner is not call.module for call in self.calls):
                step.owner, step.path = owner, self.paths[identity]

    # ---- what follows ----

    @property
    def peak(self) -> int:
        """Bytes of the largest set of arrays alive at one op."""
        change = [0] * (self.clock + 2)
        for array in self.arrays:
            change[array.made] += array.nbytes
            change[array.read + 1] -= array.nbytes
        alive = peak = 0
        for moment, difference in enumerate(change):
            alive += difference
            peak = max(peak, alive + self.transient.get(moment, 0))
        return peak
