"""What a layer's box says, and its colour; needs no matplotlib."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

from monitor_core.model.layer_graph import LayerNode, Shape

# One line each up to here; beyond, those that are the same are counted.
_MANY_SHAPES = 4

# The first pattern that is found in a layer's kind, without regard to case, tells its family.
_FAMILIES = {
    "input": r"^input|^parameter$|^buffer$",
    "recurrent": r"lstm|gru|rnn|attention|transformer",
    "convolution": r"conv",
    "dense": r"dense|linear|embedding|hashing|lookup",
    "normalization": r"norm|dropout|noise|dropblock",
    "pooling": r"pool|flatten|reshape|permute|crop|padding|upsampling|repeat|^view$|resizing",
    "activation": r"activation|relu|elu$|silu|swish|sigmoid|softmax|tanh|softplus|mish",
}
FAMILIES = (*_FAMILIES, "other")
"""The families of layers: each has a colour."""


@attrs.frozen
class Style:
    """What boxes say beside the kind of layer.

    Attributes:
        shapes: Whether the shapes of inputs and outputs are told.
        names: Whether the layer's name is told.
        dtype: Whether the data type is told.
        parameters: Whether the number of parameters is told, where there are any.
    """

    shapes: bool
    names: bool
    dtype: bool
    parameters: bool


@attrs.frozen
class Caption:
    """What one box says.

    Attributes:
        kind: In the first line.
        name: In the second, if there is one.
        rows: Below: what is told, and that.
        family: One of `FAMILIES`.
    """

    kind: str
    name: str | None
    rows: tuple[tuple[str, str], ...]
    family: str


def caption(node: LayerNode, style: Style) -> Caption:
    """Return what the box of a layer says."""
    name = node.label if style.names and node.label != node.kind else None
    return Caption(node.kind, name, tuple(_rows(node, style)), family(node.kind))


def family(kind: str) -> str:
    """Return which of `FAMILIES` a kind of layer belongs to."""
    matching = (name for name, pattern in _FAMILIES.items() if re.search(pattern, kind, re.IGNORECASE))
    return next(matching, "other")


def _rows(node: LayerNode, style: Style) -> Iterator[tuple[str, str]]:
    if style.shapes:
        for label, shapes in (("input", node.input_shapes), ("output", node.output_shapes)):
            for number, text in enumerate(_listed(shapes)):
                yield ("" if number else label), text
    if style.dtype and node.dtype:
        yield "dtype", node.dtype
    if style.parameters and node.parameters:
        yield "parameters", f"{node.parameters:,}"


def _listed(shapes: Sequence[Shape]) -> list[str]:
    if len(shapes) <= _MANY_SHAPES:
        return [str(shape) for shape in shapes]
    counts = {shape: shapes.count(shape) for shape in shapes}
    return [f"{count} × {shape}" if count > 1 else str(shape) for shape, count in counts.items()]  # noqa: RUF001
