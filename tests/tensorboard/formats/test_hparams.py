"""Hyperparameters: as values that the HParams tab can show, and as its table."""

from pathlib import Path

import numpy as np
import pytest

from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.hparams import (
    experiment_value,
    flat_hparams,
    session_end_value,
    session_start_value,
)

STATUSES = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]


def trial(folder, hparams, loss, status):
    """Write a trial with its metric."""
    file = EventFile(folder)
    file.add_value(session_start_value(flat_hparams(hparams)), 0)
    file.add_columns(np.array([0, 1]), np.array([1.7e9, 1.7e9]), {"loss": np.array([9.0, loss])}, {"loss": None})
    if status is not None:
        file.add_value(session_end_value(status), 0)


def table(board, *columns):
    """Return the tab's rows: each trial's name, status, hyperparameters and metrics."""
    board.get("plugin/scalars/tags", lambda runs: sum("loss" in tags for tags in runs.values()) >= 3)
    board.post("plugin/hparams/experiment", experimentName="")
    params = [{"hparam": name} for name in columns]
    query = {"allowedStatuses": STATUSES, "colParams": params, "startIndex": 0, "sliceSize": 10}
    found = board.post("plugin/hparams/session_groups", lambda it: len(it["sessionGroups"]) == 3, **query)
    return {
        group["name"]: (
            group["sessions"][0]["status"],
            group["hparams"],
            {each["name"]["tag"]: each["value"] for each in group["metricValues"]},
        )
        for group in found["sessionGroups"]
    }


def test_tensorboard_shows_each_trial_with_its_metric(tmp_path, either_board):
    """Types, statuses and the last value of the metric are in the table, without an experiment."""
    trial(tmp_path / "a", {"rate": 0.1, "units": 8, "fast": True, "name": "x"}, 1.0, "completed")
    trial(tmp_path / "b", {"rate": 0.2, "units": 16, "fast": False, "name": None}, 2.0, "failed")
    trial(tmp_path / "c", {"rate": 0.3, "units": 16, "fast": False, "name": [1, 2]}, 3.0, None)
    found = table(either_board(tmp_path), "rate", "units", "fast", "name")
    assert found == {
        "a": ("STATUS_SUCCESS", {"rate": 0.1, "units": 8.0, "fast": True, "name": "x"}, {"loss": 1.0}),
        "b": ("STATUS_FAILURE", {"rate": 0.2, "units": 16.0, "fast": False, "name": "None"}, {"loss": 2.0}),
        "c": ("STATUS_UNKNOWN", {"rate": 0.3, "units": 16.0, "fast": False, "name": "[1, 2]"}, {"loss": 3.0}),
    }


def test_an_experiment_names_the_columns(tmp_path, either_board):
    """An experiment's hyperparameters have their types, with any values, and its metrics are the table's."""
    value = experiment_value({"rate": 0.1, "fast": True, "size": "many"}, ["loss"])
    EventFile(tmp_path).add_value(value, 0)
    trial(tmp_path / "a", {"rate": 0.1, "fast": True, "size": 1}, 1.0, "completed")
    found = either_board(tmp_path).post(
        "plugin/hparams/experiment", lambda it: it.get("metricInfos"), experimentName=""
    )
    assert [(each["name"], each["type"], each.get("domainDiscrete")) for each in found["hparamInfos"]] == [
        ("fast", "DATA_TYPE_BOOL", None),
        ("rate", "DATA_TYPE_FLOAT64", None),
        ("size", "DATA_TYPE_STRING", None),
    ]
    assert [each["name"]["tag"] for each in found["metricInfos"]] == ["loss"]


def test_values_of_any_type_can_be_shown():
    """Numbers become floats, booleans and strings stay, and everything else becomes a string."""
    shown = flat_hparams(
        {
            "int": 3, "numpy": np.float32(0.5), "array": np.array(2), "bool": np.True_, "text": "a\ud800",
            "none": None, "list": [64, 32], "empty": {}, "path": Path("a/b"), "function": len, "class": dict,
            "huge": 10**400, "optimizer": {"name": "adam", "schedule": {"rate": 0.1}}, 7: 1,
        }
    )  # fmt: skip
    assert shown == {
        "int": 3.0, "numpy": 0.5, "array": 2.0, "bool": True, "text": "a?",
        "none": "None", "list": "[64, 32]", "empty": "{}", "path": "a/b", "function": "len", "class": "dict",
        "huge": "1" + "0" * 400, "optimizer.name": "adam", "optimizer.schedule.rate": 0.1, "7": 1.0,
    }  # fmt: skip
    assert {type(value) for value in shown.values()} == {float, bool, str}


def test_a_long_string_is_truncated():
    """A string too long for the table is truncated."""
    assert flat_hparams({"a": "x" * 5000}) == {"a": "x" * 1000}


def test_two_of_one_name_are_refused():
    """Two names that become one are refused, since one would be lost."""
    with pytest.raises(ValueError, match=r"hparams must have unique names \(got 'a.b' twice\)"):
        flat_hparams({"a": {"b": 1}, "a.b": 2})


def test_a_status_is_a_runs():
    """An unknown status is refused with the list of statuses."""
    with pytest.raises(ValueError, match=r"status must be one of running, completed, .* \(got 'done'\)"):
        session_end_value("done")


def test_times_and_groups_are_as_given():
    """Times and groups are read back from the values."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    started, ended = (
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for value in (session_start_value({}, group="g", time=5.0), session_end_value(time=6.0))
    )
    assert (started.session_start_info.group_name, started.session_start_info.start_time_secs) == ("g", 5.0)
    assert ended.session_end_info.end_time_secs == 6.0
