"""Hyperparameters and their results, as TensorBoard's HParams tab shows them: a row for each trial.

A trial's folder gets `session_start_value` when it begins and `session_end_value` when it ends, at step 0. That is
enough: the tab finds its columns by itself, and takes every scalar of the trial's run and of runs below it as a
metric. If the folder above has an `experiment_value`, the tab shows only what that names.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from monitor_core.tensorboard.formats.values import numbers_value

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

Plain = bool | float | str
"""The types that the tab can show."""

_LONGEST = 1000  # characters of a string
_STATUSES = {
    "running": "STATUS_RUNNING",
    "completed": "STATUS_SUCCESS",
    "stopped": "STATUS_SUCCESS",
    "failed": "STATUS_FAILURE",
    "interrupted": "STATUS_FAILURE",
}


def experiment_value(hparams: Mapping[str, Plain], metrics: Iterable[str]) -> Summary.Value:
    """Return the hyperparameters and metrics of an experiment's trials, for the folder above theirs or the same one.

    Args:
        hparams: An example of each hyperparameter by name, as `flat_hparams` returns them: the column gets its type
            and shows any values of that type.
        metrics: The tags of the trial's own scalars that are its metrics.
    """
    from tensorboard.plugins.hparams.summary_v2 import Discrete, HParam, Metric, hparams_config_pb

    columns = [HParam(name, Discrete([], dtype=type(value))) for name, value in hparams.items()]
    summary = hparams_config_pb(columns, [Metric(tag, group="") for tag in metrics], clock.time())
    return _only(summary)


def session_start_value(hparams: Mapping[str, Plain], *, group: str = "", time: float | None = None) -> Summary.Value:
    """Return a trial's hyperparameters, for its folder.

    Args:
        hparams: Names and values, as `flat_hparams` returns them.
        group: Trials of one group are one row, with the mean of their metrics; without a group each has its row.
        time: When it began, seconds since 1970; None is now.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    return _only(hparams_pb(dict(hparams), trial_id=group, start_time_secs=time))


def session_end_value(status: str = "completed", *, time: float | None = None) -> Summary.Value:
    """Return how a trial ended, for its folder.

    Args:
        status: A run's status: running, completed, stopped, failed or interrupted.
        time: When it ended, seconds since 1970; None is now.

    Raises:
        ValueError: The status is none of these.
    """
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    if status not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)} (got {status!r})")
    number = api_pb2.Status.Value(_STATUSES[status])
    info = SessionEndInfo(status=number, end_time_secs=clock.time() if time is None else time)
    content = HParamsPluginData(session_end_info=info).SerializeToString()
    return numbers_value(SESSION_END_INFO_TAG, "hparams", np.zeros(0, np.float32), content=content)


def flat_hparams(hparams: Mapping[str, Any]) -> dict[str, Plain]:
    """Return hyperparameters in the form that the tab can show.

    Nested mappings become ``outer.inner``. Numbers, NumPy's and other frameworks' included, become floats. Booleans and
    strings stay. Everything else becomes a string: None, lists, and functions and classes by their name.

    Raises:
        ValueError: Two have the same name.
    """
    flat: dict[str, Plain] = {}
    for name, value in _items(hparams, ""):
        if name in flat:
            raise ValueError(f"hparams must have unique names (got {name!r} twice)")
        flat[name] = _plain(value)
    return flat


def _items(mapping: Mapping[Any, Any], outer: str) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        name = f"{outer}{key}".encode(errors="replace").decode()
        if isinstance(value, Mapping) and value:
            yield from _items(value, f"{name}.")
        else:
            yield name, value


def _plain(value: Any) -> Plain:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return str(value)
    text = value if isinstance(value, str) else str(getattr(value, "__name__", value))
    return text[:_LONGEST].encode(errors="replace").decode()


def _only(summary: Summary) -> Summary.Value:
    (value,) = summary.value
    return value
