"""Hyperparameters and what came of them, as TensorBoard's HParams tab shows them: a row for each trial.

A trial's folder gets `session_start_value` when it begins and `session_end_value` when it ends, at step 0. That is
enough: the tab finds its columns by itself, and takes every scalar of the trial's run and of those below it as a
metric. Where an `experiment_value` stands in the folder above, it shows what is named there alone.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from monitor_core.tensorboard.formats.values import numbers_value

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Value
    from tensorboard.compat.proto.summary_pb2 import Summary

Plain = bool | float | str
"""What the tab can show."""

_PREFIX = "_hparams_"
_LONGEST = 1000  # characters of a text
_STATUSES = {
    "running": "STATUS_RUNNING",
    "completed": "STATUS_SUCCESS",
    "stopped": "STATUS_SUCCESS",
    "failed": "STATUS_FAILURE",
    "interrupted": "STATUS_FAILURE",
}


def experiment_value(hparams: Mapping[str, Sequence[Any]], metrics: Sequence[tuple[str, str]]) -> Summary.Value:
    """Return what the trials of an experiment vary and are measured by, for the folder above theirs.

    Args:
        hparams: Each hyperparameter's name and the values that it takes.
        metrics: Each metric's run below the trial's (``""`` for the trial's own), and its tag.
    """
    from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName

    infos = []
    for name, values in hparams.items():
        kind, choices = _column(values)
        info = HParamInfo(name=name, type=kind)
        info.domain_discrete.extend(choices)
        infos.append(info)
    names = [MetricName(group=group, tag=tag) for group, tag in metrics]
    experiment = Experiment(
        hparam_infos=infos, metric_infos=[MetricInfo(name=name) for name in names], time_created_secs=clock.time()
    )
    return _session_value("experiment", experiment)


def session_start_value(hparams: Mapping[str, Any], *, group: str = "", time: float | None = None) -> Summary.Value:
    """Return a trial's hyperparameters, for its folder.

    Args:
        hparams: Names and values, as `flat_hparams` takes them.
        group: Trials of one group are one row, with the mean of their metrics; the empty one has a row for each.
        time: When it began, seconds since 1970; None is now.
    """
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    info = SessionStartInfo(group_name=group, start_time_secs=clock.time() if time is None else time)
    for name, value in flat_hparams(hparams).items():
        info.hparams[name].CopyFrom(_proto(value))
    return _session_value("session_start_info", info)


def session_end_value(status: str = "completed", *, time: float | None = None) -> Summary.Value:
    """Return how a trial ended, for its folder.

    Args:
        status: A run's status: running, completed, stopped, failed or interrupted.
        time: When it ended, seconds since 1970; None is now.

    Raises:
        ValueError: The status is another.
    """
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

    if status not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)} (got {status!r})")
    number = api_pb2.Status.Value(_STATUSES[status])
    info = SessionEndInfo(status=number, end_time_secs=clock.time() if time is None else time)
    return _session_value("session_end_info", info)


def flat_hparams(hparams: Mapping[str, Any]) -> dict[str, Plain]:
    """Return hyperparameters as the tab can show them.

    Mappings within become ``outer.inner``; numbers, also NumPy's and of other frameworks, become floats, booleans and
    texts stay, and everything else becomes a text: None, lists, and functions and classes by their name.

    Raises:
        ValueError: Two are called the same.
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


def _column(values: Iterable[Any]) -> tuple[Any, list[Plain]]:
    """Return the type that holds all the values, and the values in that type."""
    from tensorboard.plugins.hparams import api_pb2

    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain}
    if kinds == {bool}:
        return api_pb2.DATA_TYPE_BOOL, plain
    if kinds == {float}:
        return api_pb2.DATA_TYPE_FLOAT64, plain
    return api_pb2.DATA_TYPE_STRING, [str(value).removesuffix(".0") for value in plain]


def _proto(value: Plain) -> Value:
    from google.protobuf.struct_pb2 import Value

    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _session_value(field: str, message: Any) -> Summary.Value:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = HParamsPluginData(version=0, **{field: message}).SerializeToString()
    return numbers_value(f"{_PREFIX}/{field}", "hparams", np.zeros(0, np.float32), content=content)
