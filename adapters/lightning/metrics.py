"""What a module logs, as it logged it: the tensors that a trainer keeps, not the numbers that it makes of them.

``trainer.callback_metrics`` would make numbers of all metrics for the progress bar, and has those of earlier epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor_core.adapters.torch.values import is_number, means


class StepValues:
    """Collects the values of a step's micro-batches; nothing is read on the host.

    Args:
        results: What a trainer keeps of the values that its module logs while it trains.
        accumulated: How many micro-batches the trainer accumulates: it has divided their losses by that.
    """

    def __init__(self, results: Mapping[str, Any], accumulated: int) -> None:
        self._results = results
        self._accumulated = accumulated
        self._logged: list[list[Any]] = []  # of each logged value: where it is, its name, and what it was before
        self._found: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._known = 0

    @property
    def names(self) -> set[str]:
        """The names of the values of steps, and of what was logged for epochs."""
        return {*self._last, *(metric.meta.name for metric in self._results.values())}

    def read(self, outputs: Any) -> dict[str, Any]:
        """Return the values of a micro-batch.

        Args:
            outputs: What the trainer gives of its ``training_step``: a dict, or nothing.
        """
        found: dict[str, Any] = {}
        if isinstance(outputs, dict):
            only_loss = len(outputs) == 1 and "loss" in outputs
            found = {**outputs} if only_loss else {name: each for name, each in outputs.items() if is_number(each)}
            if self._accumulated > 1 and "loss" in found:
                found["loss"] = found["loss"] * self._accumulated
        if len(self._results) != self._known:
            self._find_logged()
        for entry in self._logged:
            value = entry[0]._forward_cache
            if value is not entry[2]:  # else it was logged in an earlier step
                found[entry[1]] = entry[2] = value
        return found

    def _find_logged(self) -> None:
        """Find the values that are logged by step, once another one was logged for the first time."""
        before = {entry[1]: entry[2] for entry in self._logged}
        metrics = [metric for metric in self._results.values() if metric.meta.on_step]
        self._logged = [[metric, metric.meta.name, before.get(metric.meta.name)] for metric in metrics]
        self._known = len(self._results)

    def add(self, found: dict[str, Any]) -> None:
        """Keep the values of a micro-batch whose step has not ended."""
        self._found.append(found)

    def end(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the values of the step that ends with this micro-batch: the mean of each that has it."""
        if self._found:
            found, self._found = means([*self._found, found]), []
        self._last = found
        return found

    def drop(self) -> None:
        """Forget the open step."""
        self._found = []


def epoch_values(results: Any) -> dict[str, Any]:
    """Return what a module logged for the epoch or evaluation that ends, by the names that it gave."""
    values = {}
    for metric in (results or {}).values():
        if metric.meta.on_epoch and not metric.has_reset:
            value = results._get_cache(metric, on_step=False)
            if value is not None:
                values[results._forked_name(metric, on_step=False)[0]] = value
    return values
