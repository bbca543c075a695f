"""The journal: against the history, after kills, over resumes, and by several processes at once."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, EarlyStopping, History, Loop, ModelCheckpoint, ReduceLROnPlateau, SetupError
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.journal.facts import Checkpoint, End, SinkFailure
from monitor_core.journal.files import journal_files, read_journal
from monitor_core.journal.recorded import open_run
from monitor_core.sinks.journal import Journal
from recorders import Handle, Raiser, exact, train

EXAMPLES = settings(max_examples=1000 if os.environ.get("MONITOR_CORE_LONG") else 100)


def columns(rows):
    """Return the columns of a history, live or recorded, with their labels, as values that can be compared."""
    runs, epochs = (rows.run, rows.epoch) if hasattr(rows, "run") else (rows.runs, rows.epochs)
    labels = list(map(int, runs)), list(map(int, epochs))
    return *labels, {name: list(map(float.hex, rows[name].tolist())) for name in rows}


def same(recorded, history):
    """Return whether a journal recorded what a history has in memory."""
    live = (columns(history), columns(history.batches), history.batches.steps.tolist())
    return live == (columns(recorded.history), columns(recorded.batches), recorded.batches.steps.tolist())


def run(script, *args):
    """Run a script in a process of its own, within a minute, and return what it printed."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for many examples, whose files need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield tmp_path_factory.mktemp("examples")


# --- against the history ---------------------------------------------------------------------------------------------

LOGS = st.dictionaries(
    st.sampled_from(["loss", "acc", "two\nlines", "train/loss", "\udc80", "", "learning_rate"]),
    st.floats() | st.integers(-5, 2**60) | st.none(),
    max_size=3,
)


@EXAMPLES
@given(st.lists(st.lists(st.lists(LOGS, max_size=4), max_size=3), min_size=1, max_size=3))
def test_what_a_journal_recorded_is_what_a_history_kept(folder, runs):
    """All runs, epochs and batches, with their labels and every value to the bit."""
    each = folder / str(len(os.listdir(folder)))  # noqa: PTH208
    history = History(per_batch=True)
    bus = Bus(history, Journal(each))
    for epochs in runs:
        train(bus, *epochs)
    recorded = open_run(each)
    with_rows = [number for number, record in enumerate(recorded.runs) if len(record.records) > 1]
    numbers = {number: count for count, number in enumerate(with_rows)}  # a history counts those that left a record
    for rows in (recorded.history, recorded.batches):
        rows._runs = np.array([numbers[number] for number in rows._runs.tolist()], np.int64)
    assert same(recorded, history)
    assert recorded.damage == ()


def test_a_keras_fit_is_recorded_as_its_history_has_it(tmp_path):
    """Batches, epochs, validation, and the versions of what it ran on."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    history = History(per_batch=True)
    adapter = KerasAdapter(Journal(tmp_path), history, model=model, epochs=2)
    model.fit(x, x[:, :1], epochs=2, batch_size=8, validation_split=0.2, verbose=0, callbacks=adapter)
    recorded = open_run(tmp_path)
    assert same(recorded, history)
    assert recorded.status == "completed"
    assert recorded.begin.versions["keras"] == keras.__version__
    assert recorded.evaluations["val_mae"].tolist() == recorded.history["val_mae"].tolist()


def test_without_batches_the_epochs_alone_are_recorded(tmp_path):
    """And the bus gathers no values."""
    train(Bus(Journal(tmp_path, per_batch=False)), [{"loss": 1.0}, {"loss": 0.5}])
    recorded = open_run(tmp_path)
    assert recorded.history["loss"].tolist() == [0.5]
    assert recorded.history.steps.tolist() == [2]
    with pytest.raises(KeyError, match="no batches are on record"):
        recorded.batches["loss"]


def test_evaluations_are_recorded_where_they_were(tmp_path):
    """Evaluations within an epoch and after the last one are recorded with their step."""
    with Loop(Journal(tmp_path)) as loop:
        for epoch in loop.epochs(2):
            for _ in loop.batches(range(3)):
                loop.log(loss=1)
            with loop.evaluation():
                loop.log(loss=epoch)
        with loop.evaluation():
            loop.log(loss=7)
    evaluations = open_run(tmp_path).evaluations
    assert evaluations["val_loss"].tolist() == [0, 1, 7]
    assert (evaluations.epoch, evaluations.steps.tolist()) == ([0, 1, 1], [3, 6, 6])


def test_evaluations_of_a_fit_without_batches_have_their_step(tmp_path):
    """An adapter that counts no batches knows it only at the epoch's end."""
    bus = Bus(Journal(tmp_path, per_batch=False), history := History())
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.evaluation_begin()
        bus.evaluation_end({"loss": 1.0}, followed=False)
        bus.run.step += 7
        bus.epoch_end(epoch, {})
    bus.train_end()
    assert open_run(tmp_path).evaluations.steps.tolist() == history.evaluations.steps.tolist() == [7, 14]


def test_times_are_those_of_the_record_and_never_go_back(tmp_path, monkeypatch):
    """Even if the clock is set back meanwhile."""
    begin = time.time()
    clock = iter([begin + 5, begin + 7])
    watch = SimpleNamespace(time=lambda: next(clock, begin - 3600))
    monkeypatch.setattr("monitor_core.sinks.journal.time", watch)
    train(Bus(Journal(tmp_path)), [{"loss": 1.0}], [{"loss": 0.5}])
    recorded = open_run(tmp_path)
    assert recorded.begin.time == begin + 5
    assert recorded.history.times.tolist() == [begin + 7, begin + 7]


# --- what it comes from ----------------------------------------------------------------------------------------------


def test_the_configuration_is_recorded_as_json_has_it(tmp_path):
    """It is copied when the journal is created; values that JSON cannot hold are recorded as strings."""
    config = {
        "width": np.int64(8), "rate": float("inf"), "path": Path("a") / "b", "layers": (1, 2), 3: None, "f": len,
        "deep": {"big": 2**70, "text": "\udc80\n"},
    }  # fmt: skip
    journal = Journal(tmp_path, config=config)
    config["width"] = 9
    train(Bus(journal))
    assert open_run(tmp_path).config == {
        "width": 8, "rate": float("inf"), "path": str(Path("a") / "b"), "layers": [1, 2], "3": None,
        "f": "<built-in function len>", "deep": {"big": 2**70, "text": "\udc80\n"},
    }  # fmt: skip


def test_a_configuration_that_cannot_be_recorded_is_an_error_at_once(tmp_path):
    """Not when the training begins."""
    endless: dict = {}
    endless["self"] = endless
    with pytest.raises(ValueError, match="config must be storable as JSON"):
        Journal(tmp_path, config=endless)
    with pytest.raises(TypeError, match=r"config must be a mapping \(got 3\)"):
        Journal(tmp_path, config=3)
    with pytest.raises(TypeError, match="per_batch"):
        Journal(tmp_path, per_batch=1)


def test_where_it_comes_from_is_recorded_and_no_framework_is_imported(tmp_path):
    """Process, command line and versions, in a process that uses none."""
    code = """
        import json, sys
        from monitor_core import Bus
        from monitor_core.sinks.journal import Journal
        bus = Bus(Journal(sys.argv[1])); bus.train_begin(); bus.train_end()
        print(json.dumps([sys.argv, sorted({"keras", "torch", "jax", "tensorflow"} & set(sys.modules))]))
    """
    argv, imported = json.loads(run(code, tmp_path))
    begin = open_run(tmp_path).begin
    assert imported == []
    assert begin.argv == argv
    assert sorted(begin.versions) == ["monitor_core", "numpy", "python"]
    assert begin.process["pid"] != os.getpid()


# --- what was decided, and what failed -------------------------------------------------------------------------------


def test_a_stop_is_recorded_with_its_reason_once(tmp_path):
    """As the run has it, at the epoch in which it was asked for."""
    bus = Bus(EarlyStopping("loss", patience=2), Journal(tmp_path))
    train(bus, *[[{"loss": 1.0}]] * 3, [])
    recorded = open_run(tmp_path)
    (stop,) = recorded.decisions
    assert (stop.reason, stop.failed, stop.epoch, stop.step) == (bus.run.stop_reason, False, 2, 3)
    assert (recorded.status, recorded.state["run"]["stop_reason"]) == ("stopped", bus.run.stop_reason)


def test_changes_of_the_learning_rate_are_recorded(tmp_path):
    """Of every parameter group, before and after."""
    bus = Bus(ReduceLROnPlateau("loss", patience=1, factor=0.5), Journal(tmp_path), model=Handle(0.25, 0.5))
    train(bus, *[[{"loss": 1.0}]] * 2, [{"loss": 0.5}])
    (change,) = open_run(tmp_path).decisions
    assert (change.before, change.after, change.epoch) == ([0.25, 0.5], [0.125, 0.25], 1)
    assert change.reason == "the learning rate changed from 0.25, 0.5 to 0.125, 0.25"


def test_what_sinks_raised_is_recorded(tmp_path):
    """With sink, hook, traceback and step, each once, also what was raised at the train's begin and end."""
    raiser = Raiser("on_epoch_end", ValueError("first"), ValueError("second"), name="Own")
    late = Raiser("on_train_end", OSError("late"), name="Late")
    bus = Bus(late, raiser, Journal(tmp_path))
    train(bus, [{"loss": 1.0}], [{"loss": 1.0}], [])
    failures = open_run(tmp_path).failures
    assert [(each.sink, each.hook, each.error, each.step) for each in failures] == [
        ("Own", "on_epoch_end", "ValueError: first", 1),
        ("Own", "on_epoch_end", "ValueError: second", 2),
        ("Late", "on_train_end", "OSError: late", 2),
    ]
    assert failures[0].traceback.endswith("raise error\nValueError: first\n")


def test_each_runs_failures_are_its_own(tmp_path):
    """What was raised in an earlier run of the bus is not recorded again."""
    bus = Bus(Raiser("on_epoch_end", ValueError("first")), Journal(tmp_path))
    train(bus, [{"loss": 1.0}])
    train(bus, [{"loss": 1.0}])
    assert [len(each.failures) for each in (open_run(tmp_path, run=0), open_run(tmp_path, run=1))] == [1, 0]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("out of memory"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_what_the_training_raised_is_recorded(tmp_path, error, status):
    """The exception with its traceback, the batches before it, and how the run ended."""

    def train_and_raise():
        with Loop(Journal(tmp_path)) as loop:
            for _ in loop.epochs(2):
                for batch in loop.batches(range(3)):
                    loop.log(loss=batch)
                    if loop.run.step == 2:
                        raise error

    with pytest.raises(type(error)):
        train_and_raise()
    recorded = open_run(tmp_path)
    assert (recorded.status, recorded.exception.step) == (status, 3)
    assert recorded.exception.error == f"{type(error).__name__}: {error}".removesuffix(": ")
    assert "train_and_raise" in recorded.exception.traceback
    assert recorded.batches["loss"].tolist() == [0, 1, 2]


def test_a_run_that_was_left_open_counts_as_interrupted_when_the_next_one_begins(tmp_path):
    """Even if neither this bus nor another was notified of the exception."""
    journal = Journal(tmp_path)
    Bus(journal).train_begin()
    bus = Bus(journal)
    bus.train_begin()
    bus.train_begin()
    assert [record.status for record in open_run(tmp_path).runs] == ["interrupted", "interrupted", "running"]


def test_a_journal_that_joins_and_leaves_a_run_records_what_lies_between(tmp_path):
    """How that run ends it does not know."""
    bus = Bus(History())
    bus.train_begin()
    journal = Journal(tmp_path)
    for epoch, change in enumerate([bus.add, bus.remove]):
        bus.epoch_begin(epoch)
        change(journal)
        bus.batch_end(epoch + 1, {"loss": epoch})
        bus.epoch_end(epoch, {"loss": epoch})
    recorded = open_run(tmp_path)
    assert (recorded.status, recorded.history.epoch, recorded.batches.steps.tolist()) == ("unknown", [0], [1])


# --- going back ------------------------------------------------------------------------------------------------------


def test_records_after_the_target_of_a_rewind_are_left_out(tmp_path):
    """Epochs, batches and decisions, as in the history; what comes then is the run's."""
    history = History(per_batch=True)
    bus = Bus(history, Journal(tmp_path))
    bus.train_begin()
    for epoch in (0, 1, 2, 1, 2):
        if epoch == 1 and bus.run.epoch == 2:
            bus.run.stop("it was a test")
            bus.rewind(1, 2)
        bus.epoch_begin(epoch)
        for step in range(bus.run.step + 1, bus.run.step + 3):
            bus.batch_end(step, {"loss": 10 * epoch + step})
        bus.epoch_end(epoch, {"loss": epoch + 0.5})
    recorded = open_run(tmp_path)
    assert same(recorded, history)
    assert recorded.batches.steps.tolist() == [1, 2, 3, 4, 5, 6]


def parts(tmp_path, *, cut_at=None):
    """Train a small model with a journal and checkpoints; resume where there is one; raise at a step."""
    state = {"weight": np.array(4.0)}
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npz", monitor="loss", save_state=True)
    stop = EarlyStopping("loss", patience=50)
    loop = Loop(checkpoint, Journal(tmp_path), stop, model=PytreeModel(lambda: state, state.update))
    checkpoint.resume(loop.bus)
    with loop:
        for _ in loop.epochs(4):
            for _ in loop.batches(range(3)):
                state["weight"] = state["weight"] * 0.9
                loop.log(loss=state["weight"])
                if loop.run.step == cut_at:
                    raise RuntimeError("cut")
    return open_run(tmp_path)


@pytest.mark.parametrize("cuts", [(1,), (2,), (4, 7), (3, 5, 6, 10)])
def test_a_run_that_is_resumed_has_the_record_of_one_that_was_never_cut(tmp_path, cuts):
    """The same epochs, steps and values, as one run, whichever batches were trained twice."""
    whole = parts(tmp_path / "whole")
    for cut in cuts:
        with contextlib.suppress(RuntimeError):
            parts(tmp_path / "cut", cut_at=cut)
    resumed = parts(tmp_path / "cut")
    behind = [cut for cut in cuts if cut >= 3]  # before the first checkpoint a run begins from scratch
    assert len(resumed.runs) == 1 + len(cuts) - len(behind)
    resumed = open_run(tmp_path / "cut", run=-1)
    assert same(resumed, whole_history(whole))
    assert (resumed.status, resumed.damage) == ("completed", ())


def whole_history(recorded):
    """Return a recorded run as something with a history and batches."""
    recorded.history.batches = recorded.batches
    return recorded.history


def test_what_is_decided_is_on_record_before_a_state_is_saved(tmp_path):
    """A resume from that state finds the decision, though the process was killed right then."""
    bus = Bus(Journal(tmp_path), EarlyStopping("loss", patience=1))
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 1.0})
    assert open_run(tmp_path).decisions == []
    bus.state_dict()
    assert [each.reason for each in open_run(tmp_path).decisions] == [bus.run.stop_reason]


def test_a_stop_that_was_resumed_is_on_record_once(tmp_path):
    """The run stays stopped, and says so once."""
    first = Bus(EarlyStopping("loss", patience=1), Journal(tmp_path))
    first.train_begin()
    for epoch in range(2):
        first.epoch_begin(epoch)
        first.epoch_end(epoch, {"loss": 1.0})
    second = Bus(EarlyStopping("loss", patience=1), Journal(tmp_path))
    second.load_state_dict(first.state_dict())
    second.train_begin()
    second.train_end()
    recorded = open_run(tmp_path)
    assert (recorded.status, len(recorded.decisions), len(recorded.runs)) == ("stopped", 1, 1)


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file", "file/run", "nul\0"])
def test_a_folder_that_cannot_be_written_is_an_error_at_train_begin(tmp_path, name):
    """Of the type that no policy isolates."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot hold a journal|cannot be written"):
        Bus(Journal(f"{tmp_path}/{name}")).train_begin()


def test_nothing_is_made_before_the_train_begins(tmp_path):
    """Nor for a bus that is never used."""
    assert Journal(tmp_path / "run").path is None
    assert Journal(tmp_path / "run").dropped == 0
    assert not (tmp_path / "run").exists()


def test_runs_of_one_journal_share_a_file_and_those_of_two_do_not(tmp_path):
    """All are found, in the order in which they were begun."""
    first, second = Journal(tmp_path), Journal(tmp_path)
    for journal, loss in ((first, 1.0), (second, 2.0), (first, 3.0)):
        train(Bus(journal), [{"loss": loss}])
    assert [path.name for path in journal_files(tmp_path)] == [first.path.name, second.path.name]
    recorded = open_run(tmp_path)
    assert recorded.history["loss"].tolist() == [1.0, 3.0, 2.0]
    assert recorded.history.run.tolist() == [0, 1, 2]
    assert open_run(second.path).history["loss"].tolist() == [2.0]


def test_a_vanished_folder_costs_what_was_in_it_alone(tmp_path):
    """The training continues, and later records are written, with the run's begin."""
    bus = Bus(Journal(tmp_path / "run", config={"a": 1}))
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.batch_end(epoch + 1, {"loss": epoch})
        bus.epoch_end(epoch, {"loss": epoch})
        if epoch == 0:
            shutil.rmtree(tmp_path / "run")
    bus.train_end()
    recorded = open_run(tmp_path / "run")
    assert (recorded.history.epoch, recorded.config, recorded.status) == ([1], {"a": 1}, "completed")
    assert [each.reason for each in recorded.damage] == ["3 records are missing before this"]


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_was_forked_off_records_nothing_of_its_parents_run(tmp_path):
    """Whatever it does with its copy of the bus; a run of its own has a file of its own."""
    code = """
        import os, sys
        sys.path[:0] = [sys.argv[2]]
        from recorders import train
        from monitor_core import Bus
        from monitor_core.sinks.journal import Journal
        bus = Bus(Journal(sys.argv[1]))
        bus.train_begin()
        bus.epoch_begin(0)
        bus.batch_end(1, {"loss": 1.0})
        child = os.fork()
        if not child:
            bus.epoch_end(0, {"loss": 7.0})
            bus.train_end()
            train(bus, [{"loss": 8.0}])
            os._exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        bus.epoch_end(0, {"loss": 2.0})
        bus.train_end()
    """
    assert run(code, tmp_path, Path(__file__).parents[1]) == "5\n"
    mine, other = journal_files(tmp_path)
    assert open_run(mine).history["loss"].tolist() == [2.0]
    assert open_run(mine).batches["loss"].tolist() == [1.0]
    assert open_run(other).history["loss"].tolist() == [8.0]


def test_processes_that_record_into_one_folder_lose_nothing(tmp_path):
    """Each is a run of its own, of which nothing is mixed with the other's."""
    code = """
        import os, sys
        sys.path[:0] = [sys.argv[2]]
        from recorders import train
        from monitor_core import Bus
        from monitor_core.sinks.journal import Journal
        print("ready", flush=True)
        while not os.path.exists(sys.argv[3]):
            pass
        train(Bus(Journal(sys.argv[1])), *[[{"loss": os.getpid() + step / 1000} for step in range(10)]] * 20)
    """
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "run", tests, tmp_path / "go"]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(2)]
        assert [process.stdout.readline() for process in processes] == [b"ready\n"] * 2
        (tmp_path / "go").touch()
    recorded = open_run(tmp_path / "run")
    assert recorded.damage == ()
    for number, record in enumerate(recorded.runs):
        pid = record.begin.process["pid"]
        expected = [pid + step / 1000 for step in range(10)] * 20
        assert recorded.batches["loss"][recorded.batches.runs == number].tolist() == expected
    assert {record.begin.process["pid"] for record in recorded.runs} == {each.pid for each in processes}


KILLED = """
    import os, sys, time
    from monitor_core import Bus
    from monitor_core.sinks.journal import Journal
    bus = Bus(Journal(sys.argv[1]))
    rate, steps = float(sys.argv[2]), int(sys.argv[3])
    bus.train_begin()
    for epoch in range(1000):
        bus.epoch_begin(epoch)
        for _ in range(steps):
            time.sleep(1 / rate)
            step = bus.run.step + 1
            now = time.time()
            bus.batch_begin(step)
            bus.batch_end(step, {"loss": 0.5 * step})
            os.write(1, f"step {step} {now}\\n".encode())
        bus.epoch_end(epoch, {"loss": epoch})
        os.write(1, f"epoch {epoch} {time.time()}\\n".encode())
"""
SLACK = 1.0
"""Seconds that a machine with other work may be late in waking a thread."""


KILLS = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.parametrize(("rate", "steps"), [(5, 4), (100, 150)])
def test_a_kill_costs_no_epoch_and_at_most_the_last_second(tmp_path, rate, steps):
    """At any moment, of slow steps and fast ones; the file is whole but for what was being written."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED)]
    runs = [tmp_path / str(number) for number in range(len(KILLS))]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([*command, run, str(rate), str(steps)], stdout=subprocess.PIPE))
            for run in runs
        ]
        heads = [process.stdout.readline() for process in processes]
        ends = []
        for process, how in zip(processes, KILLS, strict=True):
            time.sleep(random.uniform(0.4, 1.4))
            ends.append(time.time())
            process.send_signal(how)
        told = [head + process.communicate()[0] for head, process in zip(heads, processes, strict=True)]
    for run, end, lines in zip(runs, ends, told, strict=True):
        done = [line.split() for line in lines.decode().splitlines()]
        recorded = open_run(run)
        assert {int(number) for kind, number, _ in done if kind == "epoch"} <= set(recorded.history.epoch)
        due = [int(number) for kind, number, at in done if kind == "step" and float(at) < end - 1 - SLACK]
        found = recorded.batches.steps.tolist()
        assert found[: len(due)] == due
        assert recorded.batches.steps.tolist() == list(range(1, len(found) + 1))
        assert not found or recorded.batches["loss"].tolist() == [0.5 * step for step in found]
        assert recorded.status == "killed"
        assert all(each.unfinished for each in recorded.damage)


def test_steps_are_on_record_a_second_later_though_no_other_step_comes(tmp_path):
    """Of a training that then computes for hours, or hangs, until it is killed."""
    code = """
        import sys, time
        from monitor_core import Bus
        from monitor_core.sinks.journal import Journal
        bus = Bus(Journal(sys.argv[1]))
        bus.train_begin(); bus.epoch_begin(0)
        for step in (1, 2, 3):
            bus.batch_end(step, {"loss": step})
        print("hangs", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(1 + SLACK)
        running = open_run(tmp_path)
        process.kill()
    assert (running.status, running.batches["loss"].tolist()) == ("running", [1, 2, 3])
    assert (open_run(tmp_path).status, open_run(tmp_path).damage) == ("killed", ())


def test_logs_are_recorded_exactly(tmp_path):
    """Infinities, NaN, negative zero and the smallest numbers."""
    logs = {"a": float("nan"), "b": float("-inf"), "c": -0.0, "d": 5e-324, "e": 1.7976931348623157e308}
    train(Bus(Journal(tmp_path)), [logs])
    recorded = open_run(tmp_path)
    assert exact({name: values[0] for name, values in recorded.history.history.items()}) == exact(logs)
    (rows,) = recorded.runs[0].rows(read_journal(journal_files(tmp_path)[0]).records[1].kind)
    assert exact(rows.logs()) == exact(logs)


class Saving(Handle):
    """A handle whose weights can be saved."""

    weights_suffix = ".npy"

    def save(self, path, *, weights_only=False):
        Path(path).write_bytes(b"weights")


def test_checkpoints_disabled_sinks_and_costs_are_recorded(tmp_path):
    """For the report: when the model was saved and for what, who was disabled, and what each sink took."""
    saver = ModelCheckpoint(tmp_path / "{epoch}.npy", "loss", save_best_only=True, save_weights_only=True)
    broken = Raiser("on_epoch_end", forever=ValueError("broken"), name="Broken")
    with Loop(Journal(tmp_path / "run"), saver, broken, model=Saving()) as loop:
        for epoch in loop.epochs(5):
            for _ in loop.batches(range(2)):
                loop.log(loss=1 / (1 + epoch) if epoch < 2 else 1.0)
    record = open_run(tmp_path / "run").last
    saved = [(fact.file, fact.epoch, fact.step, fact.value) for fact in record.facts(Checkpoint)]
    assert saved == [("1.npy", 0, 2, 1.0), ("2.npy", 1, 4, 0.5)]
    assert [fact.disables for fact in record.facts(SinkFailure)] == [False, False, True]
    [end] = record.facts(End)
    assert end.cost["steps"] == 10
    assert end.cost["sinks"]["Journal"]["on_epoch_end"]["calls"] == 5
    assert 0 < end.cost["sinks"]["Journal"]["on_epoch_end"]["longest"] <= end.cost["seconds"]
