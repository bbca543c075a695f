"""The evaluations that ended in an epoch: which are events of their own, and which belong to the epoch's end.

Contract. An evaluation is an event of its own if more batches of its epoch follow: `EpochEvaluations.settle` is then
called at its end, or just before the next batch. What is not settled by then belongs to the epoch's end, where sinks
act once, on the results of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from monitor_core._log import logger
from monitor_core.bus.run import Evaluation, Run
from monitor_core.values.means import Means


@attrs.frozen
class _Ended:
    evaluation: Evaluation
    logs: dict[str, float]


class EpochEvaluations:
    """Keeps the evaluations of the open epoch until it is known what they are.

    Attributes:
        interval: The means of the training's batches since the last evaluation, while a sink wants them, else None.
    """

    def __init__(self) -> None:
        self.interval: Means | None = None
        self._pending: list[_Ended] = []
        self._settled: dict[str, float] = {}
        self._warned = False

    @property
    def are_pending(self) -> bool:
        """Whether any is still to be delivered."""
        return bool(self._pending)

    def begin_run(self) -> None:
        """Forget the means so far: they are of another run, or of what the run goes back before."""
        self._take_means()

    def begin_epoch(self, run: Run, *, continues: bool) -> None:
        """Forget the last epoch, unless a loaded state is of this one."""
        if not continues:
            self._pending, self._settled = [], {}
        run.stale_metrics = frozenset()

    def add(self, evaluation: Evaluation, logs: Mapping[str, float]) -> None:
        """Take an evaluation that has ended in the open epoch, with its results, without the prefix."""
        prefixed = evaluation.renamed(logs)
        self._warn_of_names_in_common(evaluation, prefixed)
        self._pending.append(_Ended(evaluation, prefixed))

    def settle(self, run: Run, emit: Callable[[dict[str, float]], None], *, before: int | None = None) -> None:
        """Emit what is pending, in order: more batches follow.

        Args:
            run: The run.
            emit: Called with the results of each.
            before: Only those of an earlier step.
        """
        while self._pending and (before is None or self._pending[0].evaluation.step < before):
            ended = self._pending.pop(0)
            self._settled.update(ended.logs)
            with self._delivering(run, ended.evaluation):
                emit(dict(ended.logs))

    def end_epoch(self, run: Run, logs: dict[str, float], emit: Callable[[dict[str, float]], None]) -> None:
        """Emit the epoch's end, with the results of all its evaluations among the logs."""
        pending, self._pending = self._pending, []
        for ended in pending:
            for name in ended.logs:
                self._settled.pop(name, None)
        results = {**self._settled, **{name: value for each in pending for name, value in each.logs.items()}}
        for name, value in results.items():
            logs.setdefault(name, value)
        run.stale_metrics = frozenset(name for name, value in self._settled.items() if _is_same(logs[name], value))
        with self._delivering(run, pending[-1].evaluation if pending else None):
            emit(logs)

    @contextmanager
    def _delivering(self, run: Run, evaluation: Evaluation | None) -> Iterator[None]:
        """Let sinks see which evaluation's results are delivered; another may be open, on another thread."""
        current, run.evaluation = run.evaluation, evaluation
        run.interval_means = {} if evaluation is None else self._take_means()
        try:
            yield
        finally:
            run.evaluation, run.interval_means = current, {}

    def state_dict(self) -> dict[str, Any]:
        """Return the evaluations of the open epoch so far, and the means since the last one, as JSON values."""
        return {
            "pending": [{**attrs.asdict(each.evaluation), "logs": each.logs} for each in self._pending],
            "settled": dict(self._settled),
            "interval": None if self.interval is None else self.interval.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._pending = [
            _Ended(Evaluation(each["name"], each["prefix"], each["step"]), dict(each["logs"]))
            for each in state["pending"]
        ]
        self._settled = dict(state["settled"])
        if self.interval is not None and state["interval"] is not None:
            self.interval.load_state_dict(state["interval"])

    def _take_means(self) -> Mapping[str, float]:
        return {} if self.interval is None else self.interval.take()

    def _warn_of_names_in_common(self, evaluation: Evaluation, logs: Mapping[str, float]) -> None:
        """Warn once where two evaluations of one step report the same metric, of which only the later counts."""
        for other in self._pending:
            shared = sorted(set(other.logs) & set(logs))
            if shared and other.evaluation.step == evaluation.step and not self._warned:
                self._warned = True
                logger.warning(
                    "two evaluations at step %d both report %s, as two results of one dataset: give each dataset a "
                    "name, such as evaluation(name='test')",
                    evaluation.step,
                    ", ".join(map(repr, shared)),
                )


def _is_same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
