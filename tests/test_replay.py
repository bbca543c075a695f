"""Replay: sinks receive a journal's events as in the original run, and decide the same."""

import math
import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import (
    Bus,
    CSVLogger,
    EarlyStopping,
    History,
    LearningRateScheduler,
    Loop,
    ModelCheckpoint,
    ReduceLROnPlateau,
    SetupError,
    Sink,
    TerminateOnNaN,
)
from monitor_core.journal.recorded import open_run
from monitor_core.replay import replay
from monitor_core.sinks.journal import Journal
from recorders import BlockRecorder, Handle, Raiser, Recorder, train

EXAMPLES = settings(max_examples=2000 if os.environ.get("MONITOR_CORE_LONG") else 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for many examples, whose files need not survive a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield tmp_path_factory.mktemp("examples")


def fresh(folder):
    """Return a new folder in one for many examples."""
    return folder / str(len(list(folder.iterdir())))


def losses(*values, model=None, folder):
    """Record a run with a batch in each epoch, and open it."""
    train(Bus(Journal(folder), model=model), *[[{"loss": value}] for value in values])
    return open_run(folder)


# --- what sinks receive ----------------------------------------------------------------------------------------------


def drive(*sinks):
    """Drive sinks through a run with epochs, batches with missing metrics, and evaluations."""
    with Loop(*sinks) as loop:
        for epoch in loop.epochs(3):
            for batch in loop.batches(range(4)):
                loop.log(loss=epoch + batch / 8)
                if batch == 2:
                    loop.log(accuracy=math.nan)
            with loop.evaluation():
                loop.log(loss=epoch)
        with loop.evaluation():
            loop.log(loss=7.0)


HEARD = [
    "train_begin", "train_end", "epoch_begin", "epoch_end", "batch_begin", "batch_end", "block", "evaluation_begin",
    "evaluation_end",
]  # fmt: skip


def test_sinks_receive_what_they_would_have_received(tmp_path):
    """Every event with all its values, in the same order."""
    live, replayed = (Recorder(*(f"on_{hook}" for hook in HEARD)) for _ in range(2))
    drive(live, Journal(tmp_path))
    run = replay(open_run(tmp_path), replayed)
    assert str(replayed.events) == str(live.events)  # as texts, in which NaN equals NaN
    assert (run.status, run.epoch, run.step, run.steps_per_epoch) == ("completed", 2, 12, 4)


def drive_by_steps(*sinks):
    """Feed sinks two epochs of six steps, evaluated after every second; the third belongs to the epoch's end."""
    bus = Bus(*sinks)
    bus.train_begin(epochs=2, steps_per_epoch=6)
    for epoch in range(2):
        bus.epoch_begin(epoch)
        for _ in range(6):
            bus.batch_begin(bus.run.step + 1)
            bus.batch_end(bus.run.step + 1, {"loss": 0.5})
            if bus.run.step % 2 == 0:
                bus.evaluation_begin()
                bus.evaluation_end({"loss": float(bus.run.step)})
        bus.epoch_end(epoch, {"loss": 0.5})
    bus.train_end()


@pytest.mark.parametrize("hooks", [("on_midepoch_evaluation", "on_batch_end"), ("on_midepoch_evaluation", "on_block")])
def test_evaluations_are_played_at_their_step(tmp_path, hooks):
    """Those within an epoch between its batches, and the last with the epoch's end."""
    live, replayed = (Recorder("on_epoch_end", *hooks) for _ in range(2))
    drive_by_steps(live, Journal(tmp_path))
    replay(open_run(tmp_path), replayed)
    assert replayed.events == live.events
    assert sum(event[0] == "midepoch_evaluation" for event in live.events) == 4


def test_evaluations_are_played_without_batches_on_record(tmp_path):
    """The step of the epoch's end says which were within it."""
    live, replayed = (History() for _ in range(2))
    drive_by_steps(live, Journal(tmp_path, per_batch=False))
    replay(open_run(tmp_path), replayed)
    assert replayed.evaluations.steps.tolist() == live.evaluations.steps.tolist() == [2, 4, 6, 8, 10, 12]
    assert replayed.evaluations["val_loss"].tolist() == live.evaluations["val_loss"].tolist()


@pytest.mark.parametrize("per_batch", [True, False])
def test_a_stop_by_an_evaluation_ends_the_replay_at_its_step(tmp_path, per_batch):
    """No batch follows, and the epoch's results are unknown."""

    class Stop(Sink):
        def on_midepoch_evaluation(self, run, logs):
            if logs["val_loss"] == 8.0:
                run.stop("enough")

    drive_by_steps(Journal(tmp_path, per_batch=per_batch))
    recorder = Recorder("on_batch_end", "on_epoch_end")
    run = replay(open_run(tmp_path), Stop(), recorder)
    assert (run.status, run.epoch, run.step) == ("stopped", 1, 8)
    assert [event[:2] for event in recorder.events if event[0] == "epoch_end"] == [("epoch_end", 0)]
    assert sum(event[0] == "batch_end" for event in recorder.events) == 8 * per_batch


def test_blocks_come_with_the_times_of_the_record(tmp_path):
    """Not with those of the replay."""
    live, replayed = BlockRecorder(), BlockRecorder()
    drive(live, Journal(tmp_path))
    replay(open_run(tmp_path), replayed)
    times = [[block.times.tolist() for block in recorder.blocks] for recorder in (live, replayed)]
    assert times[0] == times[1]


def test_the_run_is_as_it_was_at_each_event(tmp_path):
    """Its step, epoch and status."""

    class Watcher(Sink):
        def __init__(self):
            self.seen = []

        def note(self, run, *_):
            self.seen.append((run.index, run.status, run.epoch, run.step))

        on_train_begin = on_train_end = note

        def on_epoch_begin(self, run, epoch):
            self.note(run)

        def on_epoch_end(self, run, epoch, logs):
            self.note(run)

        def on_batch_begin(self, run, step):
            self.note(run)

        def on_batch_end(self, run, step, logs):
            self.note(run)

        def on_evaluation_end(self, run, logs):
            self.note(run)

    live, replayed = Watcher(), Watcher()
    drive(live, Journal(tmp_path))
    replay(open_run(tmp_path), replayed)
    assert replayed.seen == live.seen


METRICS = st.dictionaries(st.sampled_from(["loss", "acc", "a,b", "two\nlines"]), st.floats() | st.none(), max_size=3)


@EXAMPLES
@given(st.lists(st.lists(st.lists(METRICS, max_size=3), max_size=3), min_size=1, max_size=2), st.booleans())
def test_a_csv_file_written_afterwards_is_that_of_the_training(folder, runs, per_batch):
    """Byte for byte, per epoch and per batch, over several runs."""
    each = fresh(folder)
    bus = Bus(CSVLogger(each / "live.csv", per_batch=per_batch), Journal(each))
    for epochs in runs:
        train(bus, *epochs)
    replay(open_run(each), CSVLogger(each / "replayed.csv", per_batch=per_batch))
    assert (each / "replayed.csv").read_bytes() == (each / "live.csv").read_bytes()


def test_a_killed_run_is_replayed_as_far_as_it_went(tmp_path):
    """The open epoch has its batches and no end; the run counts as interrupted."""
    bus = Bus(Journal(tmp_path))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"loss": 1.0})
    bus.epoch_begin(1)
    bus.batch_end(1, {"loss": 2.0})
    bus.flush()
    replayed = Recorder("on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end")
    run = replay(open_run(tmp_path), replayed)
    assert [event[0] for event in replayed.events] == [
        "epoch_begin",
        "epoch_end",
        "epoch_begin",
        "batch_end",
        "train_end",
    ]
    assert run.status == "interrupted"


def test_an_epoch_that_was_aborted_ends_without_results(tmp_path):
    """And the next one follows."""
    with Loop(Journal(tmp_path)) as loop:
        for _ in range(2):
            with suppress(RuntimeError):
                for _ in loop.epochs(5):
                    for _ in loop.batches(range(1)):
                        loop.log(loss=1)
                    raise RuntimeError
    replayed = Recorder("on_epoch_begin", "on_epoch_end", "on_batch_end")
    replay(open_run(tmp_path), replayed)
    assert [event[:2] for event in replayed.events] == [
        ("epoch_begin", 0), ("batch_end", 1), ("epoch_begin", 1), ("batch_end", 2),
    ]  # fmt: skip


def test_a_partial_epoch_is_marked(tmp_path):
    """An epoch left by break has its results, and the journal marks it as partial."""
    with Loop(Journal(tmp_path)) as loop:
        for epoch in loop.epochs(5):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
                if epoch == 1:
                    break
            if epoch == 1:
                break
    recorded = open_run(tmp_path)
    assert recorded.history["loss"].tolist() == [1.5, 1.0]
    assert recorded.last.partial_epochs == [1]


# --- what sinks decide -----------------------------------------------------------------------------------------------

RULES = st.fixed_dictionaries(
    {},
    optional={
        "patience": st.integers(0, 4),
        "min_delta": st.sampled_from([0.0, 0.5, 2.0]),
        "mode": st.sampled_from(["min", "max"]),
        "baseline": st.floats(-3, 3),
        "start_from_epoch": st.integers(0, 3),
        "check_finite": st.booleans(),
        "stopping_threshold": st.floats(-3, 3),
        "divergence_threshold": st.floats(-3, 3),
    },
)


@EXAMPLES
@given(st.lists(st.floats(-3, 3) | st.floats(), max_size=12), RULES)
def test_early_stopping_decides_as_it_would_have(folder, values, rule):
    """The same stop, for the same reason, in the same epoch, as live over the same values."""
    values = [value + 0.0 for value in values]  # the mean of an epoch of one -0.0 is 0.0
    stop = EarlyStopping("loss", **rule)
    with Loop(stop) as loop:
        for epoch in loop.epochs(len(values)):
            for value in loop.batches([values[epoch]]):
                loop.log(loss=value)
    each = fresh(folder)
    replayed = EarlyStopping("loss", **rule)
    run = replay(losses(*values, folder=each), replayed)
    assert (run.stop_reason, run.failed, run.status) == (loop.run.stop_reason, loop.run.failed, loop.run.status)
    assert run.epoch == loop.run.epoch
    assert replayed.state_dict() == stop.state_dict()


def test_another_patience_can_be_tried_out(tmp_path):
    """Records after its stop are not played."""
    recorded = losses(1.0, 2.0, 0.5, 2.0, 2.0, 2.0, folder=tmp_path)
    history = History()
    run = replay(recorded, EarlyStopping("loss", patience=2), history)
    assert (run.epoch, run.status, history["loss"].tolist()) == (4, "stopped", [1.0, 2.0, 0.5, 2.0, 2.0])
    assert replay(recorded, EarlyStopping("loss", patience=4)).stop_reason is None


def test_a_stop_at_a_batch_ends_the_replay_there(tmp_path):
    """The block is truncated there; the results of its epoch cannot be known."""
    with Loop(Journal(tmp_path)) as loop:
        for _ in loop.epochs(2):
            for value in loop.batches([1.0, math.nan, 2.0]):
                loop.log(loss=value)
    replayed = Recorder("on_block", "on_epoch_end", "on_train_end")
    run = replay(open_run(tmp_path), TerminateOnNaN(), replayed)
    assert (run.step, run.epoch, run.status) == (2, 0, "failed")
    assert [event[0] for event in replayed.events] == ["block", "train_end"]
    assert [step for step, _ in replayed.events[0][1][1]] == [1, 2]


def test_a_stop_at_the_last_batch_of_an_epoch_lets_the_epoch_end(tmp_path):
    """As in the training, where nothing of it was left to do."""
    recorded = losses(1.0, math.nan, 2.0, folder=tmp_path)
    replayed = Recorder("on_epoch_end")
    run = replay(recorded, TerminateOnNaN(), replayed)
    assert (run.epoch, run.step, [event[1] for event in replayed.events]) == (1, 2, [0, 1])


def test_a_plateau_lowers_the_rate_as_it_would_have(tmp_path):
    """Beginning with the recorded rates, of every parameter group; what the record's logs say of it is left out."""
    values = (1.0, 1.0, 1.0, 0.5, 1.0, 1.0)
    rule = {"patience": 1, "factor": 0.5}
    live, replayed = History(), History()
    live_bus = Bus(ReduceLROnPlateau("loss", **rule), live, model=Handle(0.25, 0.5))
    train(live_bus, *[[{"loss": value}] for value in values])
    scheduled = LearningRateScheduler(lambda epoch, rate: 0.25 if epoch == 0 else rate / 10)
    recorded_by = Bus(scheduled, Journal(tmp_path), model=Handle(0.25, 0.5))
    train(recorded_by, *[[{"loss": value}] for value in values])
    run = replay(open_run(tmp_path), ReduceLROnPlateau("loss", **rule), replayed)
    assert replayed["learning_rate"].tolist() == live["learning_rate"].tolist()
    assert run.learning_rate == live_bus.run.learning_rate


def test_the_recorded_rate_stays_where_no_sink_sets_it(tmp_path):
    """As any other metric."""
    bus = Bus(ReduceLROnPlateau("loss", patience=1), Journal(tmp_path), model=Handle(1.0))
    train(bus, *[[{"loss": 1.0}]] * 3)
    replayed = History()
    replay(open_run(tmp_path), replayed)
    assert replayed["learning_rate"].tolist() == [1.0, 1.0, 0.1]


class Knowing(Handle):
    """A handle that knows a direction."""

    def direction(self, metric):
        """Return that of one metric."""
        return "max" if metric == "closeness" else None


def test_directions_that_the_model_knew_are_known(tmp_path):
    """A metric of the model's own needs no mode."""
    train(Bus(Journal(tmp_path), model=Knowing()), *[[{"closeness": value}] for value in (1.0, 2.0, 1.5)])
    assert replay(open_run(tmp_path), EarlyStopping("closeness", patience=1)).epoch == 2


# --- what a replay cannot do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        (EarlyStopping("loss", restore_best_weights=True), "EarlyStopping needs 'get_weights' .* replay has no model"),
        (ModelCheckpoint("{epoch}"), "ModelCheckpoint needs 'save' of the model.* a replay has no model; pass model="),
        (ReduceLROnPlateau("loss"), "ReduceLROnPlateau needs 'learning_rates' .* no learning rate is on record"),
        (EarlyStopping("own"), "does not know whether 'own'"),
    ],
)  # fmt: skip
def test_what_needs_the_model_is_an_error_at_once(tmp_path, sink, message):
    """Which names the sink and what it needs."""
    with pytest.raises(SetupError, match=message):
        replay(losses(1.0, folder=tmp_path), sink)


def test_a_model_can_be_passed(tmp_path):
    """In the place of the stand-in, for all that is asked of it."""
    handle = Handle(1.0)
    run = replay(losses(1.0, 1.0, folder=tmp_path), ReduceLROnPlateau("loss", patience=1), model=handle)
    assert (handle.learning_rates, run.model) == ([0.1], handle)


def test_what_a_sink_raises_propagates(tmp_path):
    """After the other sinks were called and notified of the end."""
    last = Recorder("on_epoch_end", "on_exception", "on_train_end")
    with pytest.raises(ValueError, match="no good"):
        replay(losses(1.0, 2.0, folder=tmp_path), Raiser("on_epoch_end", ValueError("no good")), last)
    assert [event[0] for event in last.events] == ["epoch_end", "exception", "train_end"]


def test_a_record_without_a_run_is_an_error(tmp_path):
    """There is nothing to replay."""
    (tmp_path / "journal-0000.mcj").touch()
    with pytest.raises(SetupError, match="holds no run to replay"):
        replay(open_run(tmp_path), History())


def test_a_damaged_run_is_replayed_without_what_is_lost(tmp_path):
    """The epochs that are whole, each with what is there of it."""
    train(Bus(Journal(tmp_path)), *[[{"loss": float(epoch)}] for epoch in range(5)])
    path = tmp_path / "journal-0000.mcj"
    whole = path.read_bytes()
    for place in range(400, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        history = History(per_batch=True)
        recorded = open_run(tmp_path)
        replay(recorded, history)
        assert history["loss"].tolist() == recorded.history["loss"].tolist()
        assert history.batches["loss"].tolist() == recorded.batches["loss"].tolist()


def test_an_epoch_that_cannot_follow_is_passed_over(tmp_path):
    """As where the record of a rewind is lost: the results of an epoch that has ended come again."""
    journal = Journal(tmp_path)
    bus = Bus(journal)
    bus.train_begin()
    for epoch in (0, 1, 0, 2):
        journal.on_epoch_end(bus.run, epoch, {"loss": float(epoch)})
    history = History()
    replay(open_run(tmp_path), history)
    assert history.epoch == [0, 1, 2]


def test_a_journal_of_a_replay_holds_what_the_first_one_did(tmp_path):
    """A record can be made into another."""
    drive(Journal(tmp_path / "first"))
    first = open_run(tmp_path / "first")
    replay(first, Journal(tmp_path / "second"))
    second = open_run(tmp_path / "second")
    for rows in ("history", "batches", "evaluations"):
        one, other = getattr(first, rows), getattr(second, rows)
        assert {name: str(one[name].tolist()) for name in one} == {name: str(other[name].tolist()) for name in other}
        assert one.steps.tolist() == other.steps.tolist()
    assert first.batches.times.tolist() == second.batches.times.tolist()


def test_evaluations_within_an_epoch_are_played_at_their_step(tmp_path):
    """With names, steps, and the means of the training since the evaluation before; the last belongs to the epoch."""

    class Means(Recorder):
        wants_interval_means = True

        def record(self, run, hook, *args):
            super().record(run, hook, run.step, run.evaluation, dict(run.interval_means), *args)

    hooks, numbers = ("on_midepoch_evaluation", "on_epoch_end"), [1.0, 2.0, 3.0, 4.0]
    with Loop(Journal(tmp_path), live := Means(*hooks)) as loop:
        for _ in loop.epochs(2, steps_per_epoch=4):
            for x in loop.batches(numbers):
                loop.log(loss=x, weight=x)
                if x in (numbers[1], numbers[3]):
                    with loop.evaluation(name="test"):
                        loop.log(loss=10 * x)
    replay(open_run(tmp_path), played := Means(*hooks))
    assert played.events == live.events
    assert [event[0] for event in live.events] == ["midepoch_evaluation", "epoch_end"] * 2
    assert live.events[0][3] == {"loss": 5 / 3}
