"""Values that users add: scalars, histograms, images, figures, texts and graphs.

Contract. Values may be added at any time from any thread: before, during and after a run. They go to the train run. A
value that cannot be shown raises, because its caller can handle that.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from monitor_core.model.handles import to_host
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
    def _place(self, tag: str, step: int | None) -> tuple[EventFile, int]:
        """Return a value's file and step; the step is by default the current one."""

    def add_scalar(self, tag: str, value: Any, step: int | None = None) -> None:
        """Write a number, now.

        Args:
            tag: Its name; the part before the first slash is its group.
            value: A number, or an array or tensor of one element; this call waits for it.
            step: The step; by default how many batches have ended, or the epoch's number if the tag begins with
                ``epoch_`` or ends in ``/histogram`` or ``/image``.

        Raises:
            TypeError: ``value`` is not a number.
            OSError: There is no file yet, and none can be created.
        """
        write_row(*self._place(tag, step), {tag: scalar(value)})

    def add_histogram(self, tag: str, values: Any, step: int | None = None) -> None:
        """Write a histogram of values now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            values: An array or tensor of any shape; values that are not finite are skipped.
            step: The step.
        """
        file, number = self._place(tag, step)
        write_histogram(file, tag, _on_host(values), number)

    def add_image(self, tag: str, image: Any, step: int | None = None) -> None:
        """Write one or several images now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            image: ``(height, width)``, ``(height, width, channels)`` or ``(n, height, width, channels)``, with 1, 3 or
                4 channels; integers from 0 to 255, or floats from 0 to 1.
            step: The step.
        """
        self._add(image_value(tag, _on_host(image)), step)

    def add_figure(self, tag: str, figure: Figure, step: int | None = None) -> None:
        """Write a matplotlib figure as an image now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            figure: The figure, which stays open.
            step: The step.
        """
        self._add(image_value(tag, figure), step)

    def add_text(self, tag: str, text: str, step: int | None = None) -> None:
        """Write a text now; the other arguments are as in `add_scalar`.

        Args:
            tag: Its name.
            text: Markdown.
            step: The step.
        """
        self._add(text_value(tag, text), step)

    def add_graph(self, graph: GraphDef) -> None:
        """Write the operations of a computation now: the run graph, in addition to that of the layers.

        Args:
            graph: The result of `monitor_core.tensorboard.formats.torch_graphs.torch_graph` or
                `monitor_core.tensorboard.formats.jax_graphs.jax_graph`.
        """
        file, _ = self._place("", 0)
        file.add_event(graph_event(graph, time.time()))

    def _add(self, value: Summary.Value, step: int | None) -> None:
        file, number = self._place(value.tag, step)
        file.add_value(value, number)


def _on_host(values: Any) -> Any:
    """Return a PyTorch tensor's values, which may be on a device or require gradients; other objects unchanged."""
    return to_host(values) if hasattr(values, "detach") else values
