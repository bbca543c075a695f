"""Rounds: a training whose framework owns the loop and reports whole rounds, as gradient boosting does.

Contract. A round is an epoch of one step, because it evaluates its sets at its end as an epoch does, and its users
stop, save and draw by rounds. The results of the training data are the step's values and the epoch's logs, under their
own names; every other set is an evaluation, with the set's name as prefix: ``valid_logloss``. The run ends with the
training, or when the ``with`` block around it is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.loop.loop import loop_among
from monitor_core.loop.recording import attach
from monitor_core.metrics.decisions import Mode
from monitor_core.metrics.monitor import DIRECTIONS
from monitor_core.model.handles import ModelHandle
from monitor_core.sinks.early_stopping import EarlyStopping

Results = Mapping[str, Mapping[str, float]]
"""The results of a round: by the set's name, then by the metric's."""


class Rounds:
    """Feed a bus from the rounds of trainings, each of which is a run; or a `Loop`, whose run has all of them.

    Args:
        parts: The sinks, or a single `Loop`.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, as in `Loop`.
        resume: The same.
        strict: Whether every exception of a sink propagates.

    Attributes:
        bus: The bus that carries the events.
        first: The epoch of the first round of this training; of a resumed one, that of its first part.
        done: How many rounds of this training have ended.
        is_in_round: Whether a round is open.

    Raises:
        HookError: A part is not a sink.
        ValueError: A loop is given together with sinks, or with arguments that belong to the loop.
    """

    def __init__(
        self,
        parts: tuple[Any, ...],
        *,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        loop = loop_among(parts, validation_data, record, resume, strict or None)
        self._owns_run = loop is None
        self.bus = Bus(*parts, validation_data=validation_data, strict=strict) if loop is None else loop.bus
        self._resume = attach(self.bus, record=record, resume=resume)
        self.is_in_round = False
        self.first = self.done = 0

    @property
    def run(self) -> Run:
        """The current run, or the last one, or the next one."""
        return self.bus.run

    @property
    def is_open(self) -> bool:
        """Whether a run that this object has begun is open."""
        return self._owns_run and self.run.status == "running"

    @property
    def is_complete(self) -> bool:
        """Whether the planned number of rounds is reached, which a resumed run reaches sooner."""
        return self.run.epochs is not None and self.run.epoch + 1 >= self.run.epochs

    @property
    def best(self) -> tuple[int, float] | None:
        """The best round of this training, from 0, and its value, as the first `EarlyStopping` has it; None without.

        None also if the best one was in an earlier training of the same run.
        """
        for sink in self.bus.sinks:
            if isinstance(sink, EarlyStopping) and sink.unit == "epoch" and sink.best is not None:
                return None if sink.best_epoch < self.first else (sink.best_epoch - self.first, sink.best)
        return None

    def begin(self, model: ModelHandle, rounds: int | None) -> bool:
        """Begin a training.

        Args:
            model: The handle of the model; in a loop's run, it replaces that of an earlier training.
            rounds: How many rounds are planned, None if unknown.

        Returns:
            Whether the run continues from a checkpoint, which the handle has loaded.

        Raises:
            SetupError: A sink cannot begin, or the run cannot continue.
        """
        self.is_in_round = continues = False
        if self._owns_run:
            self.bus.interrupt()  # an earlier training that raised
            self.bus.run.model = model
            continues = self._resume is not None and self._resume.begin()
            self.bus.train_begin(epochs=rounds, steps_per_epoch=1)
        elif self.run.model is None or getattr(self.run.model, "framework", None) == model.framework:
            self.run.model = model
        self.first, self.done = (0, self.run.epoch + 1) if continues else (self.run.epoch + 1, 0)
        return continues

    def begin_round(self) -> None:
        """Begin a round."""
        run = self.run
        self.is_in_round = True
        self.bus.epoch_begin(run.epoch + 1)
        self.bus.batch_begin(run.step + 1)

    def end_round(self, training: Mapping[str, float], evaluations: Results, *, of_all_ranks: bool = False) -> None:
        """End a round.

        Args:
            training: The results of the training data.
            evaluations: The results of the other sets.
            of_all_ranks: Whether they are those of all ranks already, as the framework has reduced them.
        """
        bus = self.bus
        bus.batch_end(bus.run.step + 1, training)
        for name, results in evaluations.items():
            bus.evaluation_begin(name=name)
            bus.evaluation_end(results, of_all_ranks=of_all_ranks)
        self.is_in_round = False
        self.done += 1
        bus.epoch_end(bus.run.epoch, training, of_all_ranks=of_all_ranks)

    def abandon_round(self) -> None:
        """Close the open round, if any, without a record: the framework has begun it and not trained it."""
        if self.is_in_round:
            self.is_in_round = False
            self.bus.epoch_abandon()
            self.run.epoch -= 1

    def end(self, *, is_early: bool = False) -> None:
        """End the training.

        Args:
            is_early: Whether something else than the sinks has stopped it.
        """
        self.abandon_round()
        if self.is_open:
            if is_early and not self.run.stopped:
                self.run.stop(f"another callback stopped the training after round {self.done}")
            self.bus.train_end()

    def leave(self, error: BaseException | None) -> None:
        """End a run that is still open when the ``with`` block is left, by an exception or without one."""
        with deferred_interrupts:
            if self.is_open and error is not None:
                self.is_in_round = False
                self.bus.exception(error)
            else:
                self.end(is_early=not self.is_complete)


def direction_of(metric: str, largest_is_best: frozenset[str], smallest_is_best: frozenset[str]) -> Mode | None:
    """Return the direction in which a metric improves, whatever set it is of; None if it is not known.

    Args:
        metric: Its name in the logs, such as ``auc`` or ``valid_ndcg@5``.
        largest_is_best: The framework's names of metrics that improve by rising, without ``@`` and what follows.
        smallest_is_best: The same for those that improve by falling.
    """
    name = metric.partition("@")[0].lower()
    while name:
        if name in largest_is_best or name in smallest_is_best:
            return "max" if name in largest_is_best else "min"
        if name in DIRECTIONS:
            return DIRECTIONS[name]
        name = name.partition("_")[2]
    return None
