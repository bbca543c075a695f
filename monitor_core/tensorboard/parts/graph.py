"""The graph: the model's layers and how they feed each other, and a table of them in the text tab."""

from __future__ import annotations

from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.model.layer_graph import summary_table
from monitor_core.tensorboard.formats.graphs import layers_graph_value, layers_value
from monitor_core.tensorboard.formats.texts import text_value
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part, Samples


@attrs.define
class Graph(Part):
    """Write the layers once: as soon as a model lends them, at train begin or, if it is built later, an epoch's end.

    Args:
        samples: Inputs for models that do not know their shapes, where validation data are at hand.
    """

    name: ClassVar[str] = "the graph"

    samples: Samples
    _written: bool = False

    def begin(self, run: Run, files: RunFiles) -> None:
        """Write the graph, if the model has been built."""
        try:
            self._write(run, files)
        except Exception:  # the epoch's end tells
            return

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write the graph, if it is not there."""
        self._write(run, files)

    def _write(self, run: Run, files: RunFiles) -> None:
        if self._written or not hasattr(run.model, "layer_graph"):
            return
        sample = self.samples.inputs_at_hand(run)
        graph = run.model.layer_graph(sample, expand_nested=True)  # type: ignore[union-attr]
        files[TRAIN].add_value(layers_graph_value(graph), 0)
        files[TRAIN].add_value(layers_value(graph), 0)
        files[TRAIN].add_value(text_value("model", summary_table(graph)), 0)
        self._written = True

    def end(self, run: Run, files: RunFiles) -> None:
        """Let go of the data."""
        self.samples.forget()
