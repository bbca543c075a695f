"""trackio: what its own reader finds in its database."""

import functools
import math
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from disks import filled, small_disk
from monitor_core import Loop, SetupError
from monitor_core.testing import SinkContract
from trackers_support import train_two_epochs, train_with_kill
from web_server import wait_until

pytest.importorskip("trackio")

from trackio import sqlite_storage
from trackio.sqlite_storage import SQLiteStorage

from monitor_core.trackers import Trackio

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def folder(tmp_path_factory, monkeypatch):
    """Let trackio's databases be in a folder of this test's."""
    found = tmp_path_factory.mktemp("trackio")
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", found)
    return found


class TestContract(SinkContract):
    """The sink passes the contract of sinks."""

    @pytest.fixture
    def make_sink(self):
        """Return what makes one."""
        return lambda: Trackio("digits", per_batch=True, config={"width": 4})


def read(run_name=None):
    """Return the rows of the project's run, as (step, metrics)."""
    (record,) = SQLiteStorage.get_run_records("digits")
    logs = SQLiteStorage.get_logs("digits", run_name or record["name"])
    return [
        (row["step"], {name: row[name] for name in row if name not in ("step", "timestamp")})
        for row in sorted(logs, key=lambda row: row["step"])
    ]


def test_a_run_arrives():
    """Rows of batches and epochs at their steps, and the configuration."""
    loop = train_two_epochs(Trackio("digits", per_batch=True, group="mine", config={"optimizer": {"rate": 0.1}}))
    assert read() == [
        (1, {"batch/loss": 4.0}),
        (2, {"batch/loss": 2.0}),
        (2, {"loss": 3.0, "val_loss": 5.0}),
        (3, {"batch/loss": 2.0}),
        (4, {"batch/loss": 1.0}),
        (4, {"loss": 1.5, "val_loss": 4.0}),
    ]
    config = SQLiteStorage.get_run_config("digits", run_id=loop.run.id)
    assert (config["optimizer"], config["_Group"]) == ({"rate": 0.1}, "mine")
    assert SQLiteStorage.get_run_records("digits")[0]["name"] == f"run-{loop.run.id[:8]}"


def test_values_that_are_not_finite_arrive():
    """And names that trackio reserves are prefixed as it does."""
    with Loop(Trackio("digits", run_name="odd")) as loop:
        for _ in loop.epochs(1):
            loop.log(nan=math.nan, inf=-math.inf, time=1.0)
    ((_, row),) = read("odd")
    assert math.isnan(row["nan"])
    assert (row["inf"], row["__time"]) == (-math.inf, 1.0)


def test_a_resumed_run_continues_without_a_duplicate():
    """Rows that were written before the kill, after the last save, are not written again."""
    train_with_kill(lambda: Trackio("digits", per_batch=True))
    assert [(step, row["batch/loss"]) for step, row in read() if "batch/loss" in row] == [
        (step, 7.0 - step) for step in range(1, 7)
    ]
    assert [(step, row["loss"]) for step, row in read() if "loss" in row] == [(2, 5.5), (6, 2.5)]


def test_results_of_epochs_at_one_step_are_all_kept():
    """An epoch without batches stands where the one before ended."""
    with Loop(Trackio("digits")) as loop:
        for epoch in loop.epochs(2):
            for loss in loop.batches([1.0] if epoch == 0 else []):
                loop.log(loss=loss)
            loop.log(val_loss=float(epoch))
    assert [row["val_loss"] for _, row in read()] == [0.0, 1.0]


@pytest.mark.usefixtures("quick")
def test_a_locked_database_is_logged_once(monkeypatch, folder, warned):
    """And gets everything when the lock is released, where trackio's own writer drops it."""
    patient = SQLiteStorage._get_connection
    monkeypatch.setattr(SQLiteStorage, "_get_connection", staticmethod(functools.partial(patient, timeout=0.01)))
    SQLiteStorage.init_db("digits")
    tracker = Trackio("digits", per_batch=True, flush_seconds=0.0)
    with sqlite3.connect(folder / "digits.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        train_two_epochs(tracker)
        wait_until(lambda: any("database is locked" in text for text in warned()))
        other.rollback()
    assert tracker.flush(60)
    assert [row["val_loss"] for _, row in read() if "val_loss" in row] == [5.0, 4.0]
    assert len([text for text in warned() if "database is locked" in text]) == 1
    assert (tracker.failed, tracker.dropped) == (0, 0)


@pytest.mark.usefixtures("quick")
def test_a_database_that_stays_locked_costs_counted_values(monkeypatch, folder, warned):
    """The training ends as usual."""
    patient = SQLiteStorage._get_connection
    monkeypatch.setattr(SQLiteStorage, "_get_connection", staticmethod(functools.partial(patient, timeout=0.01)))
    SQLiteStorage.init_db("digits")
    tracker = Trackio("digits", retry_seconds=0.2)
    with sqlite3.connect(folder / "digits.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        train_two_epochs(tracker)
        assert tracker.flush(60) is False
        other.rollback()
    assert (tracker.failed, tracker.lost_values) == (2, 4)
    assert len([text for text in warned() if "OperationalError: database is locked" in text]) == 1


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_logged_once(monkeypatch, tmp_path, warned):
    """And gets everything when there is room again."""
    with small_disk(tmp_path / "disk", 1 << 22) as disk:
        monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", disk)
        SQLiteStorage.init_db("digits")
        tracker = Trackio("digits", per_batch=True, flush_seconds=0.0)
        with filled(disk):
            train_two_epochs(tracker)
            wait_until(lambda: any("Trackio cannot deliver" in text for text in warned()))
        assert tracker.flush(60)
        assert [row["val_loss"] for _, row in read() if "val_loss" in row] == [5.0, 4.0]
    assert len([text for text in warned() if "Trackio cannot deliver" in text]) == 1
    assert (tracker.failed, tracker.dropped) == (0, 0)


def test_the_project_is_one_that_its_dashboard_reads(tmp_path):
    """In a process of its own, with trackio's own folder and reader."""
    script = f"""
        import os
        os.environ["TRACKIO_DIR"] = {str(tmp_path)!r}
        from monitor_core import Loop
        from monitor_core.trackers import Trackio
        with Loop(Trackio("digits", run_name="first")) as loop:
            for epoch in loop.epochs(2):
                loop.log(loss=1.0)
        import trackio
        print([run.name for run in trackio.Api().runs("digits")])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['first']", done.stderr


def test_a_version_that_is_too_old_is_an_error_at_construction(monkeypatch):
    """Which says what to install."""
    monkeypatch.setattr(SQLiteStorage, "bulk_log", staticmethod(lambda project, run, metrics_list: None))
    with pytest.raises(SetupError, match=r"Trackio needs a newer trackio: pip install --upgrade"):
        Trackio("digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": "registry-a"}, "project must be a name that trackio accepts: "),
        ({"project": "digits", "config": {"_a": 1}}, r"config must have names .* \(got '_a'\)"),
    ],
)
def test_what_trackio_refuses_is_an_error_at_construction(options, message):
    """Named, with its rule."""
    with pytest.raises(ValueError, match=message):
        Trackio(**options)
