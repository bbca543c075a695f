"""What the contract of adapters lets an adapter's test train, and what it gets back; and sinks that misbehave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import attrs

from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.model.handles import Array
from monitor_core.testing.recorder import Recorder


@attrs.define(kw_only=True)
class Plan:
    """A training. The same plan trains the same model on the same data, from the same weights, in the same order.

    Attributes:
        epochs: The number of epochs.
        batches: The number of micro-batches in an epoch, a multiple of ``accumulation``.
        accumulation: The number of micro-batches whose gradients make up an optimizer step.
        rate: The learning rate, constant.
        evaluates: Whether to evaluate at the end of each epoch.
        compiled: Whether to train with a compiled step.
        skipped: The optimizer step, from 1, whose gradients overflow, so that a loss scaler skips it; None for none.
        folder: Where to keep what a later training needs to continue this one, and from which to continue; None if
            this training is not to be continued.
        error: What `visit` raises.
        place: Where it raises: ``"batch"`` or ``"evaluation"``.
        at: At which visit of that place, from 1.
    """

    epochs: int = 2
    batches: int = 8
    accumulation: int = 1
    rate: float = 0.125
    evaluates: bool = True
    compiled: bool = False
    skipped: int | None = None
    folder: Path | None = None
    error: BaseException | None = None
    place: str = "batch"
    at: int = 0
    _visits: Counter[str] = attrs.field(init=False, repr=False, factory=Counter)

    @property
    def steps(self) -> int:
        """The number of optimizer steps of an epoch."""
        return self.batches // self.accumulation

    def visit(self, place: str) -> int:
        """Return the number of this visit, from 1; the training calls it within each batch, in the user's own code.

        Args:
            place: ``"batch"`` for a micro-batch of the training, ``"evaluation"`` for a batch of an evaluation.

        Raises:
            BaseException: The plan's error, if it is due here.
        """
        self._visits[place] += 1
        if self.error is not None and (place, self._visits[place]) == (self.place, self.at):
            raise self.error
        return self._visits[place]


@attrs.frozen(kw_only=True)
class Trained:
    """A training that ended without an exception.

    Attributes:
        weights: The trained weights.
        steps: The optimizer steps that were made, as the framework counts them; of a training that continued another,
            those of both.
        losses: The metric of each step of this training as it should arrive, usually the mean of its micro-batches.
        evaluations: The metric of each evaluation of this training.
        rate: The learning rate of the optimizer now.
        compilations: How often the step of this training was compiled.
    """

    weights: Sequence[Array]
    steps: int
    losses: Sequence[float]
    evaluations: Sequence[float] = ()
    rate: float | None = None
    compilations: int = 0


class Train(Protocol):
    """What the fixture ``train`` returns."""

    def __call__(self, sinks: Sequence[Any] | None, plan: Plan) -> Trained:
        """Train.

        Args:
            sinks: The sinks to attach; None to train without the adapter.
            plan: What to train.

        Raises:
            BaseException: What the training or the framework raises.
        """
        ...


class Boom(Exception):  # noqa: N818 (raised on purpose, it is not an error)
    """What tests raise."""


class Watcher(Recorder):
    """A recorder that keeps the run, for what is left of it at the end."""

    run: Run

    def record(self, run: Run, hook: str, *args: Any) -> None:
        """Keep the run, and record the event."""
        self.run = run
        super().record(run, hook, *args)

    @property
    def rows(self) -> list[tuple[int, Mapping[str, float]]]:
        """The steps that arrived in blocks, with their values."""
        return [row for event in self.events if event[0] == "block" for row in event[1][1]]

    @property
    def steps(self) -> list[int]:
        """The steps that arrived in blocks."""
        return [step for step, _ in self.rows]


class Raiser(Recorder):
    """A sink that raises in one of its hooks, the second time that it is called if it is one of a batch.

    Args:
        hook: The hook.
        error: What it raises.
    """

    critical: ClassVar[bool] = True

    def __init__(self, hook: str, error: BaseException) -> None:
        super().__init__(hook)
        self.error = error

    def record(self, run: Run, hook: str, *args: Any) -> None:
        """Raise."""
        super().record(run, hook, *args)
        if len(self.events) == (2 if "batch" in hook else 1):
            raise self.error


class Failing(Recorder):
    """A sink that raises in each hook, without ending the training."""

    def record(self, run: Run, hook: str, *args: Any) -> None:
        """Raise."""
        raise Boom(f"the sink fails in {hook}")


class Stopper(Recorder):
    """A sink that asks for a stop at the given call of one hook.

    Args:
        hook: The hook.
        call: At which call, from 1.
        reason: Why.
    """

    def __init__(self, hook: str, call: int = 1, reason: str = "enough is enough") -> None:
        super().__init__(hook)
        self.call = call
        self.reason = reason

    def record(self, run: Run, hook: str, *args: Any) -> None:
        """Ask for it."""
        super().record(run, hook, *args)
        if len(self.events) == self.call:
            run.stop(self.reason)


class Rates(Sink):
    """Read the rate at the end of each batch, and set it after one.

    Args:
        at: After which step to set it; None to leave it.
        rate: The rate to set.
    """

    def __init__(self, at: int | None = None, rate: float = 0.0) -> None:
        self.at = at
        self.rate = rate
        self.read: list[float] = []

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """Read, and set."""
        self.read.append(run.learning_rate)
        if step == self.at:
            run.learning_rate = self.rate


class StepCounter(Sink):
    """Count the steps of a run, in all its trainings."""

    def __init__(self) -> None:
        self.seen = 0

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """Count."""
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting."""
        self.seen = state["seen"]
