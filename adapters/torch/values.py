"""Values that frameworks on PyTorch give to their callbacks: which are numbers, means over micro-batches, states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def is_number(value: Any) -> bool:
    """Return whether a value can be a metric; nothing is read on the host."""
    return value.numel() == 1 if isinstance(value, torch.Tensor) else isinstance(value, (int, float))


def means(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each value over the micro-batches that have it, where the values are."""
    if len(found) == 1:
        return found[0]
    names = {name: None for each in found for name in each}
    return {name: _mean([each[name] for each in found if name in each]) for name in names}


def _mean(values: list[Any]) -> Any:
    return torch.stack([torch.as_tensor(each).detach().reshape(()).float() for each in values]).mean()


def with_tensors(state: Any) -> Any:
    """Return a state with tensors for arrays, for a checkpoint that is read without executing anything in it."""
    return _mapped(state, _as_tensor)


def with_arrays(state: Any) -> Any:
    """Return what `with_tensors` was given."""
    return _mapped(state, _as_array)


def _mapped(state: Any, change: Any) -> Any:
    if isinstance(state, Mapping):
        return {name: _mapped(value, change) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_mapped(value, change) for value in state]
    return change(state)


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def _as_array(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value
