"""The layers of a Keras model as a graph, on any of Keras's backends.

A Sequential or functional model contains its graph. A subclassed one is called once with symbolic inputs, which
computes nothing; if that is not possible, its layers are listed in the order of their definition, without edges.
Reading leaves the model, Keras's name counters and its random generators unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import attrs
import keras

from monitor_core._log import logger
from monitor_core.adapters.keras.symbolic import NotTraceableError, own_names, stand_ins, symbolic_arguments, trace
from monitor_core.model.graph_builder import GraphBuilder, Sources
from monitor_core.model.layer_graph import LayerGraph, LayerNode

Given = dict[int, Sources]
"""The sources of tensors that come from outside a graph, by the tensor's id."""


def layer_graph(model: keras.Model, sample: Any = None, *, expand_nested: bool = False) -> LayerGraph:
    """Read the layers of a Keras model and how they feed each other.

    Args:
        model: The model. Before it is built, a Sequential has no shapes, and a subclassed model has no edges either.
        sample: Inputs for a subclassed model, arrays in the structure that it is called with; only their shapes and
            types are read. None: the shapes that it was built with and its own type.
        expand_nested: Whether to show the layers of models within the model, in place of each of these as one node.
            Their own input layers are left out if their sources are known.

    Returns:
        The graph. Masks that Keras passes on itself are not edges.

    Raises:
        TypeError: ``model`` is not a Keras model.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model (got {type(model).__name__})")
    with ExitStack() as stack:
        stack.enter_context(own_names())
        reader = _Reader(stack, expand=expand_nested)
        reader.read(model, sample)
        return reader.builder.build(model.name, parameters=_size(model.weights))


@attrs.define
class _Reader:
    """Follow the tensors of a model from its inputs.

    Attributes:
        stack: Undoes the symbolic calls at the end.
        expand: Whether to follow nested models inside.
        builder: Collects the layers.
    """

    stack: ExitStack
    expand: bool = attrs.field(kw_only=True)
    builder: GraphBuilder = attrs.field(factory=GraphBuilder, init=False)

    def read(self, model: Any, sample: Any = None) -> None:
        """Add the layers of the model."""
        if (graph := _own_graph(model)) is not None:
            self.follow([*graph.inputs, *graph.outputs], {}, ())
        elif isinstance(model, keras.Sequential):
            self._chain(model.layers, (), ())
        else:
            try:
                self.follow(trace(model, *symbolic_arguments(model, sample), self.stack), {}, ())
            except NotTraceableError as error:
                logger.warning("the layers of %s are shown without edges, because %s", model.name, error)
                for layer in model.layers:
                    self._unconnected(layer, (), ())

    def follow(self, tensors: Iterable[Any], given: Given, inside: tuple[str, ...]) -> list[Sources]:
        """Add the calls that tensors come from, and return the sources of each tensor."""
        tensors = list(tensors)
        found = dict(given)
        for call in _calls(tensors, found):
            sources = [found.get(id(tensor), ()) for tensor in _taken(call)]
            results = self._inside(call, found, inside)
            if results is None:
                results = [(self._add(call, _union(sources), inside),)] * len(call.outputs)
            found |= {id(tensor): result for tensor, result in zip(call.outputs, results, strict=True)}
        return [found.get(id(tensor), ()) for tensor in tensors]

    def _add(self, call: Any, sources: Sources, inside: tuple[str, ...]) -> str:
        operation = call.operation
        node = LayerNode(
            operation.name,
            _kind(operation),
            dtype=", ".join(dict.fromkeys(tensor.dtype for tensor in call.outputs)),
            input_shapes=[tensor.shape for tensor in _taken(call)],
            output_shapes=[tensor.shape for tensor in call.outputs],
            parameters=_size(getattr(operation, "weights", ())),
        )
        return self.builder.add(operation, node, sources=sources, inside=inside)

    def _inside(self, call: Any, found: Given, inside: tuple[str, ...]) -> list[Sources] | None:
        """Follow a call of a nested model inside; return the sources of each output, None to show it as one layer."""
        model = call.operation
        if not self.expand or not isinstance(model, keras.Model):
            return None
        try:
            pairs, outputs = self._opened(call)
        except NotTraceableError as error:
            logger.info("%s is shown as one layer, because %s", model.name, error)
            return None
        given = {id(inner): found.get(id(outer), ()) for inner, outer in pairs}
        return self.follow(outputs, given, self._group(model, inside))

    def _opened(self, call: Any) -> tuple[list[tuple[Any, Any]], list[Any]]:
        """Return the inputs of a nested model, each with the tensor that a call passes it, and the model's outputs."""
        model = call.operation
        if (graph := _own_graph(model)) is not None:
            pairs, outputs = _bound(graph, call), list(graph.outputs)
        else:
            pairs, args, kwargs = stand_ins(call)
            outputs = trace(model, args, kwargs, self.stack)
        if len(outputs) != len(call.outputs):
            raise NotTraceableError(f"it has {len(outputs)} outputs inside and {len(call.outputs)} outside")
        return pairs, outputs

    def _chain(self, layers: Iterable[Any], sources: Sources, inside: tuple[str, ...]) -> Sources:
        """Add the layers of an unbuilt Sequential model: each feeds the next."""
        for layer in layers:
            sources = self._unconnected(layer, sources, inside)
        return sources

    def _unconnected(self, layer: Any, sources: Sources, inside: tuple[str, ...]) -> Sources:
        """Add a layer without a known call."""
        if self.expand and isinstance(layer, keras.Sequential) and not layer.built:
            return self._chain(layer.layers, sources, self._group(layer, inside))
        if self.expand and isinstance(layer, keras.Model) and (graph := _own_graph(layer)) is not None:
            given = {id(tensor): sources for tensor in graph.inputs} if sources else {}
            return _union(self.follow(graph.outputs, given, self._group(layer, inside)))
        node = LayerNode(layer.name, _kind(layer), layer.compute_dtype or "", parameters=_size(layer.weights))
        return (self.builder.add(layer, node, sources=sources, inside=inside),)

    def _group(self, model: Any, inside: tuple[str, ...]) -> tuple[str, ...]:
        return (*inside, self.builder.label(model, model.name, inside))


# --- a graph's calls -----------------------------------------------------------------------------------------------


def _own_graph(model: Any) -> Any:
    """Return the graph that a model contains, or None."""
    graph = getattr(model, "_functional", model)  # a Sequential keeps its graph in an attribute
    return graph if hasattr(graph, "_inputs_struct") else None


def _calls(tensors: Iterable[Any], given: Mapping[int, Any]) -> Iterator[Any]:
    """Yield the calls that tensors come from, each after those that feed it, except calls that made a given tensor."""
    done: set[int] = set()
    waiting = [call for tensor in tensors if (call := _maker(tensor, given)) is not None][::-1]
    while waiting:
        call = waiting[-1]
        feeding = [each for tensor in _taken(call) if (each := _maker(tensor, given)) is not None]
        missing = [each for each in feeding if id(each) not in done]
        if missing and id(call) not in done:
            waiting += missing[::-1]
            continue
        waiting.pop()
        if id(call) not in done:
            done.add(id(call))
            yield call


def _maker(tensor: Any, given: Mapping[int, Any]) -> Any:
    """Return the call that made a tensor, None if it is given."""
    history = getattr(tensor, "_keras_history", None)
    if id(tensor) in given or history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def _taken(call: Any) -> list[Any]:
    """Return the tensors that a call takes, without the masks that Keras passes along with them."""
    tensors = call.input_tensors
    masks = {id(mask) for tensor in tensors if (mask := getattr(tensor, "_keras_mask", None)) is not None}
    return [tensor for tensor in tensors if id(tensor) not in masks]


def _bound(graph: Any, call: Any) -> list[tuple[Any, Any]]:
    """Return each input of a nested model's graph with the tensor that a call passes it."""
    arguments = call.arguments
    given = arguments.args[0] if arguments.args else arguments.kwargs.get("inputs")
    if isinstance(given, Mapping) and not isinstance(graph._inputs_struct, Mapping):
        given = [given.get(tensor.name) for tensor in graph.inputs]
    flat = keras.tree.flatten(given)
    if len(flat) != len(graph.inputs):
        raise NotTraceableError(f"it has {len(graph.inputs)} inputs and receives {len(flat)}")
    return list(zip(graph.inputs, flat, strict=True))


# --- a layer's properties ------------------------------------------------------------------------------------------


def _kind(operation: Any) -> str:
    kind = type(operation).__name__
    if isinstance(operation, keras.layers.Bidirectional):
        return f"{kind}({_kind(operation.forward_layer)})"
    return f"{kind}({_kind(operation.layer)})" if isinstance(operation, keras.layers.Wrapper) else kind


def _size(weights: Iterable[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _union(sources: Iterable[Sources]) -> Sources:
    return tuple(dict.fromkeys(name for each in sources for name in each))
