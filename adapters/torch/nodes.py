"""The nodes of a PyTorch module's graph: its parts, and its own functions, inputs and tensors between them.

Names are those of the module's parts. A part inside another that is called as a whole is ``block/conv``; one that is
only stored there, in a ``ModuleList``, keeps the dot: ``blocks.0``. Functions have their own names, numbered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import attrs
import torch

from monitor_core.model.graph_builder import GraphBuilder, Sources
from monitor_core.model.layer_graph import LayerNode

# They return their input tensor, perhaps on another device or with another dtype.
_HANDED_ON = frozenset("contiguous clone cpu cuda data detach double float half bfloat16 requires_grad_ to".split())  # noqa: SIM905


@attrs.define
class TorchNodes:
    """Collect the nodes of a module.

    Attributes:
        module: The module.
        expand: Whether to show the parts of its parts.
        builder: Collects the nodes.
        inside: The labels of the parts being followed, outermost first.
    """

    module: Any
    expand: bool = attrs.field(kw_only=True)
    builder: GraphBuilder = attrs.field(factory=GraphBuilder, init=False)
    inside: tuple[str, ...] = attrs.field(default=(), init=False)
    _paths: dict[int, str] = attrs.field(init=False)
    _path: str = attrs.field(default="", init=False)

    @_paths.default
    def _find_paths(self) -> dict[int, str]:
        named = (*self.module.named_modules(), *self.module.named_parameters(), *self.module.named_buffers())
        return {id(each): path for path, each in named}

    def is_shown_whole(self, part: Any) -> bool:
        """Whether a part, or the module itself, is one node."""
        if part is self.module:
            return type(part).__module__.startswith("torch.nn.") and not any(parts(part))
        return not self.expand or not any(parts(part))

    def enter(self, part: Any) -> Callable[[], None]:
        """Follow a part inside; return a function that leaves the part."""
        before = self._path, self.inside
        self.inside = (*self.inside, self.builder.label(part, self._label(part), self.inside))
        self._path = self._paths.get(id(part), "")

        def leave() -> None:
            self._path, self.inside = before

        return leave

    def add_part(
        self, part: Any, sources: Iterable[str] = (), inputs: Iterable[Any] = (), outputs: Iterable[Any] = ()
    ) -> Sources:
        """Add a call of a part, with the tensors that it took and returned, if known."""
        node = _node(self._label(part), type(part).__name__, inputs, outputs)
        return self._add(part, attrs.evolve(node, parameters=parameters(part)), sources)

    def add_function(
        self, name: str, sources: Iterable[str], inputs: Iterable[Any] = (), outputs: Iterable[Any] = ()
    ) -> Sources:
        """Add a call of a function, unless it only returns its input tensor; return the sources of its results."""
        sources = tuple(dict.fromkeys(sources))
        name = name.strip("_")
        if name in _HANDED_ON or not sources:  # without sources it computes a constant
            return sources
        return self._add(object(), _node(name, name, inputs, outputs), sources)

    def add_input(self, name: str, tensors: Iterable[Any] = ()) -> Sources:
        """Add an input of the module."""
        return self._add(object(), _node(name, "Input", (), tensors))

    def add_tensor(self, tensor: Any) -> Sources:
        """Add a parameter or buffer that a function takes; nothing for any other tensor."""
        if id(tensor) not in self._paths:
            return ()
        if not isinstance(tensor, torch.nn.Parameter):
            return self._add(id(tensor), _node(self._label(tensor), "Buffer", (), [tensor]))
        node = _node(self._label(tensor), "Parameter", (), [tensor])
        return self._add(id(tensor), attrs.evolve(node, parameters=_count([tensor])))

    def _add(self, key: Hashable, node: LayerNode, sources: Iterable[str] = ()) -> Sources:
        return (self.builder.add(key, node, sources=sources, inside=self.inside),)

    def _label(self, part: Any) -> str:
        """Return a part's name within the part being followed; the module itself is named after its class."""
        path = self._paths.get(id(part), "")
        return path.removeprefix(f"{self._path}.") or type(part).__name__


def parts(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and modules that a part calls; none for a part that uses their weights directly."""
    if not isinstance(part, torch.nn.MultiheadAttention):
        yield from ((name, each) for name, each in part.named_children() if name != "parametrizations")


def parameters(part: Any) -> int:
    """Return the number of elements in a part's parameters, as far as they are known."""
    return _count(part.parameters())


def _count(tensors: Iterable[Any]) -> int:
    return sum(0 if torch.nn.parameter.is_lazy(tensor) else tensor.numel() for tensor in tensors)


def _node(name: str, kind: str, inputs: Iterable[Any], outputs: Iterable[Any]) -> LayerNode:
    outputs = list(outputs)
    dtypes = dict.fromkeys(str(tensor.dtype).removeprefix("torch.") for tensor in outputs)
    return LayerNode(
        name, kind, ", ".join(dtypes), [tensor.shape for tensor in inputs], [tensor.shape for tensor in outputs]
    )
