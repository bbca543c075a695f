"""What has been observed of a run so far, as the rules see it.

Contract. All values are on the host, and plain. What was not observed is None or empty; a rule that needs it is not
asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.diagnosis.data import DataSummary
from monitor_core.diagnosis.timing import Timing
from monitor_core.metrics.names import find_metric
from monitor_core.model.probe import Probe
from monitor_core.model.summary import ModelSummary

Floats = NDArray[np.float64]

LEAST_ROWS = 100
"""How many rows tell the labels' entropy or the targets' variance well enough to compare a loss with it."""


@attrs.frozen(eq=False)
class Curve:
    """A metric over the epochs that logged it.

    Attributes:
        epochs: ``(n,) int64``, 0-based, ascending.
        values: ``(n,) float64``.
    """

    epochs: NDArray[np.int64]
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_finite(self) -> bool:
        """Whether there are values, and all are numbers."""
        return len(self.values) > 0 and bool(np.isfinite(self.values).all())


@attrs.frozen(eq=False)
class Batches:
    """Some successive batches of one epoch.

    Attributes:
        epoch: The epoch, 0-based.
        steps: ``(n,) int64``.
        times: ``(n,) float64``, seconds since 1970.
        columns: For each metric, the steps that logged it and its values; in Keras the means of the epoch so far.
    """

    epoch: int
    steps: NDArray[np.int64]
    times: Floats
    columns: Mapping[str, tuple[NDArray[np.int64], Floats]]


@attrs.define(eq=False)
class Seen:
    """What has been observed of a run.

    Attributes:
        epochs_planned: How many epochs are planned, None if unknown.
        steps_per_epoch: How many batches an epoch has, None if unknown.
        model: What is trained, and how; None if not known.
        data: What a sample of the training data is like; None if there is none.
        validation: What the validation data is like, and what it shares with the training data.
        probes: What was seen inside the model, oldest first.
        batches: The batches that have just ended, while rules are asked about them; else None.
        has_raw_batches: Whether batches log values of their own, and not means as in Keras.
        why_missing: For what was not observed, the reason, where one is known.
        timing: How long steps took.
        memory: The process's resident memory at the end of each epoch, bytes; empty where it is not known.
        waiting: For each epoch, how long the loop waited for data, and how long its batches took, with that, seconds;
            empty where it is not measured.
        rate: The current learning rate, None if unknown.
        epoch: The last epoch that ended, 0-based; -1 before.
        step: The last step that ended.
        has_ended: Whether the run has ended as planned.
        fit_shuffles: Whether the training shuffles its data; None if unknown.
    """

    epochs_planned: int | None = None
    steps_per_epoch: int | None = None
    model: ModelSummary | None = None
    data: DataSummary | None = None
    validation: DataSummary | None = None
    probes: list[Probe] = attrs.field(factory=list)
    batches: Batches | None = None
    timing: Timing = attrs.field(factory=Timing)
    memory: list[int] = attrs.field(factory=list)
    waiting: list[tuple[float, float]] = attrs.field(factory=list)
    rate: float | None = None
    epoch: int = -1
    step: int = 0
    has_ended: bool = False
    fit_shuffles: bool | None = None
    has_raw_batches: bool = False
    why_missing: dict[str, str] = attrs.field(factory=dict)
    first: dict[str, float] = attrs.field(factory=dict)
    """Each metric's first value: the first batch's, or else the first epoch's."""
    _columns: dict[str, tuple[list[int], list[float]]] = attrs.field(factory=dict)
    _curves: dict[str, Curve] = attrs.field(factory=dict)

    @property
    def names(self) -> list[str]:
        """The metrics' names."""
        return list(self._columns)

    @property
    def epochs_ended(self) -> int:
        """How many epochs have ended."""
        return self.epoch + 1

    @property
    def progress(self) -> float | None:
        """The share of the planned epochs that have ended, None if no number is planned."""
        return None if not self.epochs_planned else self.epochs_ended / self.epochs_planned

    def add_epoch(self, epoch: int, step: int, logs: Mapping[str, float]) -> None:
        """Add an epoch's results."""
        self.epoch, self.step = epoch, max(self.step, step)
        for name, value in logs.items():
            epochs, values = self._columns.setdefault(name, ([], []))
            epochs.append(epoch)
            values.append(float(value))
            self.first.setdefault(name, float(value))
        self._curves.clear()
        if "learning_rate" in logs:
            self.rate = float(logs["learning_rate"])

    def drop_from(self, epoch: int, step: int) -> None:
        """Drop the epochs from this one on, and what was seen inside after a step: the run went back."""
        for epochs, values in self._columns.values():
            kept = sum(each < epoch for each in epochs)
            del epochs[kept:], values[kept:]
        self._curves.clear()
        self.probes = [probe for probe in self.probes if probe.step <= step]
        self.epoch, self.step = epoch - 1, step

    def curve(self, name: str) -> Curve:
        """Return a metric over the epochs; an empty curve if it was never logged."""
        if name not in self._curves:
            epochs, values = self._columns.get(name, ([], []))
            self._curves[name] = Curve(np.array(epochs, np.int64), np.array(values, np.float64))
        return self._curves[name]

    def has(self, what: str) -> bool:
        """Return whether something that rules need was observed; ``what`` is a name of `rule.MISSING`."""
        if what == "loss":
            return self.model is not None and self.model.loss is not None
        if what == "batches":
            return self.has_raw_batches
        if what in {"memory", "waiting"}:
            return bool(getattr(self, what))
        return bool(self.probes) if what == "probe" else getattr(self, what) is not None

    @property
    def accuracy(self) -> str | None:
        """The name of the accuracy among the metrics, None without one."""
        for name in ("accuracy", "categorical_accuracy", "sparse_categorical_accuracy", "binary_accuracy"):
            if (found := find_metric(name, self._columns)) is not None:
                return found
        return None

    @property
    def chance(self) -> float | None:
        """The accuracy of always naming the most frequent class, None without labels."""
        return None if self.data is None else self.data.largest_share

    @property
    def reference(self) -> float | None:
        """The loss of the best constant answer: the labels' entropy, or the targets' variance; None if not known."""
        if self.model is None or self.data is None or self.model.loss is None or self.data.rows < LEAST_ROWS:
            return None
        return self.data.constant_loss(self.model.loss)

    @property
    def start(self) -> float:
        """The loss at the start: the first batch's, or the first epoch's; NaN if there is none."""
        return self.first.get("loss", math.nan)

    @property
    def has_learned(self) -> bool:
        """Whether an accuracy is clearly above that of a constant answer."""
        name = self.accuracy
        if name is None:
            return False
        values = self.curve(name).values
        floor = self.chance
        return bool(len(values)) and bool(np.nanmax(values) > (0.9 if floor is None else floor + 0.1 * (1 - floor)))
