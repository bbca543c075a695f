"""Activations: the distribution of each layer's outputs on some validation samples."""

from __future__ import annotations

from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.tensorboard.formats.event_file import write_histogram
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part, Samples, is_due


@attrs.frozen
class Activations(Part):
    """Write ``<layer>/activations``.

    Args:
        freq: Every how many epochs, the first among them.
        samples: What to look at.
    """

    name: ClassVar[str] = "the histograms of activations"

    freq: int
    samples: Samples

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write what is due."""
        if is_due(self.freq, epoch):
            x, _ = self.samples.of(run)
            for layer, array in run.model.activations(x):  # type: ignore[union-attr]
                write_histogram(files[TRAIN], f"{layer}/activations", array, epoch)

    def end(self, run: Run, files: RunFiles) -> None:
        """Let go of the data."""
        self.samples.forget()
