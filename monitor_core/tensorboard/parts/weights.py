"""Weights: each one's distribution as a histogram, and each one as a picture, from one reading of them."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.model.handles import Array
from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.histograms import histogram, non_finite
from monitor_core.tensorboard.formats.images import image_value, weight_image
from monitor_core.tensorboard.formats.values import numbers_value
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part
from monitor_core.tensorboard.parts.scalars import write_row


@attrs.frozen
class Weights(Part):
    """Write ``<weight>/histogram`` and ``<weight>/image``.

    Args:
        histogram_freq: Every how many epochs, the first among them, to write histograms; 0 for none.
        image_freq: The same for pictures.
    """

    name: ClassVar[str] = "the weights"

    histogram_freq: int
    image_freq: int

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write what is due."""
        histograms, images = is_due(self.histogram_freq, epoch), is_due(self.image_freq, epoch)
        if histograms or images:
            for name, array in run.model.weights():  # type: ignore[union-attr]
                if histograms:
                    write_histogram(files[TRAIN], f"{name}/histogram", array, epoch)
                if images:
                    _write_image(files[TRAIN], f"{name}/image", array, epoch)


def is_due(frequency: int, epoch: int) -> bool:
    """Answer whether it is the turn of something that is written every so many epochs; 0 is never."""
    return frequency > 0 and epoch % frequency == 0


def write_histogram(file: EventFile, tag: str, array: Any, step: int) -> None:
    """Write the distribution of an array's finite values, and, as ``<tag>/not_finite``, how many others it has."""
    buckets = histogram(array)
    if buckets is not None:
        file.add_value(numbers_value(tag, "histograms", buckets), step)
    if others := non_finite(array, buckets):
        write_row(file, step, {f"{tag}/not_finite": others})


def _write_image(file: EventFile, tag: str, array: Array, step: int) -> None:
    image = weight_image(array)
    if image is not None:
        file.add_value(image_value(tag, image), step)
