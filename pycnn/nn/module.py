"""Module: a tree of layers. Its attributes are its registry: `state_dict` walks them in the order they were set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import ShapeError
from ..tensor import Buffer, Parameter, Tensor, current_observer, to_memory


class LayerError(ShapeError):
    """A ShapeError that knows the path of the layer it came from, and what the outermost module was given."""

    def __init__(self, message: str, layer: Module):
        super().__init__(message)
        self.message, self.layer, self.path = message, layer, ""
        self.child = layer  # the module the error has passed through last
        self.given: tuple[tuple[int, ...], ...] = ()  # shapes of that module's inputs

    def passed(self, module: Module, inputs: tuple) -> None:
        """Note that the error left the call ``module(*inputs)``."""
        self.child, self.given = module, tuple(x.shape for x in inputs if isinstance(x, Tensor))

    def __str__(self):
        where = f"{self.path or 'the model'} = {self.layer}: {self.message}"
        if self.child is self.layer or not self.given:
            return where
        return f"{where} ({type(self.child).__name__} was given {', '.join(map(str, self.given))})"


class Module:
    """Base of all layers and models: define layers as attributes and ``forward``.

    Lists of modules belong in a :class:`Sequential`. ``training`` is switched by :meth:`train` and :meth:`eval`.
    """

    training = True

    def forward(self, *inputs):
        """Compute the layer's output."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs, **options):
        if (observer := current_observer()) is not None:
            observer.entered(self, inputs)
        try:
            outputs = self.forward(*inputs, **options)
        except LayerError as error:
            error.path = ".".join(filter(None, (self._path_of(error.child), error.path)))
            error.passed(self, inputs)
            raise
        except ShapeError as error:
            wrapped = LayerError(str(error), error.layer or self)
            wrapped.path = self._path_of(wrapped.layer)
            wrapped.passed(self, inputs)
            raise wrapped from error
        for hook in self.__dict__.get("_forward_hooks", {}).values():
            hook(self, inputs, outputs)
        if observer is not None:
            observer.left(self, outputs)
        return outputs

    def _path_of(self, layer: Module) -> str:
        """The path of a module below this one, '' where it is not."""
        return next((path for path, module in self.named_modules() if module is layer), "")

    def register_forward_hook(self, hook):
        """Call ``hook(module, inputs, outputs)`` after each forward; returns a function that removes the hook.

        A convolution and a batch norm that :func:`pycnn.ops.conv_bn` or :func:`pycnn.ops.bn_conv` runs as one op are called one
        by one while either has a hook; last bits may differ then.
        """
        hooks = self.__dict__.setdefault("_forward_hooks", {})
        key = object()
        hooks[key] = hook
        return lambda: hooks.pop(key, None)

    # ---- the tree ----

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children, in the order they were set."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and everything below it."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and everything below it."""
        for _, module in self.named_modules():
            yield module

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(path, Parameter or Buffer), a shared one once under its first name."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter | Buffer) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, Parameter) of everything learned."""
        for name, tensor in self.named_tensors():
            if isinstance(tensor, Parameter):
                yield name, tensor

    def parameters(self) -> Iterator[Parameter]:
        """Everything learned."""
        for _, parameter in self.named_parameters():
            yield parameter

    # ---- state ----

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers on the host, in logical order (weights O, I, kH, kW), by path."""
        return {name: np.array(tensor.numpy()) for name, tensor in self.named_tensors()}

    def load_state_dict(self, state: dict, strict: bool = True) -> None:
        """Copy values into the parameters and buffers of the same path. Nothing is changed if anything does not fit.

        Raises:
            KeyError: `strict`, and paths are missing or unexpected (all are named).
            ShapeError: a value has another shape than its parameter.
        """
        own = dict(self.named_tensors())
        missing, unexpected = [n for n in own if n not in state], [n for n in state if n not in own]
        if strict and (missing or unexpected):
            raise KeyError(
                f"state_dict does not fit {type(self).__name__}: "
                f"missing {missing or 'nothing'}, unexpected {unexpected or 'nothing'}"
            )
        values = {name: np.asarray(state[name]) for name in own if name in state}
        for name, value in values.items():
            if value.shape != own[name].shape:
                raise ShapeError(f"state_dict[{name!r}] has shape {value.shape}, {type(self).__name__} has {own[name].shape}")
        for name, value in values.items():
            tensor = own[name]
            memory = to_memory(value.astype(tensor.dtype, copy=False), tensor.layout)
            tensor.backend.write(tensor.data, memory)
            if isinstance(tensor, Parameter):
                tensor.changes += 1

    def train(self, mode: bool = True) -> Module:
        """Switch to training mode (batch statistics, dropout); returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation mode; returns self."""
        return self.train(False)

    def to(self, device: str) -> Module:
        """Move all parameters and buffers to a device, in place; call it before making an optimiser. Returns self."""
        for tensor in {id(t): t for _, t in self.named_tensors()}.values():
            moved = tensor.to(device)
            if moved is not tensor:
                tensor.data, tensor._grad, tensor._grad_ready = moved.data, None, False
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def extra_repr(self) -> str:
        """The layer's settings, for ``repr``."""
        return ""

    def __repr__(self):
        children = list(self.named_children())
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in children]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


class Sequential(Module):
    """The `layers` applied one after the other; they are named 0, 1, 2 … as in PyTorch."""

    def __init__(self, *layers: Module):
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    def forward(self, x):
        for _, layer in self.named_children():
            x = layer(x)
        return x

    def __len__(self):
        return sum(1 for _ in self.named_children())

    def __iter__(self):
        return (layer for _, layer in self.named_children())

    def __getitem__(self, i: int) -> Module:
        return list(self)[i]
