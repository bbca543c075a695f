"""Opening recorded runs: finished, running or killed, whole or damaged."""

import json
import platform
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import attrs
import numpy as np
import pytest

from monitor_core import Bus, EarlyStopping, History
from monitor_core.journal.facts import Begin, Plan, RateChange, Rewind, SinkFailure, Stop, encode_fact
from monitor_core.journal.files import FILE_HEAD, Kind, frame, read_journal
from monitor_core.journal.recorded import open_run
from monitor_core.journal.rows import encode_rows
from monitor_core.metrics.outcome import Outcome, Watched
from monitor_core.sinks.journal import Journal
from recorders import train

BEGIN = Begin(
    id="a", index=0, continues=None, epoch=-1, step=0, config={}, versions={}, git_commit=None, platform="", argv=[],
    process={}, time=0.0,
)  # fmt: skip


def recorded(folder, *losses, end=True):
    """Record a run with these losses, one batch an epoch, and open it."""
    bus = Bus(Journal(folder))
    if end:
        train(bus, *[[{"loss": loss}] for loss in losses])
    else:
        bus.train_begin()
        for epoch, loss in enumerate(losses):
            bus.epoch_begin(epoch)
            bus.batch_end(epoch + 1, {"loss": loss})
            bus.epoch_end(epoch, {"loss": loss})
    return open_run(folder)


def written(folder, *contents, number=0, steps=1):
    """Write a journal of facts and of epochs' losses, given as pairs of the epoch and the loss."""
    path = Path(folder) / f"journal-{number:04d}.mcj"
    pieces = [FILE_HEAD]
    for content in contents:
        if isinstance(content, tuple):
            epoch, loss = content
            payload = encode_rows(epoch, [steps * (epoch + 1)], [0.0], {"loss": [loss]})
            pieces.append(frame(Kind.EPOCH, 0, len(pieces) - 1, payload))
        else:
            pieces.append(frame(Kind.FACT, 0, len(pieces) - 1, encode_fact(content)))
    path.write_bytes(b"".join(pieces))


def losses(opened):
    """Return each run's losses."""
    return [opened.history["loss"][opened.history.run == number].tolist() for number in range(len(opened.runs))]


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_are_looked_up_as_in_a_history(tmp_path):
    """Under either spelling of accuracy, as read-only float64 arrays; a missing metric is an error with the names."""
    train(Bus(Journal(tmp_path)), [{"acc": 0.5}], [{"acc": 1, "val_loss": 2}])
    history = open_run(tmp_path).history
    assert (history["accuracy"].tolist(), history["accuracy"].dtype) == ([0.5, 1.0], np.float64)
    assert (list(history), history.keys(), len(history), "accuracy" in history) == (["acc", "val_loss"],) * 2 + (
        2,
        True,
    )
    assert history.history == {"acc": [0.5, 1.0], "val_loss": [pytest.approx(np.nan, nan_ok=True), 2.0]}
    with pytest.raises(KeyError, match=r"no metric 'loss'.*this history has acc, val_loss"):
        history["loss"]
    for array in (history["acc"], history.steps, history.times, history.run):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_a_recorded_history_is_true_while_it_is_empty(tmp_path):
    """As a history is."""
    assert recorded(tmp_path).history
    assert len(open_run(tmp_path).history) == len(open_run(tmp_path).batches) == 0


def test_a_recorded_history_can_be_drawn(tmp_path):
    """As any history."""
    pytest.importorskip("matplotlib")
    from monitor_core.plotting import plot_history

    figure = plot_history(recorded(tmp_path, 1.0, 0.5).history)
    assert figure.axes[0].lines[0].get_ydata().tolist() == [1.0, 0.5]


def test_tables_are_made_when_they_are_asked_for(tmp_path):
    """Opening, and what a record is called, need the file's bytes alone; a table that is made is kept."""
    count, names = 20_000, [f"metric_{number}" for number in range(10)]
    steps = np.arange(1, count + 1)
    payload = encode_rows(0, steps, steps.astype(float), dict.fromkeys(names, steps / 1.0))
    path = tmp_path / "journal-0000.mcj"
    path.write_bytes(FILE_HEAD + frame(Kind.BATCHES, 0, 0, payload))
    open_run(tmp_path)  # imports what it needs
    tracemalloc.start()
    try:
        opened = open_run(tmp_path)
        assert repr(opened) == f"RecordedRun({str(tmp_path)!r}, unknown, 0 epochs, {count} batches)"
        without = tracemalloc.get_traced_memory()[1]
        batches = opened.batches
        with_table = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert without < 1.5 * path.stat().st_size < with_table
    assert batches["metric_9"].tolist() == steps.tolist()
    assert opened.batches is batches
    assert opened.history is opened.history
    assert opened.evaluations is opened.evaluations


# --- status ----------------------------------------------------------------------------------------------------------


def test_an_open_run_is_running_and_has_what_was_recorded(tmp_path):
    """Read from the process itself, or from another."""
    opened = recorded(tmp_path, 1.0, 0.5, end=False)
    assert (opened.status, opened.history["loss"].tolist()) == ("running", [1.0, 0.5])
    code = "import sys; from monitor_core.journal.recorded import open_run; print(open_run(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"RecordedRun({str(tmp_path)!r}, running, 2 epochs, 2 batches)\n"


def test_a_record_that_is_being_written_is_no_damage(tmp_path):
    """But it is, once its process is gone."""
    recorded(tmp_path, 1.0, end=False)
    with (tmp_path / "journal-0000.mcj").open("ab") as file:
        file.write(frame(Kind.FACT, 0, 5, b"{}")[:-1])
    opened = open_run(tmp_path)
    assert (opened.status, opened.damage) == ("running", ())
    written(tmp_path, attrs.evolve(BEGIN, process={**opened.begin.process, "started": "0", "pid": 2**22 + 1}), (0, 1.0))
    path = tmp_path / "journal-0000.mcj"
    path.write_bytes(path.read_bytes()[:-1])
    opened = open_run(tmp_path)
    assert (opened.status, [each.unfinished for each in opened.damage]) == ("killed", [True])


def test_how_a_run_on_another_host_is_doing_is_not_known(tmp_path):
    """Its process cannot be asked for."""
    written(tmp_path, attrs.evolve(BEGIN, process={"host": "elsewhere", "pid": 1}), (0, 1.0))
    assert open_run(tmp_path).status == "unknown"


def test_a_status_is_that_of_the_time_of_opening(tmp_path):
    """As everything else that was read then."""
    code = """
        import sys
        from monitor_core import Bus
        from monitor_core.sinks.journal import Journal
        Bus(Journal(sys.argv[1])).train_begin()
        print("begun", flush=True)
        sys.stdin.read()
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), tmp_path], **pipes) as process:
        process.stdout.readline()
        before = open_run(tmp_path)
        process.kill()
    assert (before.status, open_run(tmp_path).status) == ("running", "killed")


# --- which run -------------------------------------------------------------------------------------------------------


def test_one_of_several_runs_can_be_opened(tmp_path):
    """By its index from the first or the last, and numbered from 0."""
    for loss in (1.0, 2.0, 3.0):
        recorded(tmp_path, loss)
    assert [open_run(tmp_path, run=run).history["loss"].tolist() for run in (0, -1)] == [[1.0], [3.0]]
    assert open_run(tmp_path, run=-1).history.run.tolist() == [0]
    with pytest.raises(IndexError, match=r"there is no run 3: .* holds 3"):
        open_run(tmp_path, run=3)


@pytest.mark.parametrize("path", ["", "nothing", "journal-0000.mcj"])
def test_a_folder_without_a_journal_is_an_error(tmp_path, path):
    """Which names it."""
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        open_run(tmp_path / path)


def test_a_bus_can_continue_from_the_state(tmp_path):
    """With the numbers after the last whole epoch."""
    recorded(tmp_path, 1.0, 0.5, end=False)
    bus = Bus(History())
    bus.load_state_dict(open_run(tmp_path).state)
    assert (bus.run.epoch, bus.run.step, bus.run.stopped) == (1, 2, False)
    train(Bus(EarlyStopping("loss"), Journal(tmp_path / "b")), [{"loss": 1.0}], [{"loss": 1.0}])
    bus = Bus(History())
    state = open_run(tmp_path / "b").state
    bus.load_state_dict(state)
    assert state["run"]["stop_reason"] == "loss did not improve for 1 epoch; its best was 1 in epoch 1"
    assert (bus.run.id, bus.run.resumed, bus.run.stopped) == (open_run(tmp_path / "b").begin.id, True, False)


def test_a_run_that_goes_on_with_one_that_is_not_here_says_so(tmp_path):
    """What there is of it is read."""
    written(tmp_path, attrs.evolve(BEGIN, continues="gone", epoch=3, step=4), (4, 1.0))
    opened = open_run(tmp_path)
    assert opened.history.epoch == [4]
    assert [each.reason for each in opened.damage] == ["the run that a later one continues is missing"]


def test_of_two_that_go_on_with_the_same_run_each_has_all_of_its_own(tmp_path):
    """As where a checkpoint was taken up twice."""
    written(tmp_path, BEGIN, (0, 0.0), (1, 0.1), (2, 0.2))
    for number, epoch in enumerate((0, 1), start=1):
        begin = attrs.evolve(BEGIN, id=str(number), continues="a", epoch=epoch, step=epoch + 1)
        written(tmp_path, begin, (epoch + 1, 7.0), number=number)
    assert losses(open_run(tmp_path)) == [[0.0, 7.0], [0.0, 0.1, 7.0]]


def test_a_run_that_is_resumed_twice_is_one_run(tmp_path):
    """Each time from where its last part went back to."""
    written(tmp_path, BEGIN, (0, 0.0), (1, 0.1), (2, 0.2))
    written(tmp_path, attrs.evolve(BEGIN, id="b", continues="a", epoch=1, step=2), (2, 1.2), (3, 1.3), number=1)
    written(tmp_path, attrs.evolve(BEGIN, id="c", continues="b", epoch=2, step=3), (3, 2.3), number=2)
    assert losses(open_run(tmp_path)) == [[0.0, 0.1, 1.2, 2.3]]


@pytest.mark.parametrize("steps", [1, 0])
@pytest.mark.parametrize(("epoch", "kept"), [(2, [0.0, 0.1]), (1, [0.0]), (0, [])])
def test_records_after_the_target_of_a_rewind_are_left_out(tmp_path, steps, epoch, kept):
    """Epochs and decisions; in loops that count no batches too. What failed did fail."""
    stop = Stop(reason="enough", failed=False, epoch=1, step=2 * steps, time=0.0)
    rates = RateChange(reason="", before=[1.0], after=[0.5], epoch=0, step=steps, time=0.0)
    failure = SinkFailure(sink="Own", hook="on_block", error="E", traceback="", step=2 * steps, time=0.0)
    back = Rewind(epoch=epoch, step=steps * epoch, time=0.0)
    written(tmp_path, BEGIN, (0, 0.0), rates, (1, 0.1), stop, failure, back, (epoch, 7.0), steps=steps)
    opened = open_run(tmp_path)
    assert losses(opened) == [[*kept, 7.0]]
    assert opened.decisions == [rates, stop][:epoch]
    assert (opened.failures, opened.begin) == ([failure], BEGIN)


# --- damage ----------------------------------------------------------------------------------------------------------


def test_damage_is_reported_with_its_file_and_the_rest_is_there(tmp_path):
    """A flipped bit in the first of two files, a truncation in the second."""
    recorded(tmp_path, 1.0, 2.0, 3.0)
    written(tmp_path, BEGIN, (0, 4.0), (1, 5.0), BEGIN, number=1)
    first, second = sorted(tmp_path.glob("*.mcj"))
    place = next(each.offset for each in read_journal(first).records if each.kind is Kind.EPOCH)
    data = bytearray(first.read_bytes())
    data[place + 50] ^= 16
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:-9])
    opened = open_run(tmp_path)
    assert losses(opened) == [[2.0, 3.0], [4.0, 5.0]]
    assert opened.batches["loss"].tolist() == [1.0, 2.0, 3.0]
    assert [(each.file, each.unfinished) for each in opened.damage] == [(first.name, False), (second.name, True)]
    assert repr(opened).endswith("3 batches, damaged in 2 places)")


def test_a_run_whose_begin_is_lost_is_read_for_the_rest(tmp_path):
    """Where it comes from is not known."""
    recorded(tmp_path, 1.0, 2.0)
    path = tmp_path / "journal-0000.mcj"
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    opened = open_run(tmp_path)
    assert (opened.begin, opened.config, opened.status) == (None, {}, "completed")
    assert (opened.history["loss"].tolist(), opened.state["run"]["epoch"]) == ([1.0, 2.0], 1)


def test_a_folder_of_damaged_files_gives_nothing_and_no_exception(tmp_path):
    """All that can be said is what is wrong."""
    (tmp_path / "journal-0000.mcj").write_bytes(b"x" * 99)
    (tmp_path / "journal-0001.mcj").touch()
    opened = open_run(tmp_path)
    assert (opened.status, opened.config, len(opened.history), opened.exception) == ("unknown", {}, 0, None)
    assert (opened.runs, opened.decisions, opened.failures, len(opened.damage)) == ((), [], [], 1)
    assert opened.state["run"] == {
        "id": None, "index": 0, "epoch": -1, "step": 0, "stop_reason": None, "rate_set": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "facts",
    [
        [attrs.evolve(BEGIN, continues="a")],
        [attrs.evolve(BEGIN, epoch=2**62, step=-(2**62), continues="a")],
        [Rewind(epoch=5, step=2**62, time=float("nan"))],
        [BEGIN, BEGIN, Rewind(epoch=-(2**63), step=-(2**63), time=0.0)],
        [attrs.evolve(BEGIN, process={"host": platform.node(), "pid": 10**30})],
        [attrs.evolve(BEGIN, process={"host": [], "pid": {}})],
    ],
)
def test_facts_that_make_no_sense_are_no_exception(tmp_path, facts):
    """A run that continues itself, huge numbers, and processes that do not exist."""
    written(tmp_path, *facts, (0, 1.0), *facts)
    opened = open_run(tmp_path)
    assert len(opened.runs) == 1
    assert json.dumps(opened.state)


def test_what_decided_is_on_record(tmp_path):
    """The metrics that sinks monitor, how, the best epoch, and the stop."""
    stopping = EarlyStopping("loss", patience=1)
    train(Bus(Journal(tmp_path), stopping), [{"loss": 1.0}], [{"loss": 2.0}])
    assert open_run(tmp_path).outcome == Outcome(
        [Watched("EarlyStopping", "loss", "min", restores=False, best_epoch=0, best_step=1)],
        "loss did not improve for 1 epoch; its best was 1 in epoch 1",
        1,
        "stopped",
    )


def test_what_decided_is_on_record_of_a_run_that_was_killed(tmp_path):
    """Before its end nothing says which epoch was the best for the sink."""
    bus = Bus(Journal(tmp_path), EarlyStopping("loss", patience=9))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"loss": 1.0})
    assert open_run(tmp_path).outcome == Outcome([Watched("EarlyStopping", "loss", "min")])


@pytest.mark.parametrize(
    "watched", [{"a": None}, {"a": {}}, {"a": {"metric": 1, "mode": "min"}}, {"a": {"metric": "b", "mode": "up"}}]
)
def test_what_is_not_as_journals_write_it_did_not_decide(tmp_path, watched):
    """Of what a file holds nothing is trusted."""
    plan = Plan(epochs=None, steps_per_epoch=None, learning_rates=None, directions={}, watched=watched)
    written(tmp_path, BEGIN, (0, 1.0), plan)
    assert open_run(tmp_path).outcome == Outcome()


def test_a_recorded_run_is_a_pandas_frame(tmp_path):
    """Epochs, or batches: the labels and then the metrics, as of a History."""
    pytest.importorskip("pandas")
    opened = recorded(tmp_path, 2.0, 1.0)
    expected = [[0, 0, 1, 2.0], [0, 1, 2, 1.0]]
    for frame_of in (opened.to_pandas(), opened.history.to_pandas(), opened.to_pandas(batches=True)):
        assert list(frame_of) == ["run", "epoch", "step", "time", "loss"]
        assert frame_of.drop(columns="time").to_numpy().tolist() == expected
