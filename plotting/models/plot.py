"""The plot of a model: `plot_model`."""

from __future__ import annotations

import math
from os import PathLike
from typing import TYPE_CHECKING, Any, get_args

from monitor_core.frameworks import handle_of
from monitor_core.model.layer_graph import LayerGraph
from monitor_core.plotting.curves.plot import image_path
from monitor_core.plotting.graph_layout.layout import Direction
from monitor_core.plotting.models.captions import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 30 * 72.0  # points


def plot_model(
    model: Any,
    *,
    to_file: str | PathLike[str] | None = None,
    show_shapes: bool = False,
    show_layer_names: bool = True,
    show_dtype: bool = False,
    show_parameters: bool = False,
    direction: Direction = "TB",
    rankdir: Direction | None = None,
    expand_nested: bool = False,
    fold: bool = True,
    sample: Any = None,
    dpi: float = 150.0,
) -> Figure:
    """Draw the layers of a model and their connections.

    Each layer is a box with the name of its class, and an edge leads from it to each layer that takes its output. A
    layer that the model uses several times is drawn once. This needs only matplotlib, without another program, pyplot
    or a display, and changes no matplotlib settings. In a notebook the figure displays itself.

    Args:
        model: A Keras model, a PyTorch module, a handle of either, or a `LayerGraph`.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the image to; an existing file is replaced
            atomically.
        show_shapes: Whether to show the shapes of each layer's inputs and outputs, if known.
        show_layer_names: Whether to show each layer's name.
        show_dtype: Whether to show the data type of each layer's output.
        show_parameters: Whether to show the number of each layer's parameters.
        direction: ``"TB"`` from top to bottom, ``"LR"`` from left to right.
        rankdir: Keras's name for ``direction``; if given, it takes precedence.
        expand_nested: Whether to draw the layers of nested models inside a frame, instead of each nested model as one
            box.
        fold: Whether to arrange a drawing longer than 30 inches as columns side by side, or rows below each other, so
            that it is about as wide as high.
        sample: Inputs of the model. A PyTorch module is called with them once, to find shapes and to follow code that
            cannot be traced; for a subclassed Keras model they give the shapes. Not allowed for a `LayerGraph`.
        dpi: Dots per inch of a PNG file; fewer if the image would have more than 100 million pixels.

    Returns:
        The figure, as large as its boxes need.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written.
        TypeError: ``model`` has an unsupported type.
        ValueError: ``direction``, ``dpi`` or the suffix is invalid, or the model has no layers.

    Example:
        >>> from monitor_core.model.layer_graph import LayerGraph, LayerNode
        >>> nodes = [LayerNode("image", "InputLayer"), LayerNode("digit", "Dense")]
        >>> figure = plot_model(LayerGraph("reader", nodes, [("image", "digit")]), direction="LR")
    """
    direction = direction if rankdir is None else rankdir
    if direction not in get_args(Direction):
        raise ValueError(f"direction must be 'TB' or 'LR' (got {direction!r})")
    if not 0 < dpi < math.inf:
        raise ValueError(f"dpi must be > 0 and finite (got {dpi!r})")
    path = None if to_file is None else image_path(to_file)
    graph = _graph(model, sample, expand_nested=expand_nested)
    if not graph.nodes:
        raise ValueError(f"model must have at least one layer (got {graph.name!r} with none)")

    from monitor_core.plotting import figures  # noqa: F401 (says what to install if matplotlib is missing)
    from monitor_core.plotting.models.model_drawing import draw_model, save_model

    style = Style(shapes=show_shapes, names=show_layer_names, dtype=show_dtype, parameters=show_parameters)
    figure = draw_model(graph, style, direction, _LONGEST if fold else math.inf)
    if path is not None:
        save_model(figure, path, dpi)
    return figure


def _graph(model: Any, sample: Any, *, expand_nested: bool) -> LayerGraph:
    if isinstance(model, LayerGraph):
        if sample is not None:
            raise ValueError("sample must be None for a LayerGraph, whose shapes are as they are")
        return model
    handle = model if hasattr(model, "layer_graph") else handle_of(model)
    if not hasattr(handle, "layer_graph"):
        raise TypeError(f"model must be a handle or a model of Keras or PyTorch (got {model!r})")
    graph: LayerGraph = handle.layer_graph(sample, expand_nested=expand_nested)
    return graph
