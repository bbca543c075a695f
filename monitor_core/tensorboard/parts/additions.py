"""Values that users add: scalars, histograms, images, figures, texts and graphs.

Contract. Values may be added at any time from any thread: before, during and after a run. They go to the train run. A
value that cannot be shown raises, because its caller can handle that.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from monitor_core.model.handles import to_host
from monitor_core.tensorboard.formats.axes import Axis
from monitor_core.tensorboard.formats.event_file import EventFile, write_histogram, write_row
from monitor_core.tensorboard.formats.graphs import graph_event
from monitor_core.tensorboard.formats.images import image_value
from monitor_core.tensorboard.formats.texts import text_value
from monitor_core.values.scalars import scalar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.summary_pb2 import Summary


class Additions(ABC):
    """The methods with which users add their own values."""

    __slots__ = ()

    @abstractmethod
    def _place(self, step: int | None, axis: Axis) -> tuple[EventFile, int]:
        """Return where a value goes: the file, and the step, by default the present one of its axis."""

    def add_scalar(self, tag: str, value: Any, step: int | None = None, *, axis: Axis = "step") -> None:
        """Write a number, now.

        Args:
            tag: Its name; the part before the first slash is its group.
            value: A number, or an array or tensor of one element; this call waits for it.
            step: The step; by default the present one of its axis.
            axis: What the step is: ``"step"``, how many batches have ended, or ``"epoch"``. A run that goes back or is
                resumed drops what lies after by it.

        Raises:
            TypeError: ``value`` is not a number.
            OSError: There is no file yet, and none can be created.
        """
        file, number = self._place(step, axis)
        write_row(file, number, {tag: scalar(value)}, axis)

    def add_histogram(self, tag: str, values: Any, step: int | None = None, *, axis: Axis = "step") -> None:
        """Write a histogram of values now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            values: An array or tensor of any shape; values that are not finite are skipped.
            step: The step.
            axis: What the step is.
        """
        file, number = self._place(step, axis)
        write_histogram(file, tag, _on_host(values), number, axis)

    def add_image(self, tag: str, image: Any, step: int | None = None, *, axis: Axis = "step") -> None:
        """Write one or several images now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            image: ``(height, width)``, ``(height, width, channels)`` or ``(n, height, width, channels)``, with 1, 3 or
                4 channels; integers from 0 to 255, or floats from 0 to 1.
            step: The step.
            axis: What the step is.
        """
        self._add(image_value(tag, _on_host(image)), step, axis)

    def add_figure(self, tag: str, figure: Figure, step: int | None = None, *, axis: Axis = "step") -> None:
        """Write a matplotlib figure as an image now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            figure: The figure, which stays open.
            step: The step.
            axis: What the step is.
        """
        self._add(image_value(tag, figure), step, axis)

    def add_text(self, tag: str, text: str, step: int | None = None, *, axis: Axis = "step") -> None:
        """Write a text now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            text: Markdown.
            step: The step.
            axis: What the step is.
        """
        self._add(text_value(tag, text), step, axis)

    def add_graph(self, graph: GraphDef) -> None:
        """Write the operations of a computation now: the run graph, in addition to that of the layers.

        Args:
            graph: The result of `monitor_core.tensorboard.formats.torch_graphs.torch_graph` or
                `monitor_core.tensorboard.formats.jax_graphs.jax_graph`.
        """
        file, _ = self._place(0, "step")
        file.add_event(graph_event(graph, time.time()))

    def _add(self, value: Summary.Value, step: int | None, axis: Axis) -> None:
        file, number = self._place(step, axis)
        file.add_value(value, number, axis=axis)


def _on_host(values: Any) -> Any:
    """Return a PyTorch tensor's values, which may be on a device or require gradients; other objects unchanged."""
    return to_host(values) if hasattr(values, "detach") else values
