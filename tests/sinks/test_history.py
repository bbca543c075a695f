"""The history: every epoch's results, and every batch's if asked."""

import gc
import io
import json
import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Block, Bus, History, Loop
from monitor_core.bus.run import Run
from monitor_core.records.batches import BatchHistory
from recorders import exact, train


def recorded(*epochs, per_batch=False, runs=1):
    """Return a history of runs whose epochs have these logs."""
    history = History(per_batch=per_batch)
    bus = Bus(history)
    for _ in range(runs):
        train(bus, *[[logs] for logs in epochs])
    return history


def content(history):
    """Return everything that a history holds but the batches' times, by value, NaN equal to NaN."""

    def columns(table):
        return {name: [float(value).hex() for value in table[name]] for name in table}

    batches = history.batches
    return {
        "epochs": columns(history),
        "run": history.run.tolist(),
        "epoch": history.epoch,
        "per_batch": history.per_batch,
        "batches": columns(batches),
        "labels": [batches.runs.tolist(), batches.epochs.tolist(), batches.steps.tolist()],
    }


def block(epoch, steps, times=None, **columns):
    """Return a block with these columns."""
    arrays = {name: np.array(values, dtype=float) for name, values in columns.items()}
    times = np.array(times if times is not None else np.zeros(len(steps)), dtype=float)
    return Block(epoch, np.array(steps, dtype=np.int64), times, arrays, dict.fromkeys(arrays))


# --- epochs ---------------------------------------------------------------------------------------------------------


def test_epochs_are_arrays():
    """Each metric is a float64 array over the epochs, in the order of first appearance."""
    history = recorded({"loss": 2.0, "acc": 1}, {"loss": 1.0, "acc": 0})
    assert history["loss"].tolist() == [2.0, 1.0]
    assert history["loss"].dtype == np.float64
    assert (history.keys(), list(history), len(history)) == (["loss", "acc"], ["loss", "acc"], 2)
    assert (history.epoch, history.run.tolist(), history.run.dtype) == ([0, 1], [0, 0], np.int64)


def test_arrays_are_read_only_and_no_copies():
    """A column of any length is handed out without a copy, and cannot be written to."""
    history = recorded({"loss": 2.0})
    assert np.shares_memory(history["loss"], history["loss"])
    with pytest.raises(ValueError, match="read-only"):
        history["loss"][0] = 1.0


def test_array_handed_out_stays_as_it_was():
    """Recording continues without changing arrays that were returned."""
    bus = Bus(history := History())
    train(bus, [{"loss": 1.0}])
    before = history["loss"]
    train(bus, *[[{"loss": 2.0}]] * 20)
    assert before.tolist() == [1.0]


def test_history_is_the_dict_of_lists_that_keras_users_expect():
    """``history.history`` is a dict of lists of floats."""
    history = recorded({"loss": 2, "val_loss": 3}, {"loss": 1, "val_loss": 4})
    assert history.history == {"loss": [2.0, 1.0], "val_loss": [3.0, 4.0]}
    assert isinstance(history.history, dict)
    assert type(history.history["loss"]) is list
    assert type(history.history["loss"][0]) is float


@pytest.mark.parametrize(("logged", "asked"), [("acc", "accuracy"), ("accuracy", "acc"), ("val_accuracy", "val_acc")])
def test_acc_and_accuracy_are_one_metric(logged, asked):
    """Either spelling finds the other, in all look-ups."""
    history = recorded({logged: 0.5}, per_batch=True)
    assert history[asked].tolist() == history.history[asked] == history.batches[asked].tolist() == [0.5]
    assert asked in history
    assert asked in history.batches
    assert history.keys() == [logged]


def test_acc_and_accuracy_are_two_metrics_where_both_exist():
    """Each has its own values where both are logged."""
    history = recorded({"acc": 0.25, "accuracy": 0.5})
    assert (history["acc"].tolist(), history.history["accuracy"]) == ([0.25], [0.5])


@pytest.mark.parametrize(
    ("look_up", "where"),
    [
        (lambda history: history["val_los"], "this history"),
        (lambda history: history.history["val_los"], "this history"),
        (lambda history: history.batches["val_los"], "each batch"),
    ],
)
def test_unknown_name_lists_the_names(look_up, where):
    """The KeyError names the nearest metric and lists them all."""
    history = recorded({"val_loss": 1.0, "loss": 1.0}, per_batch=True)
    with pytest.raises(KeyError) as caught:
        look_up(history)
    assert caught.value.args == (f"no metric 'val_los' (did you mean 'val_loss'?); {where} has loss, val_loss",)


def test_membership():
    """``in`` answers for names, and for nothing else."""
    history = recorded({"loss": 1.0})
    assert [name in history for name in ("loss", "los", 3, None)] == [True, False, False, False]


def test_lengths_always_agree():
    """A metric that appears late or is missing in an epoch is NaN there."""
    history = recorded({"loss": 1.0}, {"loss": 2.0, "val_loss": 3.0}, {}, {"val_loss": 4.0})
    assert {name: [float(value).hex() for value in history[name]] for name in history} == {
        "loss": [(1.0).hex(), (2.0).hex(), "nan", "nan"],
        "val_loss": ["nan", (3.0).hex(), "nan", (4.0).hex()],
    }
    assert (len(history), history.epoch) == (4, [0, 1, 2, 3])


def test_columns_and_epochs_differ_from_keras_as_documented():
    """Over two fits Keras's lists continue, each of its own length, while its epochs start again; ours align."""
    theirs, ours = keras.callbacks.History(), History()
    theirs.set_model(keras.Sequential())
    for _ in range(2):
        theirs.on_train_begin()
        theirs.on_epoch_end(0, {"loss": 2.0})
        theirs.on_epoch_end(1, {"loss": 1.0, "val_loss": 3.0})
        train(Bus(ours), [{"loss": 2.0}], [{"loss": 1.0, "val_loss": 3.0}])
    assert theirs.history == {"loss": [2.0, 1.0, 2.0, 1.0], "val_loss": [3.0, 3.0]}
    assert exact({str(i): value for i, value in enumerate(ours["val_loss"])}) == exact(
        {"0": np.nan, "1": 3.0, "2": np.nan, "3": 3.0}
    )
    assert (theirs.epoch, ours.epoch) == ([0, 1], [0, 1, 0, 1])


def test_continues_over_runs():
    """Further runs append, with their number in the run column, until `reset`."""
    bus = Bus(history := History())
    for value in (1.0, 2.0):
        train(bus, [{"loss": value}], [{"loss": value}])
    assert (history["loss"].tolist(), history.run.tolist(), history.epoch) == (
        [1.0, 1.0, 2.0, 2.0],
        [0, 0, 1, 1],
        [0, 1, 0, 1],
    )
    history.reset()
    assert content(history) == content(History())
    train(bus, [{"loss": 3.0}])
    assert (history["loss"].tolist(), history.run.tolist()) == ([3.0], [0])


def test_reset_within_a_run():
    """What follows a reset in mid-run is run 0, and the next run is run 1."""
    history = History(per_batch=True)
    bus = Bus(history)
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"loss": 1.0})
    history.reset()
    bus.epoch_begin(1)
    bus.batch_end(1, {"loss": 2.0})
    bus.epoch_end(1, {"loss": 2.0})
    bus.train_end()
    train(bus, [{"loss": 3.0}])
    assert (history.run.tolist(), history.epoch, history["loss"].tolist()) == ([0, 1], [1, 0], [2.0, 3.0])
    assert history.batches.runs.tolist() == [0, 1]


def test_runs_that_left_no_record_are_not_counted():
    """Runs are numbered among those that left a record."""
    bus = Bus(history := History())
    for epochs in ([], [[{}]], [], [[{}]]):
        train(bus, *epochs)
    assert history.run.tolist() == [0, 1]


def test_repr():
    """A history and its batches show their size and metrics."""
    history = recorded({"loss": 1.0}, per_batch=True)
    assert repr(history) == "History(1 epochs, 1 batches: loss)"
    assert repr(history.batches) == "BatchHistory(1 batches: loss)"
    assert repr(History()) == "History(0 epochs: no metrics)"


def test_per_batch_is_a_bool():
    """Anything else is refused, and it is keyword-only."""
    with pytest.raises(TypeError, match="per_batch"):
        History(per_batch=1)
    with pytest.raises(TypeError):
        History(True)


# --- batches --------------------------------------------------------------------------------------------------------


def test_batches_are_recorded_if_asked():
    """Each batch's values, step, epoch and run are columns of one length."""
    bus = Bus(history := History(per_batch=True))
    for _ in range(2):
        train(bus, [{"loss": 1.0}, {"loss": 2.0, "acc": 0.5}], [{"loss": 3.0}])
    batches = history.batches
    assert len(batches) == 6
    assert batches["loss"].tolist() == [1.0, 2.0, 3.0] * 2
    assert np.isnan(batches["acc"]).tolist() == [True, False, True] * 2
    assert (batches.steps.tolist(), batches.epochs.tolist(), batches.runs.tolist()) == (
        [1, 2, 3] * 2,
        [0, 0, 1] * 2,
        [0, 0, 0, 1, 1, 1],
    )
    assert [array.dtype for array in (batches.steps, batches.epochs, batches.runs, batches.times)] == [
        np.int64,
        np.int64,
        np.int64,
        np.float64,
    ]


def test_batches_cost_nothing_unless_asked():
    """Without ``per_batch`` the history does not listen to batches."""
    bus = Bus(history := History())
    assert not bus.has_listeners("on_block", "on_batch_begin", "on_batch_end")
    train(bus, [{"loss": 1.0}])
    assert (len(history.batches), list(history.batches), history.batches.times.tolist()) == (0, [], [])


def test_times_are_exact_to_a_microsecond():
    """Within a block of up to 16 seconds, times are those of the batches."""
    times = 1.7e9 + np.array([0.0, 0.123456, 1.0, 15.9])
    history = History(per_batch=True)
    history.on_block(None, block(0, [1, 2, 3, 4], times, loss=[0] * 4))
    assert np.abs(history.batches.times - times).max() < 1.5e-6


steps = st.lists(st.integers(1, 6), min_size=1, max_size=30).map(lambda strides: np.cumsum(strides).tolist())


@given(steps, st.data())
def test_batches_with_any_strides(steps, data):
    """For every ascending sequence of steps, however it falls into blocks and epochs, the labels come back."""
    batches, expected, first, epoch = BatchHistory(), [], 0, 0
    while first < len(steps):
        part = steps[first : first + data.draw(st.integers(1, 10))]
        batches.extend(0, epoch, np.array(part), np.array(part) * 0.5, {"loss": np.array(part, dtype=float)})
        expected += [(epoch, step) for step in part]
        first, epoch = first + len(part), epoch + data.draw(st.integers(0, 1))
    assert list(zip(batches.epochs.tolist(), batches.steps.tolist(), strict=True)) == expected
    assert batches["loss"].tolist() == batches.steps.tolist() == (batches.times * 2).tolist()
    last = data.draw(st.integers(0, steps[-1] + 1))
    batches.truncate(0, last)
    assert batches.steps.tolist() == [step for step in steps if step <= last]
    assert len(batches) == len(batches.times) == len(batches.epochs) == sum(step <= last for step in steps)


# --- rewind and state -----------------------------------------------------------------------------------------------


def test_rewind_drops_what_lies_after():
    """A rewind drops later epochs and batches of this run only; recording continues from there."""
    bus = Bus(history := History(per_batch=True))
    train(bus, [{"loss": 1.0}] * 2, [{"loss": 2.0}] * 2)
    bus.train_begin()
    for epoch in range(3):
        bus.epoch_begin(epoch)
        for _ in range(2):
            bus.batch_end(bus.run.step + 1, {"loss": 10.0 + epoch})
        bus.epoch_end(epoch, {"loss": 10.0 + epoch, f"only_{epoch}": 1.0})
    bus.rewind(1, 2)
    assert (history["loss"].tolist(), history.epoch, history.run.tolist()) == ([1, 2, 10], [0, 1, 0], [0, 0, 1])
    assert history.keys() == ["loss", "only_0"]
    assert history.batches.steps.tolist() == [1, 2, 3, 4, 1, 2]
    bus.epoch_begin(1)
    bus.batch_end(3, {"loss": 20.0})
    bus.epoch_end(1, {"loss": 20.0})
    assert (history["loss"].tolist(), history.batches["loss"].tolist()) == ([1, 2, 10, 20], [1, 1, 2, 2, 10, 10, 20])


def test_rewind_keeps_a_metric_that_is_nan():
    """A metric whose values are all NaN was recorded, and stays."""
    bus = Bus(history := History())
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": float("nan")})
    bus.rewind(1, 0)
    assert history.keys() == ["loss"]


def test_state_is_how_much_is_recorded():
    """The state holds counts, not the record."""
    history = recorded({"loss": 1.0}, {"loss": 2.0}, per_batch=True)
    assert history.state_dict() == {"run": 0, "epochs": 2, "batches": 2, "evaluations": 0}


def continued(bus, history):
    """Record one more epoch in a run that continues from a bus's state; return its bus."""
    other = Bus(history)
    other.load_state_dict(bus.state_dict())
    other.train_begin()
    other.epoch_begin(other.run.epoch + 1)
    other.epoch_end(other.run.epoch, {"loss": 3.0})
    return other


def test_state_makes_the_next_run_continue_the_recorded_one():
    """The train begin after loading a state continues the run in which it was taken."""
    bus = Bus(History())
    for _ in range(3):
        train(bus, [{"loss": 1.0}], [{"loss": 2.0}])
    other = continued(bus, history := History())
    assert history.run.tolist() == [2]
    train(other, [{"loss": 3.0}])
    assert history.run.tolist() == [2, 3]


def test_state_taken_before_a_run_left_a_record():
    """The current run is continued, even if nothing of it was recorded yet."""
    bus = Bus(History())
    continued(bus, history := History())
    assert history.run.tolist() == [0]
    train(bus, [{"loss": 1.0}])
    bus.train_begin()
    continued(bus, other := recorded({"loss": 1.0}))
    assert other.run.tolist() == [0, 1]


# --- files ----------------------------------------------------------------------------------------------------------


def through(history, path, how):
    """Write a history and read it again."""
    getattr(history, f"to_{how}")(path)
    return getattr(History, f"from_{how}")(path)


@pytest.fixture(params=["json", "npz"])
def how(request):
    """Return which kind of file."""
    return request.param


FULL = [
    {"loss": float("nan"), "a/b": 1.0},
    {"loss": float("inf"), "val_loss": -0.0},
    {"loss": float("-inf"), "a/b": 0.1},
]


def test_round_trip(tmp_path, how):
    """A file gives back everything: values that are not finite, late metrics, several runs, batches."""
    history = recorded(*FULL, per_batch=True, runs=2)
    again = through(history, tmp_path / "any.name", how)
    assert content(again) == content(history)
    assert np.abs(again.batches.times - history.batches.times).max() < 1e-6
    assert (tmp_path / "any.name").exists()


@pytest.mark.parametrize("per_batch", [False, True])
def test_round_trip_of_an_empty_history(tmp_path, how, per_batch):
    """Nothing recorded comes back as nothing."""
    history = History(per_batch=per_batch)
    assert content(through(history, tmp_path / "file", how)) == content(history)


def test_round_trip_without_batches(tmp_path, how):
    """A history of epochs alone comes back."""
    history = recorded(*FULL)
    assert content(through(history, tmp_path / "file", how)) == content(history)


def test_round_trip_of_batches_outside_of_epochs(tmp_path, how):
    """Batches that belong to no epoch come back, in however many runs."""
    bus = Bus(history := History(per_batch=True))
    for _ in range(2):
        bus.train_begin()
        bus.batch_end(1, {"loss": 1.0})
        bus.batch_end(2, {"loss": 2.0})
        bus.train_end()
    assert content(through(history, tmp_path / "file", how)) == content(history)


def test_round_trip_keeps_times(tmp_path, how):
    """Times are as exact after reading as they were before, in epochs that take hours too."""
    history = History(per_batch=True)
    history.on_train_begin(Run())
    for number in range(100):
        times = 1.7e9 + 360 * number + np.array([0.0, 0.123456])
        history.on_block(None, block(0, [2 * number + 1, 2 * number + 2], times, loss=[0, 0]))
    again = through(history, tmp_path / "file", how)
    assert np.abs(again.batches.times - history.batches.times).max() < 1.5e-6


def test_recording_continues_after_reading(tmp_path, how):
    """A history that was read appends as its next run."""
    history = through(recorded(*FULL, per_batch=True, runs=2), tmp_path / "file", how)
    train(Bus(history), [{"loss": 5.0}])
    assert history.run.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert history.batches.runs.tolist() == [0, 0, 0, 1, 1, 1, 2]


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
logs = st.dictionaries(names, st.floats(), max_size=3)


@given(st.lists(st.lists(logs, max_size=3), max_size=3), st.booleans())
def test_round_trip_of_any_history(tmp_path_factory, runs, per_batch):
    """For every sequence of runs and names, both files give back what was recorded."""
    history = History(per_batch=per_batch)
    bus = Bus(history)
    for epochs in runs:
        train(bus, *[[each, each] for each in epochs])
    folder = tmp_path_factory.mktemp("any", numbered=True)
    for how in ("json", "npz"):
        assert content(through(history, folder / how, how)) == content(history)


def test_json_is_readable_by_all(tmp_path):
    """The file is strict JSON: what is not finite is a string."""

    def refuse(constant):
        raise AssertionError(constant)

    recorded(*FULL, per_batch=True).to_json(tmp_path / "file.json")
    data = json.loads((tmp_path / "file.json").read_text(), parse_constant=refuse)
    assert data["epochs"]["loss"] == data["batches"]["loss"] == ["NaN", "Infinity", "-Infinity"]
    assert data["labels"] == {"run": [0, 0, 0], "epoch": [0, 1, 2], "step": [1, 2, 3]}


def npz_bytes(**arrays):
    """Return an archive of these arrays."""
    np.savez(file := io.BytesIO(), **arrays)
    return file.getvalue()


def npy_bytes():
    """Return a file of one array."""
    np.save(file := io.BytesIO(), np.ones(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff\xfe", b'{"format": 2}', b'{"format": 1}', b"no json", b'{"format": 1, "labels": 3}'],
)
def test_json_that_is_no_history(tmp_path, data):
    """Any other file is a ValueError."""
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        History.from_json(tmp_path / "file")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        npy_bytes(),
        npz_bytes(a=np.ones(3)),
        npz_bytes(format=np.int64(2)),
        npz_bytes(format=np.int64(1)),
        npz_bytes(format=np.int64(1), runs=np.int64(1), per_batch=np.bool_(False), **{"other/a": np.ones(3)}),
        npz_bytes(format=np.int64(1))[:60],
    ],
    ids=["empty", "text", "npy", "other", "format", "header", "part", "cut"],
)
def test_npz_that_is_no_history(tmp_path, data):
    """Any other file is a ValueError, and none is executed."""
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        History.from_npz(tmp_path / "file")


def test_npz_holds_no_objects(tmp_path):
    """The archive is read without pickle, and has exactly the given name."""
    recorded(*FULL, per_batch=True).to_npz(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with np.load(tmp_path / "file", allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} <= set("ifbU")


# --- pandas ---------------------------------------------------------------------------------------------------------


def test_pandas_frame_of_epochs():
    """The frame has run, epoch and step, then the metrics."""
    pd = pytest.importorskip("pandas")
    frame = recorded(*FULL, runs=2).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame) == ["run", "epoch", "step", "loss", "a/b", "val_loss"]
    assert frame["step"].tolist() == [1, 2, 3] * 2
    assert (frame["run"].tolist(), frame["epoch"].tolist()) == ([0, 0, 0, 1, 1, 1], [0, 1, 2] * 2)
    assert exact(dict(enumerate(frame["loss"]))) == exact(dict(enumerate([logs["loss"] for logs in FULL] * 2)))


def test_pandas_frame_of_batches():
    """The frame has the batches' labels, then their metrics."""
    pytest.importorskip("pandas")
    history = recorded({"loss": 1.0}, {"loss": 2.0}, per_batch=True)
    frame = history.to_pandas(batches=True)
    assert list(frame) == ["run", "epoch", "step", "time", "loss"]
    assert frame.drop(columns="time").to_numpy().tolist() == [[0, 0, 1, 1.0], [0, 1, 2, 2.0]]
    assert frame["time"].tolist() == history.batches.times.tolist()


def test_pandas_frame_is_a_copy():
    """Writing into the frame does not touch the history."""
    pytest.importorskip("pandas")
    history = recorded({"loss": 1.0})
    frame = history.to_pandas()
    frame.loc[0, "loss"] = 5.0
    assert history["loss"].tolist() == [1.0]


def test_pandas_frame_keeps_its_labels():
    """A metric that is called as a label does not take its place."""
    pytest.importorskip("pandas")
    frame = recorded({"epoch": 7.0, "run": 8.0}, {"epoch": 7.5, "run": 8.5}).to_pandas()
    assert frame.iloc[:, :2].to_numpy().tolist() == [[0, 0], [0, 1]]


# --- in use ---------------------------------------------------------------------------------------------------------


def test_history_of_a_loop():
    """Means, evaluations and batches of a loop arrive."""
    with Loop(history := History(per_batch=True)) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches([1.0, 3.0]):
                loop.log(loss=x)
            with loop.evaluation():
                loop.log(loss=5.0)
    assert history.history == {"loss": [2.0, 2.0], "val_loss": [5.0, 5.0]}
    assert (history.batches["loss"].tolist(), history.batches.steps.tolist()) == ([1.0, 3.0] * 2, [1, 2, 3, 4])


def bytes_held(fill):
    """Return how much memory a history holds after it was filled, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        history = History(per_batch=True)
        fill(history)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_memory_of_batches():
    """A million batches of one metric take less than 16 bytes each, labels and times included."""

    def fill(history):
        values = np.zeros(250)
        for first in range(1, 1_000_001, 250):
            history.on_block(None, block(first // 10_000, np.arange(first, first + 250), values, loss=values))

    assert bytes_held(fill) < 16 * 1_000_000


def test_memory_of_epochs():
    """Scalars over epochs take less than 16 bytes each, labels included."""
    logs = dict.fromkeys(["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"], 0.5)

    def fill(history):
        run = Run()
        for epoch in range(1000, 21_000):
            history.on_epoch_end(run, epoch, logs)

    assert bytes_held(fill) < 16 * 100_000
