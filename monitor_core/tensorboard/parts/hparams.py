"""Hyperparameters: a run's settings and how it ended, for the table that compares runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.tensorboard.formats.event_file import write_row
from monitor_core.tensorboard.formats.hparams import (
    experiment_value,
    flat_hparams,
    session_end_value,
    session_start_value,
)
from monitor_core.tensorboard.formats.texts import table, text_value
from monitor_core.tensorboard.parts.files import TRAIN, WHOLE, RunFiles
from monitor_core.tensorboard.parts.parts import Part

_TAGS = "_hparams_/"


@attrs.define
class HParams(Part):
    """Write the hyperparameters when the first run begins, metrics with them, and each run's status when it ends.

    They are written to the log folder itself, and as text to the train run. The metrics are in the log folder too, as
    ``hparams/<name>``, because TensorBoard finds metrics of runs in subfolders only from the folder above. It takes the
    first of each value that it finds, so values of an earlier run are dropped.

    Args:
        hparams: The hyperparameters by name.
        metrics: The epoch metrics to show with them; None for all that the first epoch has.
    """

    name: ClassVar[str] = "the hyperparameters"

    hparams: Mapping[str, Any]
    metrics: Sequence[str] | None
    _written: bool = False
    _named: list[str] | None = None

    def begin(self, run: Run, files: RunFiles) -> None:
        """Write the hyperparameters, the first time, and drop the end of an earlier run."""
        stale = f"{_TAGS}session_end_info" if self._written else _TAGS
        files.drop(WHOLE, lambda tag: tag.startswith(stale))
        if not self._written:
            if self.metrics is not None:
                self._name(self.metrics, files)
            shown = flat_hparams(self.hparams)
            files[WHOLE].add_value(session_start_value(shown), 0)
            files[TRAIN].add_value(text_value("hparams", table(shown)), 0)
            self._written = True

    def record(self, logs: Mapping[str, float], epoch: int, files: RunFiles) -> None:
        if self._named is None:
            self._name(list(logs), files)
        row = {f"hparams/{name}": logs[name] for name in self._named or () if name in logs}
        if row:
            write_row(files[WHOLE], epoch, row, self.axis)

    def _name(self, metrics: Sequence[str], files: RunFiles) -> None:
        self._named = list(metrics)
        tags = [f"hparams/{name}" for name in self._named]
        files[WHOLE].add_value(experiment_value(flat_hparams(self.hparams), tags), 0)

    def end(self, run: Run, files: RunFiles) -> None:
        files[WHOLE].add_value(session_end_value(run.status), 0)
