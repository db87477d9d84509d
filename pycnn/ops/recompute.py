"""Recomputation, memory for time: what part of a net saves for backward is dropped and computed again when backward needs it."""

from __future__ import annotations

from contextvars import copy_context

from .. import random as streams
from ..errors import DTypeError, GraphError
from ..tensor import Function, Tensor, is_grad_enabled, next_in_sequence, recomputing, run_nodes


def _listed(outputs) -> list:
    """A function's outputs as a list."""
    results = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    for y in results:
        if not isinstance(y, Tensor | None):
            raise DTypeError(f"recompute: function returned a {type(y).__name__}, must return a Tensor, a tuple or list of them")
    return results


class _Recompute(Function):
    """The one node in the place of those that `function` records. Its edges are all that lead out of that part of the graph: to
    what made the inputs, and to whatever else `function` uses (parameters)."""

    takes_slices = (0,)  # gradients are handed on as they come

    def __init__(self, function, inputs):
        self.function, self.inputs = function, inputs
        self.context = copy_context()  # with the kernels that are chosen now
        self.position, self.drawn = streams.position(), {}

    def record(self):
        """Run `function` and return its outputs as this node's, so that the nodes it recorded are dropped."""
        start = next_in_sequence()
        outputs = self.function(*self.inputs)
        results = _listed(outputs)
        if streams.position() != self.position:
            self.drawn = streams.device_states()
        inside = lambda target: isinstance(target, Function) and target.sequence > start
        places: dict = {}  # (node, index) -> the first output that is this node's
        for i, y in enumerate(results):
            if y is not None and inside(y.node):
                places.setdefault((y.node, y.index), i)
        if not places:
            return outputs
        self.places = list(places.values())
        self.specs = [(results[i].data.shape, results[i].dtype) for i in self.places]
        self.grads, self.shared = [None] * len(places), [False] * len(places)
        self.edges, self.changes = _outward_edges({node for node, _ in places}, inside)
        self.backend, self.sequence = results[self.places[0]].backend, next_in_sequence()

        numbers = {source: number for number, source in enumerate(places)}
        for i, y in enumerate(results):
            if y is not None and (y.node, y.index) in numbers:
                results[i] = Tensor.from_memory(y.data, y.layout, requires_grad=True)
                results[i].node, results[i].index = self, numbers[y.node, y.index]
        return type(outputs)(results) if isinstance(outputs, tuple | list) else results[0]

    def backward(self, *gradients):
        start = next_in_sequence()
        results = self.context.run(self.run_again)
        roots = set()
        for i, spec, dy in zip(self.places, self.specs, gradients, strict=True):
            y = results[i] if i < len(results) else None
            if y is None or y.node is None or (y.data.shape, y.dtype) != spec:
                found = "nothing to differentiate" if y is None or y.node is None else f"{y.shape} {y.dtype}"
                raise GraphError(f"recompute: output {i} was {spec[1]} of {spec[0]} in memory, the second time it is {found}")
            if dy is not None:
                y.node._pass_grad(y.index, dy)
                roots.add(y.node)
        for _ in run_nodes(roots, after=start):
            pass

    def run_again(self):
        """The outputs of `function`, with the random numbers of the first time and the graph."""
        recomputing.set(True)
        with streams.replay(self.position, self.drawn):
            return _listed(self.function(*self.inputs))

    def free(self):
        super().free()
        self.function, self.inputs, self.context, self.drawn = None, (), None, {}


def _outward_edges(roots, inside):
    """The edges that lead from the nodes `inside` to others, each once, and the parameters used with their counts of changes."""
    edges: dict = {}
    changes: list = []
    seen, stack = set(roots), list(roots)
    while stack:
        node = stack.pop()
        changes += node.changes
        for edge in filter(None, node.edges):
            if not inside(edge[0]):
                edges[edge] = None
            elif edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    return tuple(edges), changes


def recompute(function, *inputs):
    """function(*inputs), without keeping what its ops save: backward calls `function` again to have it (Chen et al. 2016,
    arxiv.org/abs/1604.06174), as ``torch.utils.checkpoint.checkpoint`` does with ``use_reentrant=False``.

    Outputs and gradients have the bits of a plain call: random ops draw the same numbers again, batch norm counts the batch once,
    gradients are added in the same order. The inputs are kept until backward, and while `function` runs, all that it saves.

    Args:
        function: takes `inputs`; returns a Tensor, or a tuple or list of Tensors and None. Whatever it reads besides (parameters,
            modes, running statistics that normalize) must be the same in backward.
        inputs: any shapes; what is no Tensor is handed on.

    Raises:
        DTypeError: `function` returns something else.
        GraphError: in backward: a parameter was changed, or `function` computes another shape or type than the first time.
    """
    return _Recompute(function, inputs).record() if is_grad_enabled() else function(*inputs)
