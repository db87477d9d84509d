"""A linter of the public names' docstrings: there is one, it ends its first sentence, it speaks of every argument, it says what
goes in and out, and it names every exception that the function, or a helper of its module, raises."""

import ast
import dataclasses
import importlib
import inspect
import re

import pytest

import pycnn

MODULES = [
    "pycnn", "pycnn.ops", "pycnn.nn", "pycnn.nn.init", "pycnn.nn.utils", "pycnn.optim", "pycnn.optim.lr_scheduler",
    "pycnn.models", "pycnn.data", "pycnn.train", "pycnn.errors", "pycnn.arithmetic",
]  # fmt: skip
OBVIOUS = {"input", "other", "self", "args", "kwargs", "x", "tensor", "inplace", "optimizer", "params", "options"}
SHAPES = re.compile(r"\([A-Z.][^)]*\)|shape|axis|axes|element|dim|Tensor|filters|scalar")


def public(module):
    """(qualified name, object) of what a module offers and pycnn defines."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in sorted(names):
        thing = getattr(module, name)
        home = "pycnn" if hasattr(module, "__all__") else module.__name__
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__.startswith(home):
            yield f"{module.__name__}.{name}", thing


THINGS = {thing: name for module in MODULES for name, thing in public(importlib.import_module(module))}
every = pytest.mark.parametrize("thing", THINGS, ids=THINGS.get)


def text(thing) -> str:
    return inspect.getdoc(thing) or ""


@every
def test_there_is_one_and_its_first_sentence_ends(thing):
    first = text(thing).split("\n\n")[0]
    assert re.search(r"[.:!?)\]](\s|$)", first), f"docstring starts: {first[:80]!r}"


@every
def test_methods_have_one(thing):
    if not inspect.isclass(thing):
        return
    for name, member in vars(thing).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            assert text(getattr(thing, name)), f"{name} has no docstring"


@every
def test_arguments_are_spoken_of(thing):
    """Of a class those of its constructor; a layer or loss may point to the op whose arguments they are."""
    described = text(thing)
    if re.search(r":(func|class):`", described) or dataclasses.is_dataclass(thing):  # whose attributes are described
        return
    function = thing.__init__ if inspect.isclass(thing) else thing
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return
    missing = [
        name
        for name in inspect.signature(function).parameters
        if name not in OBVIOUS and not re.search(rf"\b{name}\b", described)
    ]
    assert not missing, f"not a word on {', '.join(missing)}"


@pytest.mark.parametrize("name", pycnn.ops.__all__)
def test_ops_say_what_goes_in_and_out(name):
    """The docstring, or of element-wise ops that of their module."""
    function = getattr(pycnn.ops, name)
    assert SHAPES.search(text(function) + text(importlib.import_module(function.__module__))), name


# ---- exceptions -------------------------------------------------------------------------------------------------------


def raised_by(module) -> dict[str, set[str]]:
    """function -> the exceptions that it, or what it calls in the same module, raises."""
    direct: dict[str, set[str]] = {}
    calls: dict[str, set[str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        inside = list(ast.walk(node))
        excepted = [r for r in inside if isinstance(r, ast.Raise) and isinstance(r.exc, ast.Call)]
        direct[node.name] = {r.exc.func.id for r in excepted if isinstance(r.exc.func, ast.Name)}
        calls[node.name] = {c.func.id for c in inside if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}
    closed = {name: set(found) for name, found in direct.items()}
    for _ in range(len(closed)):
        for name in closed:
            for called in calls[name] & closed.keys():
                closed[name] |= closed[called]
    return closed


@pytest.mark.parametrize("name", pycnn.ops.__all__)
def test_exceptions_are_named(name):
    function = getattr(pycnn.ops, name)
    described = text(function)
    if re.search(r"(see|as) :func:", described, re.I):  # it refers to an op that names them
        return
    raised = raised_by(importlib.import_module(function.__module__))[function.__name__] - {"AssertionError"}
    missing = [error for error in sorted(raised) if error not in described]
    assert not missing, f"may raise {', '.join(missing)}, but does not say so"


def test_the_linter_sees_what_is_missing():
    assert raised_by(importlib.import_module("pycnn.ops.pool2d"))["max_pool2d"] >= {"NotSupported", "ShapeError", "ValueError"}
    with pytest.raises(AssertionError):
        test_there_is_one_and_its_first_sentence_ends(lambda: None)
    with pytest.raises(AssertionError, match="not a word on forgotten"):

        def documented(x, forgotten):
            """Something."""

        test_arguments_are_spoken_of(documented)
