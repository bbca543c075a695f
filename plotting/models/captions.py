"""The text and the colour of a layer's box; needs no matplotlib."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

from monitor_core.model.layer_graph import LayerNode, Shape

# Up to this number of shapes, each has a line; beyond it, equal ones are counted.
_MANY_SHAPES = 4

# The first pattern that matches a layer's kind, ignoring case, gives its family.
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
"""The families of layers; each has a colour."""


@attrs.frozen
class Style:
    """What boxes show in addition to the kind of layer.

    Attributes:
        shapes: Whether to show the shapes of inputs and outputs.
        names: Whether to show the layer's name.
        dtype: Whether to show the data type.
        parameters: Whether to show the number of parameters, if there are any.
    """

    shapes: bool
    names: bool
    dtype: bool
    parameters: bool


@attrs.frozen
class Caption:
    """The content of one box.

    Attributes:
        kind: The first line.
        name: The second line, if any.
        rows: The lines below, as pairs of a label and a value.
        family: One of `FAMILIES`.
    """

    kind: str
    name: str | None
    rows: tuple[tuple[str, str], ...]
    family: str


def caption(node: LayerNode, style: Style) -> Caption:
    """Return the content of a layer's box."""
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
