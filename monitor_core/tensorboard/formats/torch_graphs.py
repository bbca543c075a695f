"""The operations of a PyTorch module as a graph for TensorBoard, through `torch.export`.

The module runs with fake tensors: nothing is computed, and its mode, its buffers and the random state do not change.
Unlike the writer in ``torch.utils.tensorboard``, this does not import TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from monitor_core.tensorboard.formats.graphs import add_node, node_name

if TYPE_CHECKING:
    import torch
    from tensorboard.compat.proto.graph_pb2 import GraphDef


def torch_graph(module: torch.nn.Module, inputs: Any) -> GraphDef:
    """Return the graph of a module for example inputs, grouped by its submodules.

    Args:
        module: The module.
        inputs: The arguments of its ``forward``: a tensor, or a tuple with each argument.

    Raises:
        TypeError: ``module`` is not a module, or does not accept these inputs.
        ValueError: Its operations depend on the inputs' values, so it has no single graph.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    program = _exported(module, inputs if isinstance(inputs, tuple) else (inputs,))
    root = node_name(type(module).__name__)
    signature = program.graph_signature
    owned = {
        name: (f"{root}/{target.replace('.', '/')}", kind)
        for kind, targets in (
            ("Parameter", signature.inputs_to_parameters),
            ("Buffer", {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}),
        )
        for name, target in targets.items()
    }
    graph = GraphDef()
    names: dict[Any, str] = {}
    for node in program.graph.nodes:
        names[node], kind = owned.get(node.name) or _described(node, root)
        add_node(graph, names[node], kind, (names[each] for each in node.all_input_nodes), _shapes(node))
    return graph


def _exported(module: Any, inputs: tuple[Any, ...]) -> Any:
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module (got {type(module).__name__})")
    try:
        return torch.export.export(module, inputs, strict=False)
    except torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode as error:
        raise ValueError(
            f"module must do the same operations for all values to have a graph: {type(module).__name__} branches on a "
            f"tensor's value ({_first_line(error)})"
        ) from error
    except Exception as error:
        raise TypeError(f"{type(module).__name__} cannot be traced with these inputs: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _described(node: Any, root: str) -> tuple[str, str]:
    """Return a node's name, including its submodules' names, and its operation."""
    if node.op == "placeholder":
        return f"input/{node.name}", "Input"
    if node.op == "output":
        return "output", "Output"
    path = next(reversed((node.meta.get("nn_module_stack") or {"": ("",)}).values()))[0]
    groups = re.sub(r"@\d+", "", path).split(".")
    return "/".join(filter(None, (root, *groups, node.name))), str(node.target).removesuffix(".default")


def _shapes(node: Any) -> Iterator[Sequence[int | None]]:
    values = node.meta.get("val")
    for value in values if isinstance(values, list | tuple) else [values]:
        if hasattr(value, "shape"):
            yield [size if isinstance(size, int) else None for size in value.shape]
