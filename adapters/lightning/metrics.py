"""What a module logs, as it logged it: the tensors that a trainer keeps, not the numbers that it makes of them.

``trainer.callback_metrics`` would make numbers of all metrics for the progress bar, and has those of earlier epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


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

    def add(self, outputs: Any) -> None:
        """Add a micro-batch, with what the trainer gives of its ``training_step``: a mapping, or nothing."""
        found = {}
        if isinstance(outputs, Mapping):
            found = {name: value for name, value in outputs.items() if _is_number(value)}
            if self._accumulated > 1 and "loss" in found:
                found["loss"] = found["loss"] * self._accumulated
        if len(self._results) != self._known:
            self._find_logged()
        for entry in self._logged:
            value = entry[0]._forward_cache
            if value is not entry[2]:  # else it was logged in an earlier step
                found[entry[1]] = entry[2] = value
        self._found.append(found)

    def _find_logged(self) -> None:
        """Find the values that are logged by step, once another one was logged for the first time."""
        before = {entry[1]: entry[2] for entry in self._logged}
        metrics = [metric for metric in self._results.values() if metric.meta.on_step]
        self._logged = [[metric, metric.meta.name, before.get(metric.meta.name)] for metric in metrics]
        self._known = len(self._results)

    def take(self) -> dict[str, Any]:
        """Return the mean of each value over the micro-batches that have it, and begin the next step."""
        found, self._found = self._found, []
        self._last = means = found[0] if len(found) == 1 else _means(found)
        return means


def epoch_values(results: Any) -> dict[str, Any]:
    """Return what a module logged for the epoch or evaluation that ends, by the names that it gave."""
    values = {}
    for metric in (results or {}).values():
        if metric.meta.on_epoch and not metric.has_reset:
            value = results._get_cache(metric, on_step=False)
            if value is not None:
                values[results._forked_name(metric, on_step=False)[0]] = value
    return values


def _is_number(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, torch.Tensor) else isinstance(value, (int, float))


def _means(found: list[dict[str, Any]]) -> dict[str, Any]:
    names = {name: None for each in found for name in each}
    return {name: _mean([each[name] for each in found if name in each]) for name in names}


def _mean(values: list[Any]) -> Any:
    return torch.stack([torch.as_tensor(each).detach().reshape(()).float() for each in values]).mean()
