"""Gradients: the distribution of the loss's gradient with respect to each weight, on validation samples."""

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
        freq: Every how many epochs to write, starting with the first.
        samples: The samples to compute them on.
    """

    name: ClassVar[str] = "the histograms of gradients"

    freq: int
    samples: Samples

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        if is_due(self.freq, epoch):
            x, y = self.samples.of(run)
            if y is None:
                raise ValueError("the validation data have no targets, which a loss needs: pass validation_data=(x, y)")
            for name, array in run.model.gradients(x, y):  # type: ignore[union-attr]
                write_histogram(files[TRAIN], f"{name}/gradient", array, epoch, self.axis)

    def end(self, run: Run, files: RunFiles) -> None:
        self.samples.forget()
