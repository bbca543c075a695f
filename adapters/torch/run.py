"""The graph of one run of a PyTorch module: its tensors are followed through parts and functions.

Contract. Any module that can run can be followed, whatever its code does between its parts; the graph has the branches
that this run takes. The module's results do not change; hooks and the function mode are removed at the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import attrs
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from monitor_core.adapters.torch.nodes import TorchNodes
from monitor_core.model.graph_builder import Sources


def follow_run(nodes: TorchNodes, run: Callable[[], object]) -> None:
    """Run a module and add the parts and functions that it calls.

    Args:
        nodes: Collects them; its module is the one that is run.
        run: Runs the module once.
    """
    follower = _Follower(nodes)
    with ExitStack() as stack:
        for part in nodes.module.modules():
            stack.callback(part.register_forward_pre_hook(follower.before, with_kwargs=True).remove)
            stack.callback(part.register_forward_hook(follower.after, with_kwargs=True).remove)
        stack.enter_context(_Functions(follower))
        run()


@attrs.define
class _Follower:
    """Record the sources of each tensor in a run.

    A tensor is identified by its id, so all are kept until the end. A tensor that a part returns unchanged, such as a
    dropout in evaluation mode, is replaced by an alias, so that the part's output is distinct from its input.
    """

    nodes: TorchNodes
    _found: dict[int, tuple[Any, Sources]] = attrs.field(factory=dict, init=False)
    _calls: list[Callable[[], None] | None] = attrs.field(factory=list, init=False)
    _runs: bool = attrs.field(default=False, init=False)

    @property
    def _is_inside_whole(self) -> bool:
        """Whether the running part is shown as one node."""
        return bool(self._calls) and self._calls[-1] is None

    def before(self, part: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before a part runs."""
        if part is self.nodes.module and not self._runs:
            self._runs = True
            self._add_inputs(part, args, kwargs)
            self._calls.append(None if self.nodes.is_shown_whole(part) else lambda: None)
        else:
            whole = self._is_inside_whole or self.nodes.is_shown_whole(part)
            self._calls.append(None if whole else self.nodes.enter(part))

    def after(self, part: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Called after a part has run; return its output, with aliases of tensors that it returned unchanged."""
        leave = self._calls.pop()
        if leave is not None:
            leave()
        elif not self._is_inside_whole:
            taken = _tensors((args, kwargs))
            self._runs = False  # making an alias is not a call of the module
            output = _told_apart(output, taken)
            self._note(output, self.nodes.add_part(part, self._sources(taken), taken, _tensors(output)))
        self._runs = bool(self._calls)
        return output

    def called(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        """Called after a PyTorch function; return its output, as in `after`."""
        if not self._runs or self._is_inside_whole:
            return output
        taken = _tensors((args, kwargs))
        name = _name(function)
        changed = [args[0]] if name == "__setitem__" else _tensors(output)
        if not changed:  # a size, or a number
            return output
        if not _is_in_place(name):
            output = _told_apart(output, taken)
            changed = _tensors(output)
        self._note(changed, self.nodes.add_function(name, self._sources(taken), taken, changed))
        return output

    def _add_inputs(self, part: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for name, value in inspect.signature(part.forward).bind(*args, **kwargs).arguments.items():
            tensors = _tensors(value)
            for number, tensor in enumerate(tensors):
                own = name if len(tensors) == 1 else f"{name}_{number}"
                self._note(tensor, self.nodes.add_input(own, [tensor]))

    def _note(self, tensors: Any, sources: Sources) -> None:
        self._found |= {id(tensor): (tensor, sources) for tensor in _tensors(tensors)}

    def _sources(self, tensors: Iterable[Any]) -> Sources:
        found: dict[str, None] = {}
        for tensor in tensors:
            if id(tensor) not in self._found:
                self._note(tensor, self.nodes.add_tensor(tensor))
            found |= dict.fromkeys(self._found[id(tensor)][1])
        return tuple(found)


class _Functions(TorchFunctionMode):
    """Report PyTorch functions and operators to a follower."""

    def __init__(self, follower: _Follower) -> None:
        super().__init__()
        self._follower = follower

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return self._follower.called(func, args, kwargs, func(*args, **kwargs))


def _tensors(data: Any) -> list[Any]:
    return [leaf for leaf in tree_leaves(data) if isinstance(leaf, torch.Tensor)]


def _told_apart(output: Any, taken: Iterable[Any]) -> Any:
    """Return an output with each tensor that is also an input replaced by an alias."""
    given = {id(tensor) for tensor in taken}
    if given.isdisjoint(map(id, _tensors(output))):
        return output
    return tree_map(lambda leaf: leaf.view_as(leaf) if id(leaf) in given else leaf, output)


def _name(function: Any) -> str:
    name: str = getattr(function, "__name__", type(function).__name__)
    return getattr(getattr(function, "__self__", None), "__name__", name) if name == "__get__" else name  # x.T


def _is_in_place(name: str) -> bool:
    """Whether a function changes its first argument."""
    if name.startswith("__"):
        return name in {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__"}
    return name.endswith("_")
