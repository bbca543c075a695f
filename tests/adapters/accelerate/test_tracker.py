"""The tracker of Accelerate feeds sinks from ``accelerator.log``."""

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("torch")

from accelerate_support import accelerator_of
from monitor_core import CSVLogger, History, open_run
from monitor_core.adapters.accelerate import AccelerateTracker
from monitor_core.testing import Plan
from monitor_core.testing.trainings import Watcher


def log_all(tracker, *logs):
    """Log each with its step."""
    accelerator = accelerator_of(Plan(), log_with=tracker)
    accelerator.init_trackers("a project", config={"rate": 0.1})
    for values, step in logs:
        accelerator.log(values, step=step)
    accelerator.end_training()
    return accelerator


def test_what_is_logged_arrives_under_its_step():
    """Values that are logged under the same step arrive together; the run ends with the training."""
    watcher = Watcher("on_block", "on_epoch_end", "on_train_end")
    log_all(AccelerateTracker(watcher), ({"loss": 1.0}, 10), ({"val_loss": 2.0}, 10), ({"loss": 0.5}, 20))
    assert watcher.rows == [(10, {"loss": 1.0, "val_loss": 2.0}), (20, {"loss": 0.5})]
    assert [event[0] for event in watcher.events] == ["block", "epoch_end", "train_end"]
    assert watcher.events[1][-1] == {"loss": 0.75, "val_loss": 2.0}
    assert (watcher.run.status, watcher.run.step) == ("completed", 20)


def test_without_a_step_each_log_is_the_next():
    """Counted from 1; strings are not metrics."""
    watcher = Watcher()
    log_all(AccelerateTracker(watcher), ({"loss": 1.0, "note": "a string"}, None), ({"loss": 0.5}, None))
    assert watcher.rows == [(1, {"loss": 1.0}), (2, {"loss": 0.5})]


def test_a_step_that_decreases_is_logged_under_the_last(caplog):
    """With one warning."""
    watcher = Watcher()
    log_all(AccelerateTracker(watcher), ({"loss": 1.0}, 5), ({"late": 2.0}, 3), ({"later": 3.0}, 4))
    assert watcher.rows == [(5, {"loss": 1.0, "late": 2.0, "later": 3.0})]
    assert [record.getMessage() for record in caplog.records] == [
        "accelerator.log got step 3 after step 5: it is logged under the latter"
    ]


def test_the_configuration_is_kept():
    """And the run is what Accelerate calls the tracker."""
    tracker = AccelerateTracker()
    accelerator = log_all(tracker)
    assert tracker.config == {"rate": 0.1}
    assert accelerator.get_tracker("monitor_core", unwrap=True) is tracker.run


def test_a_tracker_records(tmp_path):
    """A journal, and a file of a sink."""
    tracker = AccelerateTracker(CSVLogger(tmp_path / "log.csv", per_batch=True), record=tmp_path / "run")
    log_all(tracker, ({"loss": 1.0}, 7))
    assert open_run(tmp_path / "run").status == "completed"
    assert (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()[0].endswith("loss")


def test_a_second_training_is_a_run_of_its_own():
    """Its steps begin again."""
    history = History(per_batch=True)
    tracker = AccelerateTracker(history)
    for _ in range(2):
        log_all(tracker, ({"loss": 1.0}, None), ({"loss": 2.0}, None))
    assert list(history.run) == [0, 1]
    assert tracker.run.step == 2
