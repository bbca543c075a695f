"""Weights: a histogram and an image of each, from one reading."""

from __future__ import annotations

from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.model.handles import Array
from monitor_core.tensorboard.formats.axes import Axis
from monitor_core.tensorboard.formats.event_file import EventFile, write_histogram
from monitor_core.tensorboard.formats.images import image_value, weight_image
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part, is_due


@attrs.frozen
class Weights(Part):
    """Write ``<weight>/histogram`` and ``<weight>/image``.

    Args:
        histogram_freq: Every how many epochs to write histograms, starting with the first; 0 for none.
        image_freq: The same for images.
    """

    name: ClassVar[str] = "the weights"

    histogram_freq: int
    image_freq: int

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        histograms, images = is_due(self.histogram_freq, epoch), is_due(self.image_freq, epoch)
        if histograms or images:
            for name, array in run.model.weights():  # type: ignore[union-attr]
                if histograms:
                    write_histogram(files[TRAIN], f"{name}/histogram", array, epoch, self.axis)
                if images:
                    _write_image(files[TRAIN], f"{name}/image", array, epoch, self.axis)


def _write_image(file: EventFile, tag: str, array: Array, step: int, axis: Axis) -> None:
    image = weight_image(array)
    if image is not None:
        file.add_value(image_value(tag, image), step, axis=axis)
