"""The operations of a JAX function as a graph for TensorBoard, from its jaxpr; nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from monitor_core.tensorboard.formats.graphs import add_node, node_name

if TYPE_CHECKING:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

_LOOPS = ("scan", "while", "cond")  # they do not call their functions exactly once with these inputs


def jax_graph(function: Callable[..., Any], *args: Any) -> GraphDef:
    """Return the graph of a function for example arguments, grouped by `jax.named_scope` and inner functions.

    Each loop or branch of `jax.lax` is one operation.

    Args:
        function: The function.
        *args: Its arguments: trees of arrays, or of `jax.ShapeDtypeStruct`.

    Raises:
        TypeError: It cannot be traced: it branches on an array's value, or does not accept these arguments.
    """
    import jax
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    closed = jax.make_jaxpr(function)(*args)
    paths = [_path(path) for path, _ in jax.tree_util.tree_flatten_with_path(args)[0]]
    writer = _Writer(GraphDef())
    arguments = zip(paths, closed.jaxpr.invars, strict=True)
    inputs = [writer.add(f"input/{path}", "Input", (), [each]) for path, each in arguments]
    for place, name in enumerate(writer.walk(closed.jaxpr, inputs, "")):
        writer.add(f"output/{place}", "Output", [name] if name else (), ())
    return writer.graph


class _Writer:
    """Adds the equations of nested jaxprs to one graph."""

    def __init__(self, graph: GraphDef) -> None:
        self.graph = graph
        self._used: dict[str, int] = {}

    def add(self, name: str, kind: str, inputs: Iterable[str], variables: Iterable[Any]) -> str:
        """Add a node; return its name, made unique by a number."""
        unique = self._unique(node_name(name))
        add_node(self.graph, unique, kind, inputs, (getattr(each.aval, "shape", ()) for each in variables))
        return unique

    def _unique(self, name: str) -> str:
        self._used[name] = number = self._used.get(name, -1) + 1
        return f"{name}_{number}" if number else name

    def walk(self, jaxpr: Any, inputs: Iterable[str | None], scope: str) -> list[str | None]:
        """Add the nodes of a jaxpr applied to the named nodes; return its outputs' names, None for constants."""
        names: dict[Any, str | None] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable in jaxpr.constvars:
            names[variable] = self.add(f"{scope}constant", "Constant", (), [variable])
        for equation in jaxpr.eqns:
            sources = [_source(each, names) for each in equation.invars]
            stack = str(equation.source_info.name_stack)
            within = f"{scope}{stack}/" if stack else scope
            kind = equation.primitive.name
            inner = _inner(equation)
            if inner is None:
                name = self.add(f"{within}{kind}", kind, filter(None, sources), equation.outvars)
                outputs: list[str | None] = [name] * len(equation.outvars)
            else:
                title = equation.params.get("name")
                outputs = self.walk(inner, sources, f"{self._unique(within + title)}/" if title else within)
            names.update(zip(equation.outvars, outputs, strict=True))
        return [_source(each, names) for each in jaxpr.outvars]


def _source(atom: Any, names: dict[Any, str | None]) -> str | None:
    """Return the node that a variable comes from; None for a literal."""
    return None if hasattr(atom, "val") else names[atom]


def _inner(equation: Any) -> Any:
    """Return the jaxpr that an equation calls with exactly its own inputs, as a jitted function does; else None."""
    if equation.primitive.name in _LOOPS:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        jaxpr = equation.params.get(key)
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        if hasattr(jaxpr, "eqns") and len(jaxpr.invars) == len(equation.invars):
            return jaxpr
    return None


def _path(path: Iterable[Any]) -> str:
    """Return an argument's path in the trees of arguments, such as ``0/layers/2/kernel``."""
    parts = (re.sub(r"^[\[.']+|[\]']+$", "", str(part)) for part in path)
    return "/".join(parts)
