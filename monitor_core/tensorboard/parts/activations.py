"""Activations: the distribution of each layer's outputs on validation samples."""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np

from monitor_core.bus.run import Run
from monitor_core.model.handles import Array
from monitor_core.tensorboard.formats.arrays import real_numbers
from monitor_core.tensorboard.formats.event_file import EventFile, write_histogram, write_row
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.parts import Part, Samples, is_due


@attrs.frozen
class Activations(Part):
    """Write ``<layer>/activations``, and for rectified outputs ``zeros/<layer>/activations``.

    If outputs are never negative and often exactly 0, such as a ReLU's, the histogram counts only the positive ones:
    the zeros would dwarf every other bar. The share of zeros is a scalar, 0 to 1.

    Args:
        freq: Every how many epochs to write, starting with the first.
        samples: The samples to compute them on.
        only_at_hand: Whether to write nothing, without a warning, if the model's handle has no activations or no
            validation data can be read without changing the training.
    """

    name: ClassVar[str] = "the histograms of activations"

    freq: int
    samples: Samples
    only_at_hand: bool = False
    _rectified: set[str] = attrs.field(init=False, factory=set)

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        if is_due(self.freq, epoch) and (not self.only_at_hand or self._are_at_hand(run)):
            x, _ = self.samples.of(run)
            for layer, array in run.model.activations(x):  # type: ignore[union-attr]
                self._write(files[TRAIN], layer, array, epoch)

    def end(self, run: Run, files: RunFiles) -> None:
        self.samples.forget()

    def _are_at_hand(self, run: Run) -> bool:
        return hasattr(run.model, "activations") and self.samples.are_at_hand(run)

    def _write(self, file: EventFile, layer: str, array: Array, epoch: int) -> None:
        values = real_numbers(array)
        zeros = values.size - np.count_nonzero(values)
        if values.size and values.min() >= 0 and (zeros or layer in self._rectified):
            self._rectified.add(layer)  # an epoch without a zero is a point of the curve too
            write_row(file, epoch, {f"zeros/{layer}/activations": zeros / values.size}, self.axis)
            values = values[values > 0] if zeros < values.size else values
        write_histogram(file, f"{layer}/activations", values, epoch, self.axis)
