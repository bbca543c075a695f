"""MLflow: what its client reads after a training, from a real server on SQLite and from a database without one."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disks import filled, small_disk
from monitor_core import Block, Bus, Loop, SetupError
from monitor_core.testing import SinkContract
from trackers_support import train_epoch, train_two_epochs, train_with_kill
from web_server import free_port, wait_until

pytest.importorskip("mlflow")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils import validation

from monitor_core.trackers import MLflow
from monitor_core.trackers.mlflow import METRICS_PER_CALL, MLflowRun, accepted
from monitor_core.trackers.mlflow_stores import Found
from monitor_core.trackers.names import Names
from monitor_core.trackers.points import Points

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's, of SQLAlchemy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for all databases: not the tests' own, in which files may come and go meanwhile."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def server(folder):
    """Return a server's process, with its address as ``url``."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("wb") as log:
        # Without its runner of jobs, which takes as long to start as the rest.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    process.url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_up(process.url), 120)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def is_up(url):
    """Return whether a server responds."""
    with suppress(OSError):
        return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200  # noqa: S310 - our own
    return False


@pytest.fixture(scope="module")
def database(folder):
    """Return the address of a database without a server."""
    return f"sqlite:///{folder}/local.db"


@pytest.fixture
def files(folder, monkeypatch):
    """Return the address of a folder, which MLflow accepts only if asked to."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file://{folder}/runs"


@pytest.fixture(params=["server", "database", "files"])
def uri(request):
    """Return the address of each."""
    found = request.getfixturevalue(request.param)
    return getattr(found, "url", found)


def read(tracker, uri):
    """Return a tracker's run, and each metric's steps and values."""
    client = MlflowClient(uri)
    run = client.get_run(tracker.run_id)
    history = {
        name: [(point.step, point.value) for point in client.get_metric_history(tracker.run_id, name)]
        for name in run.data.metrics
    }
    return run, history


class TestContract(SinkContract):
    """The sink passes the contract of sinks."""

    @pytest.fixture
    def make_sink(self, database):
        """Return what makes one."""
        return lambda: MLflow(database, experiment="contract", per_batch=True, config={"width": 4})


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_a_run_arrives(uri):
    """Metrics of batches and epochs at their steps, parameters, tags, and the status."""
    config = {"width": 4, "optimizer": {"rate": 0.1}}
    tracker = MLflow(uri, experiment="digits", run_name="first", per_batch=True, config=config, tags={"who": "me"})
    loop = train_two_epochs(tracker)
    run, history = read(tracker, uri)
    assert history == {
        "batch/loss": [(1, 4.0), (2, 2.0), (3, 2.0), (4, 1.0)],
        "loss": [(2, 3.0), (4, 1.5)],
        "val_loss": [(2, 5.0), (4, 4.0)],
    }
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"width": "4", "optimizer/rate": "0.1"}
    tags = {name: run.data.tags[name] for name in ("who", "monitor_core.run", "monitor_core.status")}
    assert tags == {"who": "me", "monitor_core.run": loop.run.id, "monitor_core.status": "completed"}
    assert MlflowClient(uri).get_experiment(run.info.experiment_id).name == "digits"
    assert run.info.end_time >= run.info.start_time > 1e12


def test_values_that_are_not_finite_arrive(uri):
    """As MLflow stores them: in a database an infinity is the largest number."""
    tracker = MLflow(uri)
    with Loop(tracker) as loop:
        for _ in loop.epochs(1):
            loop.log(nan=math.nan, inf=math.inf, ninf=-math.inf)
    _, history = read(tracker, uri)
    ((_, nan),), ((_, inf),), ((_, ninf),) = history["nan"], history["inf"], history["ninf"]
    assert math.isnan(nan)
    largest = math.inf if uri.startswith("file:") else sys.float_info.max
    assert (inf, ninf) == (largest, -largest)


def test_the_experiment_is_that_of_the_environment(database, monkeypatch):
    """Where none is given."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the environment")
    assert MLflow(database).experiment == "from the environment"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")], ids=["error", "Ctrl-C"]
)
def test_the_status_says_how_a_run_ended(database, error, status):
    """With the reason as a tag."""
    tracker = MLflow(database)
    with pytest.raises(type(error)), Loop(tracker):
        raise error
    run, _ = read(tracker, database)
    assert (run.info.status, run.data.tags["monitor_core.reason"].partition(":")[0]) == (status, type(error).__name__)


def test_a_block_is_one_call(folder):
    """Of up to 1,000 values, MLflow's limit; a larger one is several."""
    calls = []

    class Store:
        def log(self, run_id, metrics=(), **_):
            calls.append(len(metrics))

    steps, columns = np.arange(1, 257), {f"m{number}": np.ones(256) for number in range(4)}
    block = Points.of_block(Block(0, steps, steps * 1.0, columns, dict.fromkeys(columns)))
    MLflowRun(Store(), Found("a"), Names(accepted, calls.append)).write(block)
    assert calls == [METRICS_PER_CALL, 24]


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300) | st.text("./_ a:%", max_size=12))
def test_names_are_mapped_as_mlflow_wants_them(name):
    """Whatever the name becomes, MLflow accepts it; a name that it accepts stays, but for colons."""
    found = accepted(name)
    validation._validate_metric_name(found)
    assert 0 < len(found) <= validation.MAX_ENTITY_KEY_LENGTH
    try:
        validation._validate_metric_name(name)
    except MlflowException:
        return
    if ":" not in name and name.isascii() and name and len(name) <= 250 and "\n" not in name:
        assert found == name


def test_a_renamed_metric_is_logged_once(database, warned):
    """And both of two names that would become one are kept."""
    tracker = MLflow(database)
    with Loop(tracker) as loop:
        for _ in loop.epochs(2):
            loop.log({"top%": 1.0, "top#": 2.0})
    _, history = read(tracker, database)
    assert {name: values[0][1] for name, values in history.items()} == {"top_": 1.0, "top__0bca6c4e": 2.0}
    assert len([text for text in warned() if "renames metrics" in text and "'top%' becomes 'top_'" in text]) == 1


# --- resuming --------------------------------------------------------------------------------------------------------


def test_a_resumed_run_continues_without_a_duplicate(uri):
    """Steps that were sent before the kill, after the last save, are not sent again."""
    tracker = train_with_kill(lambda: MLflow(uri, experiment="resumed", per_batch=True))
    run, history = read(tracker, uri)
    assert history["batch/loss"] == [(1, 6.0), (2, 5.0), (3, 4.0), (4, 3.0), (5, 2.0), (6, 1.0)]
    assert history["loss"] == [(2, 5.5), (6, 2.5)]
    assert run.info.status == "FINISHED"
    assert len(MlflowClient(uri).search_runs([run.info.experiment_id])) == 1


def test_a_run_that_was_ended_is_running_again(database):
    """A resumed run's status is that of its own end."""
    bus = Bus(first := MLflow(database))
    bus.train_begin()
    train_epoch(bus, 0, [1.0])
    bus.epoch_end(0, {"loss": 1.0})
    state = bus.state_dict()
    bus.train_end()
    again = Bus(second := MLflow(database))
    again.load_state_dict(state)
    again.train_begin()
    assert second.flush(20)
    assert second.run_id == first.run_id
    assert read(second, database)[0].info.status == "RUNNING"
    again.interrupt()


def test_a_sink_that_is_removed_and_added_again_continues_its_run(database):
    """Which is running until its end."""
    bus = Bus(sink := MLflow(database))
    bus.train_begin()
    bus.remove(sink)
    run_id = sink.run_id
    bus.add(sink)
    assert sink.flush(60)
    assert (sink.run_id, read(sink, database)[0].info.status) == (run_id, "RUNNING")
    bus.train_end()
    assert read(sink, database)[0].info.status == "FINISHED"


def test_parameters_that_changed_keep_their_first_value(database, warned):
    """MLflow refuses to change one; new ones are added."""
    configs = [{"width": 4}, {"width": 8, "depth": 2}]
    tracker = train_with_kill(lambda: MLflow(database, per_batch=True, config=configs.pop(0)))
    assert read(tracker, database)[0].data.params == {"width": "4", "depth": "2"}
    assert [text for text in warned() if "cannot change parameters" in text and "width" in text]


# --- what can go wrong -----------------------------------------------------------------------------------------------


def test_a_server_that_is_down_does_not_hold_up_a_training(quick, warned):
    """Messages are counted, and its address and the cause are logged once."""
    tracker = MLflow(f"http://127.0.0.1:{free_port()}", per_batch=True, retry_seconds=0.3)
    began = time.monotonic()
    train_two_epochs(tracker)
    assert tracker.flush(20) is False
    assert time.monotonic() - began < 15
    assert (tracker.delivered, tracker.failed, tracker.lost_values) == (0, 6, 8)
    outage = [text for text in warned() if "Connection refused" in text and "cannot deliver" in text]
    assert len(outage) == 1
    assert len([text for text in warned() if "Connection refused" in text]) == 1
    assert tracker.close() is False


def test_a_server_that_hangs_gets_everything_later(server, quick):
    """In order, and once."""
    tracker = MLflow(server.url, per_batch=True, timeout=0.3, flush_seconds=0.0)
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        train_two_epochs(tracker)
        wait_until(lambda: tracker._outbox.is_failing)
    finally:
        os.killpg(server.pid, signal.SIGCONT)
    assert tracker.flush(60)
    assert read(tracker, server.url)[1]["batch/loss"] == [(1, 4.0), (2, 2.0), (3, 2.0), (4, 1.0)]


@pytest.fixture
def impatient():
    """Let SQLite wait 10 ms for a lock where MLflow lets it wait 20 s."""
    from sqlalchemy import Engine, event

    def shorten(_connection, _cursor, statement, parameters, *_):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 10"), parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", shorten)


@pytest.mark.usefixtures("quick", "impatient")
def test_a_locked_database_is_logged_once(folder, warned, caplog):
    """And gets everything when the lock is released; MLflow's own tracebacks are not logged."""
    path = folder / "locked.db"
    tracker = MLflow(f"sqlite:///{path}", per_batch=True, flush_seconds=0.0)
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        train_two_epochs(tracker)
        wait_until(lambda: any("database is locked" in text for text in warned()))
        other.rollback()
    assert tracker.flush(60)
    assert read(tracker, f"sqlite:///{path}")[1]["loss"] == [(2, 3.0), (4, 1.5)]
    assert len([text for text in warned() if "database is locked" in text]) == 1
    assert [record for record in caplog.records if record.name.startswith("mlflow") and record.exc_info] == []


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_logged_once(tmp_path, warned):
    """And gets everything when there is room again."""
    with small_disk(tmp_path / "disk", 1 << 24) as disk:
        uri = f"sqlite:///{disk}/full.db"
        tracker = MLflow(uri, per_batch=True, flush_seconds=0.0)
        with filled(disk):
            train_two_epochs(tracker)
            wait_until(lambda: any("OperationalError: " in text for text in warned()))
        assert tracker.flush(60)
        assert read(tracker, uri)[1]["loss"] == [(2, 3.0), (4, 1.5)]
    causes = [text for text in warned() if "OperationalError: " in text]
    assert len(causes) == len(set(causes)) <= 2


def test_a_server_that_refuses_is_not_asked_again(server, warned):
    """A name that is too long for an experiment is the server's to refuse."""
    tracker = MLflow(server.url, experiment="x" * 1000)
    train_two_epochs(tracker)
    assert (tracker.delivered, tracker.failed) == (0, 4)
    assert len([text for text in warned() if "HTTP 400 INVALID_PARAMETER_VALUE" in text]) == 1


def test_an_address_of_no_kind_is_an_error_at_construction():
    """The argument is named."""
    with pytest.raises(SetupError, match="tracking_uri must name a store that MLflow can open"):
        MLflow("gopher://nowhere")


def test_the_address_is_not_shown():
    """It may hold a password."""
    assert "pa55" not in repr(MLflow("http://me:pa55@127.0.0.1:5000"))
