"""Gradients: the distribution of the loss's gradient by each weight, on some validation samples."""

from __future__ import annotations

from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.tensorboard.formats.event_file import write_histogram
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part, Samples, is_due


@attrs.frozen
class Gradients(Part):
    """Write ``<weight>/gradient``.

    Args:
        freq: Every how many epochs, the first among them.
        samples: What to compute them on.
    """

    name: ClassVar[str] = "the histograms of gradients"

    freq: int
    samples: Samples

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write what is due."""
        if is_due(self.freq, epoch):
            x, y = self.samples.of(run)
            if y is None:
                raise ValueError("the validation data have no targets, which a loss needs")
            for name, array in run.model.gradients(x, y):  # type: ignore[union-attr]
                write_histogram(files[TRAIN], f"{name}/gradient", array, epoch, self.axis)

    def end(self, run: Run, files: RunFiles) -> None:
        """Let go of the data."""
        self.samples.forget()
