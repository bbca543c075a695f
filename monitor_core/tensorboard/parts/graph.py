"""The graph: the model's layers and their connections, and a table of them in the Text tab."""

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
    """Write the layers once: at train begin or, if the model is built later, at an epoch's end.

    Args:
        samples: Inputs for models that do not know their shapes, if validation data are available.
    """

    name: ClassVar[str] = "the graph"

    samples: Samples
    _written: bool = False

    def begin(self, run: Run, files: RunFiles) -> None:
        try:
            self._write(run, files)
        except Exception:  # if it persists, the epoch's end raises it
            return

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
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
        self.samples.forget()
