"""Replay: feed what a journal recorded to sinks, without training.

Contract. Sinks receive the recorded events as in the original run, in the same order, through a bus: batches with
their values as floats, blocks with their recorded times, evaluations, epochs. A request to stop takes effect before the
next batch, and the rest of the record is not played. Nothing is isolated: what a sink raises propagates. There is no
model; a stand-in provides its recorded learning rates and the directions of its metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs
from monitor_core.errors import SetupError
from monitor_core.journal.facts import Interval, MidepochEvaluation, Plan
from monitor_core.journal.files import Kind, Record
from monitor_core.journal.recorded import RecordedRun
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RunRecord
from monitor_core.model.handles import ModelHandle
from monitor_core.values.blocks import Block
from monitor_core.values.labels import UNNAMED
from monitor_core.values.means import Means

NO_PLAN = Plan(epochs=None, steps_per_epoch=None, learning_rates=None, directions={})
_RATES = ("learning_rate", "lr")
_TAKEN_AS_ENDED = ("completed", "stopped", "failed")


class RecordedModel:
    """A stand-in for the model: a handle that provides what the journal recorded of it.

    Attributes:
        learning_rates: Each parameter group's rate in the first epoch, if recorded; from there on, sinks may set them.
    """

    learning_rates: list[float]

    def __init__(self) -> None:
        self._directions: dict[str, Any] = {}

    def begin(self, plan: Plan) -> None:
        """Take the values that the model had when a run began."""
        self._directions = plan.directions
        if plan.learning_rates is not None:
            self.learning_rates = list(plan.learning_rates)

    def direction(self, metric: str) -> Literal["min", "max"] | None:
        """Return the direction in which the metric improves, None if the model did not know it."""
        known = self._directions.get(metric)
        return known if known in ("min", "max") else None

    def __getattr__(self, name: str) -> Any:
        """Raise for other members, which need the model."""
        what = "no learning rate is on record" if name == "learning_rates" else "a replay has no model"
        raise AttributeError(f"{what}; pass model=... to provide {name!r}", name=name, obj=self)


def replay(recorded: RecordedRun, *sinks: object, model: ModelHandle | None = None) -> Run:
    """Feed a recorded run to sinks, without training.

    Use it to write a CSV file or a TensorBoard folder afterwards, or to see what another `EarlyStopping` would have
    done. If any of the sinks may set the learning rate, the logs have the rate that it sets, beginning with the first
    epoch's. If a sink stops within an epoch, that epoch's results are unknown and left out.

    Args:
        recorded: What `open_run` returned. Several runs are played one after the other, each as a run.
        *sinks: The sinks, in the order in which they are called.
        model: A handle to use instead of the stand-in, for sinks that need more of the model.

    Returns:
        The run, the last one of several: whether a sink asked to stop, why and in which epoch. Its status results from
        these sinks; it is ``"interrupted"`` if none asked to stop and the record is incomplete.

    Raises:
        SetupError: No run is on record, or a sink needs a member that only the model has, or cannot begin.
        HookError: An object is not a sink.

    Example:
        >>> run = replay(open_run("runs/a"), EarlyStopping("val_loss", patience=2))
        >>> run.epoch, run.stop_reason
    """
    if not recorded.runs:
        raise SetupError(f"{recorded.path} holds no run to replay")
    handle = RecordedModel() if model is None else model
    bus = _ReplayBus(*sinks, model=handle, strict=True)
    bus.slow_share = math.inf  # steps take no time here
    player = _Player(bus)
    for run in recorded.runs:
        plan = plan_of(run)
        if isinstance(handle, RecordedModel):
            handle.begin(plan)
        player.play(run, plan)
    return bus.run


def plan_of(run: RunRecord) -> Plan:
    """Return what was planned; of a log, no more than the learning rate of its first epoch, if it has one."""
    if run.log is None:
        return next(iter(run.facts(Plan)), NO_PLAN)
    logs = run.rows(Kind.EPOCH)[0].logs() if run.rows(Kind.EPOCH) else {}
    rates = [logs[name] for name in _RATES if name in logs][:1]
    return attrs.evolve(NO_PLAN, learning_rates=rates or None)


class _ReplayBus(Bus):
    """A bus that receives blocks as they were recorded, instead of gathering them again."""

    def block(self, block: Block) -> None:
        """Deliver a block."""
        self.run.step = int(block.steps[-1])
        if self._evaluations.interval is not None:
            self._evaluations.interval.add(block)
        self._emit("on_block", block)

    def interval(self, means: Mapping[str, float]) -> None:
        """Use these means since the last evaluation, weights and all, instead of those of the blocks."""
        if self._evaluations.interval is not None:
            self._evaluations.interval = _RecordedMeans(means)

    def batch(self, step: int, logs: Logs) -> None:
        """Begin and end a batch, for sinks that listen to batches."""
        self._emit("on_batch_begin", step)
        self.run.step = step
        self._emit("on_batch_end", step, logs)


class _RecordedMeans(Means):
    """Means that were recorded, weights and all; blocks after them are added from scratch."""

    def __init__(self, means: Mapping[str, float]) -> None:
        super().__init__()
        self._means = means

    def take(self) -> dict[str, float]:
        """Return the recorded means once, then those of the blocks since."""
        means, self._means = dict(self._means), {}
        return means or super().take()


class _Player:
    """Plays runs on a bus."""

    def __init__(self, bus: _ReplayBus) -> None:
        self.bus = bus
        self._open: int | None = None
        self._plays_batches = bus.has_listeners("on_batch_begin", "on_batch_end")
        self._drops_rates = any(getattr(sink, "sets_learning_rate", False) for sink in bus.sinks)

    def play(self, run: RunRecord, plan: Plan) -> None:
        """Play a run from its begin to its end."""
        bus = self.bus
        bus.train_begin(epochs=plan.epochs, steps_per_epoch=plan.steps_per_epoch)
        try:
            all(map(self._play, run.records))
            self._leave()
        except BaseException as error:
            bus.exception(error)
            raise
        if bus.run.stopped or run.status in _TAKEN_AS_ENDED:
            bus.train_end()
        else:
            bus.interrupt()

    def _play(self, record: Record) -> bool:
        """Play a record; return whether to continue."""
        rows = record.content
        if isinstance(rows, Interval):
            self.bus.interval({name: float(value) for name, value in rows.means.items()})
        if isinstance(rows, MidepochEvaluation):
            return self._settle(rows.step)
        if not isinstance(rows, Rows):
            return True
        begins_batch_or_epoch = record.kind is Kind.BATCHES or rows.epoch > self.bus.run.epoch
        if self.bus.run.stopped and begins_batch_or_epoch:
            return False
        self._enter(rows.epoch)
        return _PLAY[record.kind](self, rows)

    def _settle(self, step: int) -> bool:
        """Deliver the evaluations within the epoch; return whether to continue: not after a new request to stop."""
        run, was_stopped = self.bus.run, self.bus.run.stopped
        run.step = max(run.step, step)  # batches need not be on record
        self.bus.settle_evaluations()
        return was_stopped or not run.stopped

    def _enter(self, epoch: int) -> None:
        """Begin the epoch, unless it has begun; records between two epochs have the number of the one before."""
        if epoch > self.bus.run.epoch:
            self._leave()
            self.bus.epoch_begin(epoch)
            self._open = epoch

    def _leave(self) -> None:
        """End the open epoch, if there is one, without results: it was aborted."""
        self._open = None
        self.bus.epoch_abandon()

    def _batches(self, rows: Rows) -> bool:
        block = rows.block()
        played = self._each_batch(block) if self._plays_batches else len(block)
        self.bus.block(block if played == len(block) else rows.first(played).block())
        return played == len(block)

    def _each_batch(self, block: Block) -> int:
        """Play batch by batch, until a sink asks to stop; return how many."""
        for number, (step, logs) in enumerate(block.rows(), start=1):
            self.bus.batch(step, logs)
            if self.bus.run.stopped:
                return number
        return len(block)

    def _evaluation(self, rows: Rows) -> bool:
        label = rows.evaluation or UNNAMED
        self.bus.evaluation_begin(label.prefix, name=label.name, step=int(rows.steps()[-1]))
        self.bus.evaluation_end(rows.logs(), followed=False)
        return True

    def _epoch(self, rows: Rows) -> bool:
        if rows.epoch == self._open:  # else the record of its begin is lost
            self.bus.run.step = int(rows.steps()[-1])
            logs = rows.logs()
            if self._drops_rates:
                logs.pop("learning_rate", None)
            self.bus.epoch_end(rows.epoch, logs)
            self._open = None
        return True


_PLAY = {Kind.BATCHES: _Player._batches, Kind.EVALUATION: _Player._evaluation, Kind.EPOCH: _Player._epoch}
