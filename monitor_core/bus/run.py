"""The run: the state of a training from begin to end, and how a sink acts on it."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import attrs

from monitor_core._log import logger
from monitor_core.bus.costs import Cost
from monitor_core.bus.finding import Finding
from monitor_core.bus.origin import Origin
from monitor_core.model.handles import ModelHandle
from monitor_core.model.probe import Probe
from monitor_core.model.snapshot import Snapshot
from monitor_core.ranks.requests import Requests
from monitor_core.ranks.states import RankStates, Share
from monitor_core.values.html import card, table
from monitor_core.values.labels import EvaluationLabel

Status = Literal["pending", "running", "completed", "stopped", "failed", "interrupted"]


@attrs.frozen(eq=False)
class Failure:
    """What a hook raised.

    Attributes:
        sink: The sink's name.
        hook: The hook's name.
        error: The exception; if it was isolated, without its traceback, so that it keeps nothing alive.
        traceback: The traceback as a string.
        step: The step at which it was raised.
        disables: Whether the sink was disabled after it: it had failed too often in a row.
    """

    sink: str
    hook: str
    error: BaseException
    traceback: str
    step: int
    disables: bool = False


@attrs.frozen
class Save:
    """A file that a sink has saved of the model.

    Attributes:
        file: Its name.
        epoch: The epoch in which, or at whose end, it was saved, 0-based.
        step: How many batches had been trained.
        value: The metric's value that it was saved for, or None.
    """

    file: str
    epoch: int
    step: int
    value: float | None = None


@attrs.define
class Waiting:
    """How long the batches of a loop took, by the time between one and the next.

    Attributes:
        waited: How long the loop waited for data, seconds.
        total: How long the batches took, with that, seconds.
    """

    waited: float = 0.0
    total: float = 0.0
    _before: tuple[float, float] = attrs.field(init=False, default=(0.0, 0.0), repr=False)

    def since_last(self) -> tuple[float, float]:
        """Return both for the batches since the last call."""
        before, self._before = self._before, (self.waited, self.total)
        return self.waited - before[0], self.total - before[1]


@attrs.frozen
class Evaluation(EvaluationLabel):
    """An evaluation of a run.

    Attributes:
        name: Its name, or None.
        prefix: What is prepended to the names of its metrics in the epoch's logs.
        step: How many training steps came before it.
    """

    step: int


class Run:
    """One training, over any number of `fit` calls. The bus keeps it up to date; sinks read it and make requests.

    Attributes:
        id: A unique identifier; a resumed run keeps its own.
        index: The number of this run on its bus, from 0.
        resumed: Whether it continues from a state. True before any sink begins, so that sinks keep the files that are
            there.
        status: ``"pending"`` before train begin, ``"running"``, then ``"completed"``, ``"stopped"`` (a sink called
            `stop`), ``"failed"`` (a sink called `stop` with ``failed=True``, or the training raised) or
            ``"interrupted"`` (Ctrl-C, an exit, or another run began).
        epoch: The current epoch, or the last one, 0-based; -1 before the first.
        step: Batches finished in this run, from 1; 0 before the first. Never reset within a run.
        epochs: How many epochs are planned, None if unknown.
        epoch_began_at: The step at which that epoch began; in a run that continues within an epoch, before it was cut.
        steps_per_epoch: How many batches an epoch has, None if unknown.
        raising: What is raised once the run has ended, see `stop`, or None.
        rank: The number of this process in its job, from 0, as the framework that connects them has it, or else
            torchrun's environment.
        ranks: How many processes the job has.
        rank_requests: While several ranks train together, what this one has asked for since they last agreed; else
            None.
        rank_states: While they do, and the run is to be resumed, what they save together; else None.
        share: While they do, a function that all of them call at the same points with a text that says for what, and
            with bytes; it returns those of all, by rank. None else.
        model: The model's handle, or None. After its end the run no longer keeps the model alive; the handle is
            available as long as the model exists.
        validation_data: The data given for sinks that look at the model, usually ``(x, y)``, or None.
        training_data: ``(x, y)`` as they were passed to `fit`, while it trains; else None. Never draw from an iterator
            among them.
        shuffles: Whether `fit` shuffles them; None if unknown.
        on_sample: A function that gets the first batch of the run's data before it is trained on, or None; set at
            train begin by a sink that looks at the data.
        waiting: How long a `Loop` waits for data, if a sink has set it to a new `Waiting` at train begin; None else.
        stop_reason: Why a stop was requested, human-readable, or None.
        failed: Whether that request reported a failure.
        failures: What sinks raised in this run, in order.
        saves: The files that sinks have saved of the model in this run, in order.
        findings: What was found to be wrong with the training, in order; see `report`.
        probe: What a sink has last seen inside the model, or None; see `show`.
        evaluation: The current evaluation. In ``on_midepoch_evaluation``, the one whose results are delivered; in
            ``on_epoch_end``, the one that belongs to the epoch's end, None if there is none; None elsewhere.
        stale_metrics: In ``on_epoch_end``, the names among its logs whose values are those of an evaluation within the
            epoch, which ``on_midepoch_evaluation`` has delivered already.
        interval_means: In both hooks, the weighted means of the training's metrics since the evaluation before, if a
            sink has ``wants_interval_means``.
        is_diagnosed: Whether a sink looks for what is wrong with the training.
        partial: Whether the last epoch that ended was left early by ``break``.
        watched: The metrics that sinks decide by, as `monitor_core.metrics.outcome.Watched`, each added by its sink
            when the run begins.
        data_state: While a loop reads data in stretches, a function that returns its position in them.
        loaded_data: That position, where the run continues from; None if there is none.
        epoch_state: While an epoch is open that can be continued, a function that returns what it has so far.
        loaded_epoch: That, of the epoch in which the run continues; None where it continues between two.
        cost: While the run is open, a function that returns what the sinks have cost so far.
        bus_state: While the run is open, a function that returns the state of the bus, for sinks that save it.
        on_report: While the run is open, a function that calls a hook of all sinks with its argument, for `report` and
            `show`.
        call_soon: While the run is open, a function that has another one called on the training's thread, just before
            the next batch; any thread may use it.
        folder: The folder in which a `Journal` records the run, None if none does.
        origin: What the run is part of, such as a study or the run in which this process was started; None for nothing.
        requests: What was asked of the run from outside, see `Control`, and what became of each.
    """

    __slots__ = (
        "_model",
        "_recall",
        "bus_state",
        "call_soon",
        "cost",
        "data_state",
        "epoch",
        "epoch_began_at",
        "epoch_state",
        "epochs",
        "evaluation",
        "failed",
        "failures",
        "findings",
        "folder",
        "id",
        "index",
        "interval_means",
        "is_diagnosed",
        "learning_rate_was_set",
        "loaded_data",
        "loaded_epoch",
        "on_report",
        "on_sample",
        "origin",
        "partial",
        "probe",
        "raising",
        "rank",
        "rank_requests",
        "rank_states",
        "ranks",
        "requests",
        "resumed",
        "saves",
        "share",
        "shuffles",
        "stale_metrics",
        "status",
        "step",
        "steps_per_epoch",
        "stop_reason",
        "training_data",
        "validation_data",
        "waiting",
        "watched",
    )

    def __init__(self, index: int = 0, model: ModelHandle | None = None, validation_data: Any = None) -> None:
        self.id = uuid.uuid4().hex
        self.index = index
        self.resumed = False
        self.status: Status = "pending"
        self.epoch = -1
        self.step = 0
        self.epoch_began_at = 0
        self.epochs: int | None = None
        self.steps_per_epoch: int | None = None
        self.rank, self.ranks = 0, 1
        self.rank_requests: Requests | None = None
        self.rank_states: RankStates | None = None
        self.share: Share | None = None
        self.model: ModelHandle | None = model
        self.validation_data = validation_data
        self.training_data: Any = None
        self.shuffles: bool | None = None
        self.on_sample: Callable[[Any], None] | None = None
        self.waiting: Waiting | None = None
        self.stop_reason: str | None = None
        self.failed = False
        self.raising: BaseException | None = None
        self.failures: list[Failure] = []
        self.saves: list[Save] = []
        self.findings: list[Finding] = []
        self.probe: Probe | None = None
        self.is_diagnosed = False
        self.watched: list[Any] = []
        self.learning_rate_was_set = False
        self.evaluation: Evaluation | None = None
        self.partial = False
        self.stale_metrics: frozenset[str] = frozenset()
        self.interval_means: Mapping[str, float] = {}
        self.data_state: Callable[[], list[dict[str, Any]]] | None = None
        self.loaded_data: list[dict[str, Any]] | None = None
        self.epoch_state: Callable[[], dict[str, Any]] | None = None
        self.loaded_epoch: dict[str, Any] | None = None
        self.cost: Callable[[], Cost] | None = None
        self.bus_state: Callable[[], dict[str, Any]] | None = None
        self.on_report: Callable[[str, Any], None] | None = None
        self.call_soon: Callable[[Callable[[], None]], None] | None = None
        self.folder: Path | None = None
        self.origin: Origin | None = None
        self.requests: list[tuple[Any, str]] = []

    def __repr__(self) -> str:
        reason = f", {self.stop_reason!r}" if self.stop_reason else ""
        return f"Run(index={self.index}, {self.status}, epoch={self.epoch}, step={self.step}{reason})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of it: how far it is, and what happened."""
        planned = "" if self.epochs is None else f" of {self.epochs}"
        rows = [("status", self.status), ("epoch", f"{self.epoch + 1}{planned}"), ("step", self.step)]
        rows += [] if self.stop_reason is None else [("stopped", self.stop_reason)]
        rows += [(finding.severity, str(finding)) for finding in self.findings]
        rows += [("failure", f"{each.sink}.{each.hook}: {each.error}") for each in self.failures[:10]]
        return card(f"Run {self.index}", [], table(("", ""), rows))

    @property
    def epoch_step(self) -> int:
        """How many batches of the current epoch have ended."""
        return self.step - self.epoch_began_at

    @property
    def model(self) -> ModelHandle | None:
        """The model's handle, or None."""
        return self._recall() if self._recall is not None else self._model

    @model.setter
    def model(self, model: ModelHandle | None) -> None:
        self._model = model
        self._recall: Callable[[], ModelHandle | None] | None = None

    def release_model(self) -> None:
        """Stop keeping the handle and its model alive, if the handle provides a weak reference."""
        recall = getattr(self._model, "recall", None)
        if recall is not None:
            handle, again = weakref.ref(self._model), recall()
            self._model, self._recall = None, lambda: handle() or again()

    @property
    def stop_training(self) -> NoReturn:
        """Keras's name; reading or setting it says what is here instead."""
        raise AttributeError("a run has no attribute 'stop_training': read run.stopped, and write run.stop('why')")

    @stop_training.setter
    def stop_training(self, _: object) -> None:
        raise AttributeError("run.stop_training cannot be set: write run.stop('why')")

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self.stop_reason is not None

    def stop(self, reason: str, *, failed: bool = False, raising: BaseException | None = None) -> None:
        """Request the end of the training; the loop or adapter stops at its next opportunity.

        Where several ranks train together, all of them stop at the next step at which they agree, and `stopped` is
        true from then on: see `monitor_core.Ranks`.

        Args:
            reason: Why, human-readable. The first request's reason is kept.
            failed: Whether the training has failed, for example because the loss is not finite.
            raising: An exception, which the loop or the framework's training raises once the run has ended and every
                sink has had its train end, also if the run was asked to stop before. If the training raises another,
                that one is raised. The first such exception is kept.

        Raises:
            ValueError: The reason is empty.
        """
        reason = str(reason)  # an exception may be passed
        if not reason:
            raise ValueError("reason must not be empty: say why the training should stop")
        self.raising = raising if self.raising is None else self.raising
        if self.stop_reason is not None:
            return
        if self.rank_requests is None:
            self.stop_at_once(reason, failed=failed)
        elif self.rank_requests.stop(reason, failed=failed):
            logger.info("stop requested, which takes effect when the ranks agree next: %s", reason)

    def stop_at_once(self, reason: str, *, failed: bool) -> None:
        """Stop, as a request that all ranks know does; for the bus."""
        self.stop_reason, self.failed = reason, failed
        logger.info("stop requested: %s", reason)

    def report(self, finding: Finding) -> None:
        """Add a finding to `findings`, and notify all sinks by ``on_finding`` immediately.

        Args:
            finding: What is wrong with the training.
        """
        self.findings.append(finding)
        if self.on_report is not None:
            self.on_report("on_finding", finding)

    def show(self, seen: Probe | Snapshot) -> None:
        """Notify all sinks by ``on_probe`` or ``on_snapshot`` immediately; `probe` is the last probe.

        Args:
            seen: What was seen inside the model, or what it makes of some examples.
        """
        hook = "on_snapshot"
        if isinstance(seen, Probe):
            hook, self.probe = "on_probe", seen
        if self.on_report is not None:
            self.on_report(hook, seen)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group, read from the model's handle; setting it sets all groups.

        Where several ranks train together, those that have not set the same rate get it when they agree next.

        Raises:
            AttributeError: There is no handle, or it has no learning rates.
        """
        return self._rates()[0]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        rates = self._rates()
        model: Any = self.model
        model.learning_rates = [float(rate)] * len(rates)
        self.learning_rate_was_set = True
        if self.rank_requests is not None:
            self.rank_requests.rate = float(rate)

    def _rates(self) -> list[float]:
        rates: list[float] | None = getattr(self.model, "learning_rates", None)
        if not rates:
            why = (
                "no model was given: pass model=..." if self.model is None else f"{type(self.model).__name__} has none"
            )
            raise AttributeError(f"there is no learning rate to read or set: {why}")
        return rates

    def state_dict(self) -> dict[str, Any]:
        """Return what a run that continues elsewhere must know."""
        data = self.loaded_data if self.data_state is None else self.data_state()
        return {
            "id": self.id,
            "index": self.index,
            "epoch": self.epoch,
            "step": self.step,
            "stop_reason": self.stop_reason,
            "rate_set": self.learning_rate_was_set,
            **({} if data is None else {"data": data}),
            **({} if self.epoch_state is None else {"open_epoch": self.epoch_state()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        A run that was asked to stop is not stopped any more; why it was is logged. A sink that would ask again at once
        does so when it gets its own state.
        """
        self.resumed = True
        self.id = state["id"] or self.id  # a journal may have lost it
        self.index, self.epoch, self.step = state["index"], state["epoch"], state["step"]
        self.learning_rate_was_set = state["rate_set"]
        self.epoch_began_at = self.step
        self.loaded_data = state.get("data")  # not in states of earlier releases
        self.loaded_epoch = state.get("open_epoch")
        if state["stop_reason"] is not None:
            logger.info("the run continues; it was stopped in epoch %d: %s", self.epoch + 1, state["stop_reason"])
