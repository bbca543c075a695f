"""What a sink would have decided about a recorded run: another patience, another threshold, another rule."""

from __future__ import annotations

from typing import Any

import attrs

from monitor_core import History
from monitor_core.errors import SetupError
from monitor_core.files.state import finite_or_names
from monitor_core.journal.files import Kind
from monitor_core.journal.recorded import RecordedRun
from monitor_core.metrics.names import find_metric
from monitor_core.replay import plan_of, replay


@attrs.frozen
class Decided:
    """What a sink would have decided.

    Attributes:
        sink: The sink, with its arguments.
        reason: Why it would have stopped the run, None if it would not have.
        epoch: The epoch in which it would have stopped; else the last one on record; 0-based.
        step: The step of that.
        saved_epochs: How many of the recorded epochs would not have been trained.
        metric: The metric that it watches, None if it watches none.
        best: The best value of the metric by then, as the sink judges it; None if there is none.
        best_epoch: The epoch of that, 0-based.
        rates: The epochs in which the learning rate would have changed, 0-based, and the new rates.
    """

    sink: str
    reason: str | None
    epoch: int
    step: int
    saved_epochs: int
    metric: str | None
    best: float | None
    best_epoch: int | None
    rates: list[tuple[int, float]]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found: dict[str, Any] = finite_or_names(attrs.asdict(self))
        return found


def decide(recorded: RecordedRun, sink: Any) -> Decided:
    """Replay the last recorded run to a sink, and return what it would have decided.

    Args:
        recorded: What `open_run` returned.
        sink: A sink that decides, such as ``EarlyStopping(patience=3)``.

    Raises:
        SetupError: There is no run; its direction is not known; or the sink needs what is not on record.

    Example:
        >>> decide(open_run("runs/a"), EarlyStopping(patience=3)).epoch
        12
    """
    last = attrs.evolve(recorded, runs=recorded.runs[-1:])
    if getattr(sink, "sets_learning_rate", False) and plan_of(last.last).learning_rates is None:
        raise SetupError(
            f"{type(sink).__name__} needs the learning rate, and none is on record in {recorded.path}: a journal has "
            "it if the model's handle does, and a log if learning_rate is one of its metrics"
        )
    history = History()
    run = replay(last, sink, history)
    rates = history["learning_rate"].tolist() if "learning_rate" in history else []
    changed = [
        (epoch, rate)
        for place, (epoch, rate) in enumerate(zip(history.epoch, rates, strict=False))
        if place and rate != rates[place - 1]
    ]
    watched = next(iter(run.watched), None)
    return Decided(
        sink=repr(sink),
        reason=run.stop_reason,
        epoch=int(run.epoch),
        step=int(run.step),
        saved_epochs=_epochs(last) - len(history),
        metric=None if watched is None else watched.metric,
        best=None if watched is None else _value(history, watched.metric, watched.best_epoch, watched.best_step),
        best_epoch=None if watched is None else watched.best_epoch,
        rates=changed,
    )


def _epochs(recorded: RecordedRun) -> int:
    return len(recorded.last.rows(Kind.EPOCH))


def _value(history: History, metric: str, epoch: int | None, step: int | None) -> float | None:
    """Return the metric's value at that step, in an evaluation or at an epoch's end."""
    for record in (history.evaluations, history):
        name = find_metric(metric, list(record))
        places = zip(record.epoch, record.steps.tolist(), strict=True)
        for row, place in enumerate(places):
            if name is not None and place == (epoch, step):
                return float(record[name][row])
    return None
