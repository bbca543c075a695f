"""Compare the members listed in ``docs/handles.md`` with the handles and the sinks."""

import ast
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import monitor_core
from monitor_core import EarlyStopping

PAGE = Path(__file__).parents[2] / "docs" / "handles.md"
HANDLES = {
    "EquinoxModel": ("equinox", "monitor_core.adapters.equinox"),
    "FlaxModel": ("flax", "monitor_core.adapters.flax"),
    "KerasModel": ("keras", "monitor_core.adapters.keras"),
    "PytreeModel": ("numpy", "monitor_core.adapters.pytree"),
    "TorchModel": ("torch", "monitor_core.adapters.torch"),
}


def documented():
    """Return the listed members with the names and kinds of their parameters, None for attributes."""
    rows = re.findall(r"^\| `(\w+)(\(.*?\))?` \| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: parameters(brackets) if brackets else None for name, brackets in rows}


def parameters(brackets):
    """Return the parameters in a call's parentheses."""
    arguments = ast.parse(f"def call{brackets}: ...").body[0].args
    optional = len(arguments.args) - len(arguments.defaults)
    positional = [(each.arg, number >= optional) for number, each in enumerate(arguments.args)]
    return positional + [
        (f"*{each.arg}", default is not None)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]


def signature(function):
    """Return the parameters of a method, without its object."""
    own = list(inspect.signature(function).parameters.values())[1:]
    return [
        (each.name if each.kind is not each.KEYWORD_ONLY else f"*{each.name}", each.default is not each.empty)
        for each in own
    ]


@pytest.fixture(params=HANDLES)
def kind(request):
    package, module = HANDLES[request.param]
    pytest.importorskip(package)
    return getattr(importlib.import_module(module), request.param)


def members(kind):
    """Return the public members of a handle's class with their parameters, without those that its docstring lists."""
    own = (inspect.getdoc(kind).partition("Attributes:")[2]).partition("Raises:")[0]
    attributes = set(re.findall(r"^ +(\w+):", own, re.MULTILINE)) - documented().keys()
    found = {name: value for name, value in vars(kind).items() if not name.startswith("_") and name not in attributes}
    return {name: signature(value) if inspect.isfunction(value) else None for name, value in found.items()}


def test_every_member_of_a_handle_is_documented(kind):
    """The page lists each member with its parameters; members of a single handle are in its docstring."""
    assert {name: documented().get(name, "missing") for name in members(kind)} == members(kind)


def test_what_sinks_need_is_documented():
    """The members that sinks require are on the page."""
    restoring = EarlyStopping("loss", restore_best_weights=True)  # its needs depend on its arguments
    sinks = [*(getattr(monitor_core, name) for name in monitor_core.__all__), restoring]
    needs = [getattr(each, "needs", ()) for each in sinks]
    found = {need for each in needs if isinstance(each, tuple) for need in each}
    assert "get_weights" in found
    assert found - documented().keys() == set()


def test_what_is_documented_is_there():
    """The page lists no member that no handle has."""
    pytest.importorskip("keras")
    pytest.importorskip("torch")
    there = {name: module for name, (package, module) in HANDLES.items() if find_spec(package) is not None}
    kinds = [getattr(importlib.import_module(module), name) for name, module in there.items()]
    assert documented().keys() - {name for kind in kinds for name in vars(kind)} == set()


def test_a_page_without_a_member_fails(monkeypatch):
    """The comparison fails if a member, or one of its parameters, is missing."""

    class Handle:
        """A handle."""

        def predict(self, x, batch_size=3): ...

        def explain(self): ...

    found = {name: documented().get(name, "missing") for name in members(Handle)}
    assert found == {"predict": [("x", False)], "explain": "missing"}
    assert members(Handle) == {"predict": [("x", False), ("batch_size", True)], "explain": []}
