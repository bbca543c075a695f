"""W&B: what is in the files that it writes offline."""

import math

import numpy as np
import pytest

from monitor_core import Block, Bus, DeliveryError, Loop, SetupError
from monitor_core.testing import SinkContract
from trackers_support import train_epoch, train_two_epochs, train_with_kill
from wandb_files import points, read_finished

pytest.importorskip("wandb")

import wandb

from monitor_core.trackers import WandB
from monitor_core.trackers.points import About, Points
from monitor_core.trackers.wandb import Segments

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # W&B's, of pydantic


@pytest.fixture
def make(tmp_path):
    """Return what makes an offline sink."""
    return lambda **options: WandB("digits", folder=tmp_path, mode="offline", per_batch=True, **options)


class TestContract(SinkContract):
    """The sink passes the contract of sinks."""

    @pytest.fixture
    def make_sink(self, tmp_path_factory):
        """Return what makes one; W&B's process creates files at any time, so they have their own folder."""
        folder = tmp_path_factory.mktemp("wandb")
        return lambda: WandB("digits", folder=folder, mode="offline", per_batch=True, config={"width": 4})


def only(folder):
    """Return the one segment that there is."""
    (segment,) = read_finished(folder)
    return segment


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_a_run_arrives(make, tmp_path):
    """Rows of batches and epochs, the configuration, tags, and how it ended."""
    config = {"width": 4, "optimizer": {"rate": 0.1}}
    loop = train_two_epochs(make(run_name="first", config=config, tags=["a", "b"]))
    segment = only(tmp_path)
    assert points(segment) == [
        (1, {"batch/loss": 4.0}),
        (2, {"batch/loss": 2.0}),
        (2, {"loss": 3.0, "val_loss": 5.0, "epoch": 0}),
        (3, {"batch/loss": 2.0}),
        (4, {"batch/loss": 1.0}),
        (4, {"loss": 1.5, "val_loss": 4.0, "epoch": 1}),
    ]
    assert {name: value for name, value in segment["config"].items() if name != "_wandb"} == config
    assert (segment["id"], segment["group"], segment["name"]) == (loop.run.id, loop.run.id, "first")
    assert (segment["tags"], segment["exit_code"], segment["summary"]["status"]) == (["a", "b"], 0, "completed")


def test_every_chart_has_the_training_step_as_its_axis(make, tmp_path):
    """Not W&B's own count of rows."""
    train_two_epochs(make())
    assert only(tmp_path)["axes"] == {"step": "", "*": "step"}


def test_rows_have_the_time_of_their_step(make, tmp_path):
    """Not that of their delivery."""
    steps = np.array([1, 2])
    columns = {"loss": np.array([2.0, math.nan])}
    bus = Bus(sink := make())
    bus.train_begin()
    sink.on_block(bus.run, Block(0, steps, np.array([1.5e9, 1.6e9]), columns, {"loss": None}))
    bus.train_end()
    assert [row["_timestamp"] for row in only(tmp_path)["rows"]] == [1.5e9, 1.6e9]
    assert math.isnan(only(tmp_path)["rows"][1]["batch/loss"])


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("no"), 1), (KeyboardInterrupt(), 255)], ids=["error", "Ctrl-C"]
)
def test_the_exit_code_says_how_a_run_ended(make, tmp_path, error, code):
    """With the reason in the summary."""
    with pytest.raises(type(error)), Loop(make()):
        raise error
    segment = only(tmp_path)
    assert segment["exit_code"] == code
    assert segment["summary"]["reason"].partition(":")[0] == type(error).__name__


def test_the_users_own_run_stays(make, tmp_path):
    """The sink's run is not W&B's global one."""
    with wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True)) as own:
        train_two_epochs(make())
        assert wandb.run is own
        own.log({"mine": 1})
    assert len(read_finished(tmp_path, 2)) == 2


# --- steps -----------------------------------------------------------------------------------------------------------


def test_wandb_drops_steps_that_do_not_increase(tmp_path):
    """With its own steps; this is why the sink has a column for them."""
    settings = wandb.Settings(silent=True, console="off")
    with wandb.init(mode="offline", dir=tmp_path, reinit="create_new", settings=settings) as run:
        for step in (5, 3, 6):
            run.log({"step": step}, step=step)
    assert [row["step"] for row in only(tmp_path)["rows"]] == [5, 6]


def test_no_point_is_dropped_whatever_its_step(make, tmp_path):
    """Results of an earlier step may come after a block."""
    bus = Bus(sink := make())
    bus.train_begin()
    for step in (5, 3, 5):
        sink._put(Points.of_logs(0, step, {"loss": float(step)}))
    bus.train_end()
    assert points(only(tmp_path)) == [(step, {"loss": float(step), "epoch": 0}) for step in (5, 3, 5)]


def test_a_resumed_run_continues_in_a_segment(make, tmp_path, caplog):
    """Another run of W&B in the same group, with each point once; the log says so."""
    caplog.set_level("INFO", "monitor_core")
    sink = train_with_kill(lambda: make(run_name="first"))
    wandb.teardown()  # else the run that was killed would be finished when this process ends
    first, second = read_finished(tmp_path, 2)
    assert [step for step, row in points(first) if "batch/loss" in row] == [1, 2, 3, 4, 5]
    assert [step for step, row in points(second) if "batch/loss" in row] == [3, 4, 5, 6]
    assert (second["id"], second["group"]) == (sink.run_id, first["id"])
    assert second["id"].startswith(f"{first['id']}-2-")
    assert second["name"].startswith("first-2-")
    assert f"the run continues after step 2 in its run {sink.run_id}, of group {first['id']}" in caplog.text


def test_a_sink_that_is_removed_and_added_again_continues_in_a_segment(make, tmp_path):
    """W&B would replace a run by another one of the same id."""
    bus = Bus(sink := make())
    bus.train_begin()
    bus.remove(sink)
    bus.add(sink)
    bus.train_end()
    first, second = read_finished(tmp_path, 2)
    assert second["id"].startswith(f"{first['id']}-0-")


def test_a_run_that_goes_back_continues_in_a_segment(make, tmp_path):
    """Likewise."""
    bus = Bus(make())
    bus.train_begin()
    train_epoch(bus, 0, [2.0, 1.0])
    bus.rewind(0, 0)
    train_epoch(bus, 0, [2.0, 1.0, 0.5])
    bus.epoch_end(0, {})
    bus.train_end()
    segments = read_finished(tmp_path, 2)
    assert [[step for step, _ in points(segment)] for segment in segments] == [[1, 2], [1, 2, 3]]


# --- what can go wrong -----------------------------------------------------------------------------------------------


def test_rows_before_a_failure_are_not_logged_again(make):
    """A block whose delivery is retried continues with the row that failed."""
    rows, errors = [], [None, OSError("No space left on device"), None, None]

    class Run:
        def log(self, row):
            if (error := errors.pop(0)) is not None:
                raise error
            rows.append(row["step"])

    sink = make()
    sink.start_run = lambda about, step: Run()
    segments = Segments(sink, About("a", False, 0, None, 0.0))
    steps, column = np.array([1, 2, 3]), np.ones(3)
    block = Points.of_block(Block(0, steps, column, {"loss": column}, {"loss": None}))
    with pytest.raises(DeliveryError, match="OSError: No space left on device"):
        segments.write(block)
    segments.write(block)
    assert rows == [1, 2, 3]


@pytest.fixture
def _no_login(monkeypatch, tmp_path):
    """Let there be no key anywhere."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.usefixtures("_no_login")
def test_a_missing_login_is_an_error_at_construction():
    """Which names the ways out; W&B would ask in the terminal."""
    with pytest.raises(SetupError, match=r'run "wandb login", set WANDB_API_KEY, or pass mode="offline"'):
        WandB("digits")


@pytest.mark.usefixtures("_no_login")
@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "offline"), ("WANDB_API_KEY", "x" * 40)])
def test_a_login_or_the_mode_is_found_in_the_environment(monkeypatch, name, value):
    """As W&B finds it."""
    monkeypatch.setenv(name, value)
    assert WandB("digits").mode is None


@pytest.mark.usefixtures("_no_login")
def test_a_login_is_found_in_the_file_that_wandb_writes(tmp_path):
    """``wandb login`` stores it there."""
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'x' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert WandB("digits").project == "digits"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "disabled"}, "mode must be 'online' or 'offline'"),
        ({"tags": "abc"}, "tags must be a sequence of strings"),
        ({"project": 3}, "'project' must be <class 'str'>"),
    ],
)
def test_wrong_arguments_are_errors(options, message):
    """Named, with their rule."""
    with pytest.raises((TypeError, ValueError), match=message):
        WandB(**{"project": "digits", "mode": "offline", **options})
