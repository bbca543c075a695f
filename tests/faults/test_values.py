"""Any name, any value, any clock, any thread: every number is in its place, or one warning says why it is not."""

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.support import Recording, csv_steps, exact, read_csv, read_run
from monitor_core import Bus, CSVLogger, History, Journal, Loop, Sink
from monitor_core.files.csv_sheet import column_of
from monitor_core.journal.recorded import open_run
from monitor_core.tensorboard.formats.tags import clean_tag
from recorders import train

EXAMPLES = settings(max_examples=40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a function that gives a new folder, whose files need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield lambda: tmp_path_factory.mktemp("run")


def in_board(value):
    """Return a value as an event file has it."""
    with np.errstate(over="ignore"):
        return "nan" if math.isnan(value) else float(np.float32(value))


def assert_recorded(recording, epochs):
    """Check that every record has these batches, given as lists of logs by epoch, each value under its name."""
    steps = [logs for batches in epochs for logs in batches]
    numbered = list(enumerate(steps, start=1))
    records = recording.records()
    names = list(dict.fromkeys(name for logs in steps for name in logs))
    expected = {name: exact(logs.get(name, math.nan) for logs in steps) for name in names}
    assert records["batches"] == expected
    assert records["journal"]["batches"] == expected
    assert records["journal"]["steps"][1] == records["labels"][2] == [step for step, _ in numbered]
    last = [batches[-1] if batches else {} for batches in epochs]
    assert records["epochs"] == {
        name: exact(logs.get(name, math.nan) for logs in last)
        for name in dict.fromkeys(n for logs in last for n in logs)
    }
    head, *rows = records["batches.csv"]
    surrogates_escaped = [column_of(name).encode(errors="backslashreplace").decode() for name in names]
    assert sorted(head[2:]) == sorted(surrogates_escaped)
    for (step, logs), row in zip(numbered, rows, strict=True):
        cells = dict(zip(head[2:], row[2:], strict=True))
        assert row[1] == str(step)
        for name, escaped in zip(names, surrogates_escaped, strict=True):
            assert cells[escaped] == ("" if name not in logs else str(float(logs[name])))
    shown = {
        (step, clean_tag(f"batch_{name}"), in_board(value)) for step, logs in numbered for name, value in logs.items()
    }
    assert {scalar for scalar in records["board"]["train"] if scalar[1].startswith("batch_")} == shown


# --- names -----------------------------------------------------------------------------------------------------------

HOSTILE_NAMES = [
    "", " ", "a/b/c", "/", "../../evil", "two\nlines", "\r", "a\r\nb", "tab\t", "nul\0", "<b>bold</b>", "[red]",
    "{epoch}", "%s", "%(x)s", "\\", '"', '""', "'", ",", ";", "=1+1", "é", "\u2028", "\U0001f600", "\udc80", "\ud83d",
    "\x1b[31m", "x" * 5000, "epoch", "epoch_", "step", "time", "run", "loss", "val_", "val_loss", "learning_rate",
    "\ufeff", "\x85", "-0", "nan", "__class__", "__missing__",
]  # fmt: skip


def test_hostile_names_keep_their_values_in_every_record(folders):
    """Slashes, line ends, markup, quotes, halves of surrogate pairs, nothing at all: each is a metric as any other."""
    recording = Recording(folders())
    logs = {name: number / 4 for number, name in enumerate(HOSTILE_NAMES)}
    epochs = [[logs, {name: -value for name, value in logs.items()}], [logs]]
    bus = Bus(*recording.sinks)
    train(bus, *epochs)
    assert bus.failures == []
    assert_recorded(recording, epochs)


@EXAMPLES
@given(st.lists(st.lists(st.dictionaries(st.text(max_size=6) | st.sampled_from(HOSTILE_NAMES), st.floats(), max_size=4),
                         max_size=4), min_size=1, max_size=3))  # fmt: skip
def test_any_names_and_floats_are_in_every_record(folders, epochs):
    """Whichever come and go: History, CSV, journal and event files agree, to the bit or to TensorBoard's float32."""
    recording = Recording(folders())
    bus = Bus(*recording.sinks)
    train(bus, *epochs)
    assert bus.failures == []
    assert_recorded(recording, with_csv_names_apart(epochs))


def with_csv_names_apart(epochs):
    """Return the epochs as they are: names that a CSV file cannot distinguish are left to `assume`."""
    from hypothesis import assume

    names = {name for batches in epochs for logs in batches for name in logs}
    assume(len({name.encode(errors="backslashreplace") for name in names}) == len(names))
    assume(any(logs for batches in epochs for logs in batches))
    assume(len({clean_tag(f"batch_{name}") for name in names}) == len(names))
    return epochs


def test_ten_thousand_names_are_all_recorded(folders):
    """In one batch, and others in the next."""
    recording = Recording(folders())
    first = {f"metric/{number}": number / 8 for number in range(10_000)}
    epochs = [[first, {"late": 1.0}, dict(list(first.items())[:3])]]
    train(bus := Bus(*recording.sinks), *epochs)
    assert bus.failures == []
    assert_recorded(recording, epochs)


# --- values ----------------------------------------------------------------------------------------------------------


class Liar:
    """Every question about it raises."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __float__(self):
        raise RuntimeError("no float")


class Shapeless:
    """Has a shape that raises."""

    @property
    def shape(self):
        raise RuntimeError("no shape")


class Unshown:
    """Cannot be shown."""

    def __repr__(self):
        raise RuntimeError("no repr")


def endless():
    """Return a mapping that holds itself."""
    logs = {}
    logs["again"] = logs
    return logs


UNUSABLE = {
    "text": "0.5", "bytes": b"1", "complex": 1j, "list": [1.0], "huge": 2**2000, "object": object(),
    "array": np.ones(3), "objects": np.array([None, {}], dtype=object), "an object": np.array(None, dtype=object),
    "empty": np.array([]), "date": np.datetime64("2020-01-01"), "structured": np.zeros((), "i4,f4"), "set": {1},
    "type": float, "function": len, "masked": np.ma.masked, "zcomplex": np.complex64(1), "memory": memoryview(b"1"),
    "ellipsis": ..., "array of text": np.array("1"),
}  # fmt: skip
USABLE = {
    "none": (None, None), "big": (2**70, float(2**70)), "negative zero": (-0.0, -0.0), "true": (True, 1.0),
    "nan": (math.nan, math.nan), "inf": (-math.inf, -math.inf), "half": (np.float16(0.5), 0.5),
    "array": (np.array([[3]]), 3.0), "nested": ({"inner": 4}, 4.0), "tiny": (5e-324, 5e-324),
}  # fmt: skip


@pytest.mark.parametrize("kind", USABLE)
def test_values_of_every_kind_are_in_every_record(folders, kind, warned):
    """As the float that they are; None is a missing one, and no warning is due."""
    given_value, expected = USABLE[kind]
    recording = Recording(folders())
    train(bus := Bus(*recording.sinks), [{"metric": given_value, "loss": 1.0}] * 3)
    name = "inner" if kind == "nested" else "metric"
    logs = {"loss": 1.0} if expected is None else {name: expected, "loss": 1.0}
    assert_recorded(recording, [[logs] * 3])
    assert (bus.failures, warned()) == ([], [])


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_value_that_is_not_a_number_is_logged_once_and_costs_no_other_value(folders, kind, warned):
    """Within batches, epochs and evaluations; the other metrics of the step are recorded."""
    recording = Recording(folders())
    with Loop(*recording.sinks) as loop:
        for _ in loop.epochs(2):
            for batch in loop.batches(range(3)):
                loop.log(metric=UNUSABLE[kind], loss=batch)
            with loop.evaluation():
                for batch in loop.batches(range(2)):
                    loop.log(metric=UNUSABLE[kind], loss=batch)
            loop.log(metric=UNUSABLE[kind])
    assert loop.bus.failures == []
    assert recording.history.batches["loss"].tolist() == [0, 1, 2] * 2
    assert "metric" not in read_run(recording.folder / "journal")["batches"]
    assert read_csv(recording.folder / "epochs.csv") == [["epoch", "loss", "val_loss"], ["0", "1.0", "0.5"],
                                                         ["1", "1.0", "0.5"]]  # fmt: skip
    (message,) = warned()
    assert message.startswith("metric 'metric' is skipped: it ")


@pytest.mark.parametrize("make", [Liar, Shapeless, Unshown, endless])
def test_values_that_raise_when_looked_at_end_no_training(folders, make, warned):
    """A failing ``__float__``, ``__repr__`` or ``shape``, and a mapping that holds itself, are skipped as any other."""
    recording = Recording(folders())
    train(bus := Bus(*recording.sinks), [{"metric": make(), "loss": 1.0}] * 3, [{"metric": make(), "loss": 2.0}])
    assert recording.history.batches["loss"].tolist() == [1, 1, 1, 2]
    assert recording.history["loss"].tolist() == [1, 2]
    assert csv_steps(recording.folder) == [1, 2, 3, 4]
    assert bus.failures == []
    assert len(warned()) == 1


@pytest.mark.parametrize("name", [None, 3, ("a", "b"), b"loss", math.nan])
def test_names_that_are_not_strings_are_logged_once(folders, name, warned):
    """And the other metrics are recorded."""
    recording = Recording(folders())
    train(Bus(*recording.sinks), [{name: 1.0, "loss": 1.0}] * 3)
    assert_recorded(recording, [[{"loss": 1.0}] * 3])
    assert warned() == [f"metric {repr(name)!r} is skipped: its name is not a string"]


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tick", [-1000.0, -0.001, 0.0])
def test_a_clock_that_is_set_back_or_stops_disturbs_nothing(folders, monkeypatch, tick):
    """Records are the same, and times never go back."""
    begin, calls = time.time(), iter(range(10**9))
    clock = SimpleNamespace(**vars(time))
    clock.time = lambda: begin + tick * next(calls)
    for module in ("values.blocks", "tensorboard.parts.scalars", "sinks.journal", "tensorboard.formats.event_file"):
        name = "clock" if module.endswith("event_file") else "time"
        monkeypatch.setattr(f"monitor_core.{module}.{name}", clock)
    recording = Recording(folders())
    epochs = [[{"loss": float(step)} for step in range(300)]] * 2
    train(Bus(*recording.sinks), *epochs)
    assert_recorded(recording, epochs)
    recorded = open_run(recording.folder / "journal")
    for times in (recorded.batches.times, recorded.history.times, recording.history.batches.times):
        assert (np.diff(times) >= 0).all()


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_that_log_into_one_loop_lose_nothing(folders):
    """Each metric of each thread is in the batch in which it was logged, or in its epoch."""
    recording = Recording(folders())
    threads = 4
    barrier = threading.Barrier(threads + 1)

    def log(number):
        for step in range(400):
            barrier.wait(30)
            loop.log({f"metric {number}": float(step)})
            barrier.wait(30)

    with Loop(*recording.sinks) as loop:
        workers = [threading.Thread(target=log, args=(number,), daemon=True) for number in range(threads)]
        for worker in workers:
            worker.start()
        for _ in loop.epochs(2):
            for _ in loop.batches(range(200)):
                barrier.wait(30)
                barrier.wait(30)
        for worker in workers:
            worker.join(30)
    assert loop.bus.failures == []
    for number in range(threads):
        assert recording.history.batches[f"metric {number}"].tolist() == list(range(400))
    assert read_run(recording.folder / "journal")["steps"][1] == list(range(1, 401))


def test_threads_that_feed_one_bus_lose_no_batch(folders):
    """As a framework does that calls from several threads: each step is recorded once, in every record."""
    recording = Recording(folders())
    bus = Bus(*recording.sinks)
    bus.train_begin()
    bus.epoch_begin(0)

    def feed(first):
        for step in range(first, 4001, 4):
            bus.batch_end(step, {"loss": float(step)})

    workers = [threading.Thread(target=feed, args=(first,)) for first in range(1, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    bus.epoch_end(0, {"loss": 0.0})
    bus.train_end()
    assert bus.failures == []
    assert sorted(recording.history.batches["loss"].tolist()) == list(range(1, 4001))
    assert sorted(csv_steps(recording.folder)) == list(range(1, 4001))
    assert sorted(read_run(recording.folder / "journal")["steps"][1]) == list(range(1, 4001))


def test_a_thread_that_evaluates_during_the_training_disturbs_no_record(folders):
    """No two hooks of a sink run at a time, whichever threads the events come from."""
    recording = Recording(folders())
    bus = Bus(*recording.sinks)
    stop = threading.Event()

    def evaluate():
        while not stop.is_set():
            bus.evaluation_begin()
            bus.evaluation_batch_end(0, {"loss": 1.0})
            bus.evaluation_end({"loss": 1.0})

    bus.train_begin()
    worker = threading.Thread(target=evaluate)
    worker.start()
    for epoch in range(5):
        bus.epoch_begin(epoch)
        for step in range(100 * epoch + 1, 100 * epoch + 101):
            bus.batch_end(step, {"loss": float(step)})
        bus.epoch_end(epoch, {"loss": float(epoch)})
    stop.set()
    worker.join(30)
    bus.train_end()
    assert bus.failures == []
    assert recording.history.batches["loss"].tolist() == list(range(1, 501))
    assert csv_steps(recording.folder) == list(range(1, 501))
    assert open_run(recording.folder / "journal").batches["loss"].tolist() == list(range(1, 501))


def test_a_train_begin_is_over_before_another_threads_event_comes():
    """Else a `Journal` is asked to write an evaluation before its run's begin."""
    order = []

    class Both(Sink):
        def on_train_begin(self, run):
            worker.start()
            worker.join(0.2)
            order.append("begin")

        def on_evaluation_begin(self, run):
            order.append("evaluation")

    bus = Bus(Both())
    worker = threading.Thread(target=bus.evaluation_begin)
    bus.train_begin()
    worker.join(30)
    assert order == ["begin", "evaluation"]


# --- other things that are not what they should be -------------------------------------------------------------------


def test_names_that_a_csv_file_cannot_distinguish_can_be_continued(tmp_path):
    """Half of a surrogate pair, and the text that it is written as."""
    path = tmp_path / "log.csv"
    train(Bus(CSVLogger(path)), [{"\udc80": 1.0, "\\udc80": 2.0}])
    train(Bus(CSVLogger(path, append=True)), [{"loss": 1.0}])
    assert len(read_csv(path)) == 3


@pytest.mark.parametrize("length", [-1, RuntimeError("not known yet"), OverflowError("too long")])
def test_data_whose_length_is_unknown_can_be_trained_on(length):
    """It is asked for a plan alone."""

    class Data(list):
        def __len__(self):
            if isinstance(length, Exception):
                raise length
            return length

        def __iter__(self):
            return iter([1.0, 2.0])

    with Loop(history := History()) as loop:
        for _ in loop.epochs(1):
            for value in loop.batches(Data()):
                loop.log(loss=value)
    assert history["loss"].tolist() == [1.5]


def test_a_stop_whose_reason_is_not_a_string_is_recorded(tmp_path):
    """Such as the exception that is the reason."""

    class Stopping(Sink):
        def on_epoch_end(self, run, epoch, logs):
            run.stop(ValueError("because"))

    train(bus := Bus(Stopping(), Journal(tmp_path)), [{"loss": 1.0}])
    assert bus.failures == []
    assert [each.reason for each in open_run(tmp_path).decisions] == ["because"]
