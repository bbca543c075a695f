"""What a module logs, as it logged it: the tensors that a trainer keeps, not the numbers that it makes of them.

``trainer.callback_metrics`` would make numbers of all metrics for the progress bar, and has those of earlier epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch


class StepValues:
    """Collects the values of a step's micro-batches; nothing is read on the host."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._last: dict[str, Any] = {}
        self._found: list[dict[str, Any]] = []

    def add(self, outputs: Any, results: Mapping[str, Any] | None, scale: int) -> None:
        """Add a micro-batch.

        Args:
            outputs: What the trainer gives of its ``training_step``: a mapping, or nothing.
            results: What the trainer keeps of the values that the module logged.
            scale: What the trainer has divided the loss by.
        """
        found = {}
        if isinstance(outputs, Mapping):
            found = {name: value for name, value in outputs.items() if _is_number(value)}
            if scale > 1 and "loss" in found:
                found["loss"] = found["loss"] * scale
        for key, metric in (results or {}).items():
            value = getattr(metric, "_forward_cache", None) if metric.meta.on_step else None
            if value is not None and value is not self._last.get(key):  # else it was logged in an earlier step
                self._last[key] = value
                found[metric.meta.name] = value
        self._found.append(found)

    def take(self) -> dict[str, Any]:
        """Return the mean of each value over the micro-batches that have it, and begin the next step."""
        found, self._found = self._found, []
        if len(found) == 1:
            means = found[0]
        else:
            names = {name: None for each in found for name in each}
            means = {name: _mean(each[name] for each in found if name in each) for name in names}
        self.names |= means.keys()
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


def _mean(values: Iterable[Any]) -> Any:
    tensors = [torch.as_tensor(value, dtype=None) for value in values]
    return torch.stack([each.detach().reshape(()).float() for each in tensors]).mean()
