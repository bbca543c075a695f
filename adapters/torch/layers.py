"""The parts of a PyTorch module as a graph.

With a sample, the module is run, and its tensors are followed. Without one, its code is traced symbolically with
``torch.fx``, one part at a time, so that a part which cannot be traced is one node; the graph then has no shapes. If
the module's own code cannot be traced, its parts are listed in the order of their definition, without edges.
"""

from __future__ import annotations

import inspect
import itertools
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from monitor_core._log import logger
from monitor_core.adapters.torch.insides import Several
from monitor_core.adapters.torch.nodes import TorchNodes, parameters, parts
from monitor_core.adapters.torch.run import follow_run
from monitor_core.model.graph_builder import Sources
from monitor_core.model.layer_graph import LayerGraph

# They return a property of a tensor that is not a tensor, or check the tensor.
_FACTS = frozenset(
    "size dim ndimension numel stride getattr item tolist is_floating_point type _assert _assert_is_none".split()  # noqa: SIM905
)


def layer_graph(module: Any, run: Callable[[], object] | None = None, *, expand_nested: bool = False) -> LayerGraph:
    """Read the parts of a PyTorch module and how they feed each other.

    Args:
        module: The module, in evaluation mode; tracing runs its Python code.
        run: Runs the module once, for shapes and for code that cannot be traced. Not used while the module has
            parameters that its first run creates.
        expand_nested: Whether to show the parts of parts, down to those that compute, instead of each part that has
            parts as one node.

    Returns:
        The graph.
    """
    nodes = TorchNodes(module, expand=expand_nested)
    if run is not None and not any(map(torch.nn.parameter.is_lazy, module.parameters())):
        follow_run(nodes, run)
    elif nodes.is_shown_whole(module):
        inputs = [nodes.add_input(name) for name in _inputs(module)]
        nodes.add_part(module, itertools.chain.from_iterable(inputs))
    else:
        _Symbolic(nodes).follow_module()
    return nodes.builder.build(type(module).__name__, parameters=parameters(module))


class _Tracer(fx.Tracer):
    """Trace the code of one module only: every part that it calls stays a call."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        """Return True."""
        return True


@attrs.frozen
class _Value:
    """The sources of a traced value; values in containers are containers of these."""

    sources: Sources = ()


@attrs.define
class _Symbolic:
    """Follow the values of traced code.

    Attributes:
        nodes: Collects the calls.
    """

    nodes: TorchNodes

    def follow_module(self) -> None:
        """Add the calls of the module, or its parts if it cannot be traced."""
        module = self.nodes.module
        if isinstance(module, Several):
            for name, part in module.items():
                inputs = [_Value(self.nodes.add_input(f"{name}.{each}")) for each in _inputs(part)]
                self._part(part, tuple(inputs), {})
            return
        try:
            code = _trace(module, _defaults(module))
        except Exception as error:
            logger.warning(
                "the parts of %s are shown without edges, because its code cannot be traced: pass a sample (%s: %s)",
                type(module).__name__,
                type(error).__name__,
                error,
            )
            _add_tree(self.nodes, module)
            return
        self._follow(module, code, {name: _Value(self.nodes.add_input(name)) for name in _inputs(module)})

    def _follow(self, owner: Any, code: fx.Graph, given: Mapping[str, Any]) -> Any:
        """Add the calls that a module's code makes, and return the sources of its outputs."""
        found: dict[fx.Node, Any] = {}
        for node in code.nodes:
            args, kwargs = (fx.node.map_arg(each, found.__getitem__) for each in (node.args, node.kwargs))
            if node.op == "output":
                return args[0]
            if node.op == "placeholder":
                found[node] = given.get(node.target.lstrip("*"), _Value())
            elif node.op == "get_attr":
                found[node] = _Value(self.nodes.add_tensor(operator.attrgetter(node.target)(owner)))
            elif node.op == "call_module":
                found[node] = self._part(owner.get_submodule(node.target), args, kwargs)
            else:
                found[node] = self._function(getattr(node.target, "__name__", node.target), args, kwargs)
        return None

    def _part(self, part: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self.nodes.is_shown_whole(part):
            given = inspect.signature(part.forward).bind(*args, **kwargs).arguments
            constants = {name: value for name, value in (_defaults(part) | given).items() if not _sources(value)}
            try:
                code = _trace(part, constants)
            except Exception as error:
                logger.info("%s is shown as one node, its code cannot be traced: %s", type(part).__name__, error)
            else:
                leave = self.nodes.enter(part)
                result = self._follow(part, code, given)
                leave()
                return result
        return _Value(self.nodes.add_part(part, _sources((args, kwargs))))

    def _function(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if name == "getitem" and isinstance(args[1], (int, str)):
            return args[0] if isinstance(args[0], _Value) else args[0][args[1]]
        if name.strip("_") in _FACTS:
            return _Value()
        return _Value(self.nodes.add_function(name, _sources((args, kwargs))))


def _defaults(part: Any) -> dict[str, Any]:
    """Return the arguments of a module that have a default, with their defaults."""
    named = inspect.signature(part.forward).parameters
    return {name: each.default for name, each in named.items() if each.default is not inspect.Parameter.empty}


def _inputs(part: Any) -> list[str]:
    """Return the arguments of a module that have no default."""
    defaults = _defaults(part)
    return [name for name in inspect.signature(part.forward).parameters if name not in defaults]


def _trace(part: Any, constants: dict[str, Any]) -> fx.Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about constants that the traced code does not check
        return _Tracer().trace(part, constants)


def _sources(values: Any) -> Sources:
    """Return the sources of values in any containers."""
    found = (leaf.sources for leaf in tree_leaves(values) if isinstance(leaf, _Value))
    return tuple(dict.fromkeys(itertools.chain.from_iterable(found)))


def _add_tree(nodes: TorchNodes, owner: Any) -> None:
    """Add a module's parts in the order of their definition."""
    for _, part in parts(owner):
        if isinstance(part, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            _add_tree(nodes, part)
        elif nodes.is_shown_whole(part):
            nodes.add_part(part)
        else:
            leave = nodes.enter(part)
            _add_tree(nodes, part)
            leave()
