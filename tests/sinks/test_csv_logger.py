"""The CSV file: against Keras's own, over several runs, after kills, and on a full disk."""

import csv
import math
import os
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, Loop, SetupError, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.csv_logger import CSVLogger
from recorders import train

EXAMPLES = settings(max_examples=5000 if os.environ.get("MONITOR_CORE_LONG") else 100)


def record(sink, *epochs, first=0, end=True, bus=None):
    """Drive a sink through a run of these epochs' logs and return the bus."""
    bus = bus or Bus(sink)
    bus.train_begin()
    for epoch, logs in enumerate(epochs, start=first):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, logs)
    if end:
        bus.train_end()
    return bus


def rows(path, separator=","):
    """Return the file's header and rows as lists of fields."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=separator))


def run(script, *args, expect=0):
    """Run a script in a process of its own, within a minute, and return what it wrote to both streams."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for many examples, whose files need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield tmp_path_factory.mktemp("examples")


# --- against Keras, without a model ----------------------------------------------------------------------------------

VALUES = st.floats() | st.sampled_from([0.1, -0.0, 1e16, 1e-5, 5e-324, 1.7976931348623157e308, math.nan, math.inf])
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["loss", "acc", "Loss", "train/loss", "a,b", "a;b", 'say "x"', "two\nlines", "cr\r", " lead", "", "é", "=1+1", "#"]
)
SEPARATORS = st.sampled_from([",", ";", "\t", "|", " ", ".", "e", "→", "0"])


@st.composite
def logs_of_epochs(draw, *, validation):
    """Draw the logs of some epochs, all with the same names, in any order."""
    names = draw(st.lists(NAMES.filter(lambda name: name != "epoch"), min_size=1, max_size=4, unique=True))
    names = [name for name in names if not name.startswith("val_")] or ["loss"]
    if validation:
        names += [f"val_{name}" for name in names]
    return [{name: draw(VALUES) for name in draw(st.permutations(names))} for _ in range(draw(st.integers(1, 4)))]


def keras_bytes(path, epochs, separator):
    """Return what Keras's logger writes for these epochs."""
    callback = keras.callbacks.CSVLogger(str(path), separator=separator)
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_end(epoch, logs)
    callback.on_train_end()
    return path.read_bytes()


def without_invented(path, columns, separator):
    """Return a Keras file's bytes without the columns behind the first ones."""
    kept = [row[:columns] for row in rows(path, separator)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows(kept)
    return path.read_bytes()


@EXAMPLES
@given(logs_of_epochs(validation=True), SEPARATORS)
def test_epochs_of_the_same_keys_give_the_same_file_as_keras(folder, epochs, separator):
    """Byte for byte, whatever the names, the numbers and the separator."""
    record(CSVLogger(folder / "ours.csv", separator=separator), *epochs)
    assert (folder / "ours.csv").read_bytes() == keras_bytes(folder / "keras.csv", epochs, separator)


@EXAMPLES
@given(logs_of_epochs(validation=False), SEPARATORS)
def test_without_validation_it_is_the_file_of_keras_without_the_columns_that_keras_invents(folder, epochs, separator):
    """The columns named ``val_`` that never have a value are left out; all else is the same."""
    record(CSVLogger(folder / "ours.csv", separator=separator), *epochs)
    keras_bytes(folder / "keras.csv", epochs, separator)
    expected = without_invented(folder / "keras.csv", 1 + len(epochs[0]), separator)
    assert (folder / "ours.csv").read_bytes() == expected


def test_epochs_without_metrics_give_the_file_of_keras(tmp_path):
    """The epoch column alone."""
    record(CSVLogger(tmp_path / "ours.csv"), {}, {})
    assert (tmp_path / "ours.csv").read_bytes() == keras_bytes(tmp_path / "keras.csv", [{}, {}], ",")


# --- against Keras, in real fits -------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy", "mae"])
    return model, model.get_weights()


@pytest.fixture
def model(compiled):
    return fresh(compiled)


def fresh(compiled):
    """Return the compiled model as it was new."""
    model, start = compiled
    keras.utils.set_random_seed(7)
    model.set_weights(start)
    model.optimizer.learning_rate = 0.1
    return model


def fit(model, callbacks, epochs=3, *, validation=True, **options):
    """Fit without shuffling, which draws from other generators on each back end."""
    if validation:
        options["validation_data"] = (X[32:], Y[32:])
    model.fit(X[:32], Y[:32], epochs=epochs, batch_size=8, verbose=0, shuffle=False, callbacks=callbacks, **options)


class Halving(Sink):
    """Halve the learning rate after each epoch."""

    sets_learning_rate = True
    needs = ("learning_rates",)

    def on_epoch_end(self, run, epoch, logs):
        """Set the rate of the next epoch."""
        run.learning_rate /= 2


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_fit_gives_the_file_of_keras(tmp_path, model, validation, separator, whole):
    """Handed over whole and in a list, with validation and, but for the invented columns, without."""
    ours = CSVLogger(tmp_path / "ours.csv", separator=separator)
    theirs = keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"), separator=separator)
    callbacks = KerasAdapter(ours, theirs, model=model) if whole else [theirs, KerasAdapter(ours)]
    fit(model, callbacks, validation=validation)
    expected = (tmp_path / "keras.csv").read_bytes()
    if not validation:
        expected = without_invented(tmp_path / "keras.csv", 4, separator)
    assert (tmp_path / "ours.csv").read_bytes() == expected


def test_a_fit_with_a_learning_rate_gives_the_file_of_keras(tmp_path, compiled):
    """The column stands where Keras's scheduler puts it, with the same float32 rates."""
    theirs = keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"))
    fit(fresh(compiled), [keras.callbacks.LearningRateScheduler(lambda epoch, _: 0.1 / 2**epoch), theirs])
    model = fresh(compiled)
    fit(model, KerasAdapter(CSVLogger(tmp_path / "ours.csv"), Halving(), model=model))
    assert rows(tmp_path / "ours.csv")[0] == [
        "epoch", "accuracy", "learning_rate", "loss", "mae", "val_accuracy", "val_loss", "val_mae"
    ]  # fmt: skip
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_a_loop_of_fits_gives_the_file_of_one_long_fit(tmp_path, compiled):
    """One epoch a fit, in one run; Keras's file of the long fit is the measure."""
    fit(fresh(compiled), [keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"))])
    model = fresh(compiled)
    with Loop(CSVLogger(tmp_path / "ours.csv"), model=KerasModel(model)) as loop:
        for _ in loop.epochs(3):
            fit(model, KerasAdapter(loop), epochs=1)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_repeated_fits_without_a_loop_give_the_file_of_one_long_fit(tmp_path, compiled):
    """Each is a run of its own, and the numbers go on."""
    fit(fresh(compiled), [keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"))])
    model = fresh(compiled)
    adapter = KerasAdapter(CSVLogger(tmp_path / "ours.csv"), model=model)
    for _ in range(3):
        fit(model, adapter, epochs=1)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_a_fit_writes_a_row_for_each_batch(tmp_path, model):
    """Numbered by epoch and by step over the run."""
    fit(model, KerasAdapter(CSVLogger(tmp_path / "a.csv", per_batch=True), model=model), epochs=2)
    header, *lines = rows(tmp_path / "a.csv")
    assert header == ["epoch", "step", "accuracy", "loss", "mae"]
    assert [line[:2] for line in lines] == [[str(step // 4), str(step + 1)] for step in range(8)]


# --- columns ---------------------------------------------------------------------------------------------------------


def test_a_late_metric_gets_a_column_and_a_missing_one_is_empty(tmp_path):
    """No value is lost or shifted; NaN differs from missing."""
    record(CSVLogger(tmp_path / "a.csv"), {"b": 1.0}, {"b": 2.0, "c": math.nan, "a": 3.0}, {"c": 4.0})
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,b,a,c\r\n0,1.0,,\r\n1,2.0,3.0,nan\r\n2,,,4.0\r\n"


@EXAMPLES
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=6), SEPARATORS)
def test_whatever_metrics_come_and_go_every_value_is_under_its_name(folder, epochs, separator):
    """Reading the file gives the logs back, exactly."""
    path = folder / "ours.csv"
    record(CSVLogger(path, separator=separator), *epochs)
    (first, *names), *lines = rows(path, separator)
    read = [
        {name: float(field).hex() for name, field in zip(names, fields, strict=True) if field} for _, *fields in lines
    ]
    assert [first, *(line[0] for line in lines)] == ["epoch", *map(str, range(len(epochs)))]
    assert read == [{name: value.hex() for name, value in logs.items()} for logs in epochs]


def test_a_metric_named_epoch_does_not_take_the_place_of_the_number(tmp_path):
    """It gets a column of its own; in Keras it overwrites the number."""
    record(CSVLogger(tmp_path / "a.csv"), {"epoch": 0.5, "loss": 1.0})
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,epoch,loss\r\n0,0.5,1.0\r\n"


def test_batches_have_rows_of_their_own(tmp_path):
    """The columns are the epoch, the step and the metrics; a metric missing in a batch is empty."""
    train(Bus(CSVLogger(tmp_path / "a.csv", per_batch=True)), [{"b": 1.0}, {"b": 2.0, "a": 0.5}], [{"a": 3.0}])
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,step,a,b\r\n0,1,,1.0\r\n0,2,0.5,2.0\r\n1,3,3.0,\r\n"


def test_a_late_metric_of_batches_widens_the_rows_of_blocks_before(tmp_path):
    """As it does for epochs."""
    train(Bus(CSVLogger(tmp_path / "a.csv", per_batch=True)), [{"b": 1.0}], [{"a": 3.0}])
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,step,b,a\r\n0,1,1.0,\r\n1,2,,3.0\r\n"


def test_a_row_is_on_disk_when_its_epoch_has_ended(tmp_path):
    """Without waiting for the train's end."""
    bus = record(CSVLogger(tmp_path / "a.csv"), {"loss": 1.0}, end=False)
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\r\n0,1.0\r\n"
    bus.train_end()


# --- several runs ----------------------------------------------------------------------------------------------------


def test_the_first_run_replaces_the_file_and_later_ones_go_on(tmp_path):
    """Numbers go on too where a run begins with epoch 0 again."""
    (tmp_path / "a.csv").write_text("something else")
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 1.0}, {"a": 2.0})
    record(sink, {"a": 3.0}, bus=bus)
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,1.0\r\n1,2.0\r\n2,3.0\r\n"


def test_a_run_that_begins_later_keeps_its_numbers(tmp_path):
    """As with ``initial_epoch``, even where the file has such rows already."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 1.0}, {"a": 2.0})
    record(sink, {"a": 3.0}, first=5, bus=bus)
    record(sink, {"a": 4.0}, first=1, bus=bus)
    assert [row[0] for row in rows(tmp_path / "a.csv")] == ["epoch", "0", "1", "5", "1"]


def test_an_epoch_left_unrecorded_leaves_a_gap(tmp_path):
    """The numbers are those of the run, from its first epoch, recorded or not."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 1.0})
    with Loop(sink) as loop:
        for _ in loop.epochs(1):
            break
        for _ in loop.epochs(2):
            loop.log(a=2.0)
    assert [row[0] for row in rows(tmp_path / "a.csv")] == ["epoch", "0", "2"]
    assert bus.failures == []


def test_steps_go_on_over_runs(tmp_path):
    """As epochs do."""
    sink = CSVLogger(tmp_path / "a.csv", per_batch=True)
    bus = Bus(sink)
    for _ in range(2):
        train(bus, [{"a": 1.0}, {"a": 2.0}])
    assert [row[:2] for row in rows(tmp_path / "a.csv")[1:]] == [["0", "1"], ["0", "2"], ["1", "3"], ["1", "4"]]


def test_after_a_reset_the_file_is_replaced(tmp_path):
    """As in the first run."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 1.0})
    sink.reset()
    record(sink, {"b": 3.0}, bus=bus)
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,b\r\n0,3.0\r\n"


# --- appending -------------------------------------------------------------------------------------------------------


def appended(path, content, *epochs, **options):
    """Return a file's content after a run was appended to it."""
    path.write_bytes(content)
    record(CSVLogger(path, append=True, **options), *epochs)
    return path.read_bytes()


@pytest.mark.parametrize("content", [None, b""])
def test_appending_to_nothing_begins_a_file(tmp_path, content):
    """A file that is not there, or is empty, gets its header."""
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    record(CSVLogger(tmp_path / "a.csv", append=True), {"a": 1.0})
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,1.0\r\n"


def test_appending_goes_on_with_the_numbers_columns_and_separator_of_the_file(tmp_path):
    """Values stand under their names, in the file's order; what is new gets a column."""
    content = b"epoch;b;a\r\n0;1.0;2.0\r\n1;3.0;4.0\r\n"
    assert appended(tmp_path / "a.csv", content, {"a": 5.0, "c": 6.0}) == (
        b"epoch;b;a;c\r\n0;1.0;2.0;\r\n1;3.0;4.0;\r\n2;;5.0;6.0\r\n"
    )


@EXAMPLES
@given(logs_of_epochs(validation=True), st.integers(0, 4), SEPARATORS)
def test_a_run_cut_in_two_gives_the_file_of_the_whole(folder, epochs, cut, separator):
    """By a restart with ``append``, for any names and separators."""
    record(CSVLogger(folder / "whole.csv", separator=separator), *epochs)
    (folder / "cut.csv").unlink(missing_ok=True)
    for part in (epochs[:cut], epochs[cut:]):
        record(CSVLogger(folder / "cut.csv", separator=separator, append=True), *part)
    assert (folder / "cut.csv").read_bytes() == (folder / "whole.csv").read_bytes()


@pytest.mark.parametrize("rest", [b"2", b"2,3", b"2,3.0,4.0", b"2,3.0,4.0\r", b'2,"', b'2,"3\n'])
def test_an_unfinished_last_line_is_dropped_with_a_warning(tmp_path, warned, rest):
    """Even where all fields are there: the last may lack digits. The next row has its number."""
    whole = b"epoch,a,b\r\n0,1.0,1.0\r\n1,2.0,2.0\r\n"
    assert appended(tmp_path / "a.csv", whole + rest, {"a": 5.0, "b": 6.0}) == whole + b"2,5.0,6.0\r\n"
    assert warned() == [f"{(tmp_path / 'a.csv').resolve()} ended with an unfinished line, which is dropped: {rest!r}"]


def test_an_unfinished_header_is_dropped(tmp_path):
    """The file begins anew."""
    assert appended(tmp_path / "a.csv", b'epoch,"a\n', {"a": 5.0}) == b"epoch,a\r\n0,5.0\r\n"


def test_a_file_with_plain_line_ends_and_blank_lines_is_read(tmp_path):
    """As editors leave them; rows are widened with the line ends that they have."""
    content = b"epoch,a\n0,1.0\n\n1,2.0\n"
    assert appended(tmp_path / "a.csv", content, {"a": 3.0, "b": 4.0}) == (
        b"epoch,a,b\r\n0,1.0,\n1,2.0,\n2,3.0,4.0\r\n"
    )


def test_a_file_of_keras_is_gone_on_with(tmp_path):
    """Its invented columns stay, and stay empty."""
    content = keras_bytes(tmp_path / "a.csv", [{"loss": 0.5}], ",")
    assert appended(tmp_path / "a.csv", content, {"loss": 0.25}) == (b"epoch,loss,val_loss\r\n0,0.5,NA\r\n1,0.25,\r\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"notes", r"its first line must name the columns, each once, from epoch on \(got b'notes'\)"),
        (b"notes\nof mine\n", r"its first line must name the columns, each once, from epoch on"),
        (b"epoch,a,a\r\n", r"its first line must name the columns, each once"),
        (b"epoch,a\r\n0,1.0,2.0\r\n", r"row 1 has 3 fields under 2 columns .*: mend the file, or move it away"),
        (b"epoch,a\r\n0\r\n", r"row 1 has 1 fields under 2 columns"),
        (b"epoch,a\r\nx,1.0\r\n", r"its last row must begin with epoch \(got b'x,1.0"),
    ],
)
def test_a_file_that_cannot_be_appended_to_fails_at_train_begin_and_is_left_alone(tmp_path, content, reason):
    """The error names the path and the reason."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SetupError, match=r"a\.csv cannot be appended to: " + reason):
        Bus(CSVLogger(tmp_path / "a.csv", append=True)).train_begin()
    assert (tmp_path / "a.csv").read_bytes() == content


def test_rows_of_batches_do_not_go_into_a_file_of_epochs(tmp_path):
    """Their numbers would stand under a metric."""
    (tmp_path / "a.csv").write_bytes(b"epoch,a\r\n0,1.0\r\n")
    with pytest.raises(SetupError, match="its first line must name the columns, each once, from epoch and step on"):
        Bus(CSVLogger(tmp_path / "a.csv", append=True, per_batch=True)).train_begin()


# --- going back, and state -------------------------------------------------------------------------------------------


def test_a_rewind_drops_the_rows_of_this_run_from_that_epoch_on(tmp_path):
    """Rows of runs before stay, whatever their numbers; numbering goes on from the epoch that is next."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 0.0}, {"a": 1.0})
    record(sink, {"a": 2.0}, {"a": 3.0}, {"a": 4.0}, end=False, bus=bus)
    bus.rewind(1, 0)
    bus.epoch_begin(1)
    bus.epoch_end(1, {"a": 5.0})
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,0.0\r\n1,1.0\r\n2,2.0\r\n3,5.0\r\n"


def test_a_rewind_leaves_a_run_before_of_the_same_numbers_alone(tmp_path):
    """Only what this run wrote is dropped, and the state counts what is left."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 0.0}, {"a": 1.0}, {"a": 2.0})
    record(sink, {"a": 3.0}, {"a": 4.0}, first=1, end=False, bus=bus)
    bus.rewind(2, 0)
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,0.0\r\n1,1.0\r\n2,2.0\r\n1,3.0\r\n"
    assert sink.state_dict() == {"rows": 4, "first_row": 3, "shift": [0, 0]}


def test_a_rewind_of_batches_goes_back_to_a_step(tmp_path):
    """Rows after it go."""
    bus = Bus(CSVLogger(tmp_path / "a.csv", per_batch=True))
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        for _ in range(2):
            bus.batch_end(bus.run.step + 1, {"a": 0.5})
        bus.epoch_end(epoch, {})
    bus.rewind(1, 2)
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,step,a\r\n0,1,0.5\r\n0,2,0.5\r\n"


def test_a_rewind_to_before_the_first_epoch_of_a_run_keeps_the_runs_before(tmp_path):
    """There is nothing of this run to drop."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 0.0})
    bus.train_begin()
    bus.rewind(0, 0)
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,0.0\r\n"


@EXAMPLES
@given(st.lists(st.floats(), min_size=1, max_size=5), st.data(), st.booleans(), st.integers(0, 2))
def test_a_run_continued_from_its_state_gives_the_file_of_the_whole(folder, values, data, per_batch, before):
    """Wherever the state was saved and the run was cut after it, and with a run in the file before; not replaced."""
    saved = data.draw(st.integers(0, len(values)))
    lost = data.draw(st.integers(saved, len(values)))

    def epochs(bus, first, last):
        for epoch in range(first, last):
            bus.epoch_begin(epoch)
            for _ in range(2):
                bus.batch_end(bus.run.step + 1, {"a": values[epoch]})
            bus.epoch_end(epoch, {"a": values[epoch]})

    def begun(name):
        bus = Bus(CSVLogger(folder / name, per_batch=per_batch))
        bus.train_begin()
        epochs(bus, 0, min(before, len(values)))
        bus.train_begin()
        return bus

    epochs(begun("whole.csv"), 0, len(values))
    bus = begun("cut.csv")
    epochs(bus, 0, saved)
    state = bus.state_dict()
    epochs(bus, saved, lost)
    bus = Bus(CSVLogger(folder / "cut.csv", per_batch=per_batch))
    bus.load_state_dict(state)
    bus.train_begin()
    epochs(bus, saved, len(values))
    assert (folder / "cut.csv").read_bytes() == (folder / "whole.csv").read_bytes()


def test_the_state_is_of_json_values(tmp_path):
    """How many rows there are, not the rows."""
    sink = CSVLogger(tmp_path / "a.csv")
    assert sink.state_dict() == {}
    record(sink, {"a": 0.0}, {"a": 0.0})
    assert sink.state_dict() == {"rows": 2, "first_row": 0, "shift": [0, 0]}


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["", ",,", '"', "\n", "\r", "\0", 1])
def test_a_separator_that_no_file_can_have_is_refused(separator):
    """At construction."""
    with pytest.raises(ValueError, match="separator must be one character, and no quote or line end"):
        CSVLogger("a.csv", separator=separator)


def test_a_place_that_cannot_be_written_fails_at_train_begin(tmp_path):
    """With the path and the reason."""
    with pytest.raises(SetupError, match=r"cannot be written: it is no regular file"):
        Bus(CSVLogger(tmp_path)).train_begin()


# --- faults, for real ------------------------------------------------------------------------------------------------


def test_a_killed_process_leaves_every_ended_epoch(tmp_path):
    """SIGKILL in the middle of an epoch; the metric that came late is there too."""
    run(
        """
        import os, signal, sys
        from monitor_core import Loop
        from monitor_core.sinks.csv_logger import CSVLogger
        with Loop(CSVLogger(sys.argv[1])) as loop:
            for epoch in loop.epochs(10):
                for batch in loop.batches(range(4)):
                    loop.log(loss=0.5 * epoch)
                    if epoch == 3 and batch == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
                if epoch == 2:
                    loop.log(late=1.0)
        """,
        tmp_path / "a.csv",
        expect=-signal.SIGKILL,
    )
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss,late\r\n0,0.0,\r\n1,0.5,\r\n2,1.0,1.0\r\n"


def test_a_process_that_ends_without_a_train_end_leaves_every_row(tmp_path):
    """And it ends in silence."""
    output = run(
        """
        import sys
        from monitor_core import Bus
        from monitor_core.sinks.csv_logger import CSVLogger
        bus = Bus(CSVLogger(sys.argv[1]))
        bus.train_begin()
        bus.epoch_begin(0)
        bus.epoch_end(0, {"loss": 0.5})
        """,
        tmp_path / "a.csv",
    )
    assert ((tmp_path / "a.csv").read_bytes(), output) == (b"epoch,loss\r\n0,0.5\r\n", "")


def test_a_forked_process_writes_nothing(tmp_path):
    """Even if it goes on with the training and ends it."""
    run(
        """
        import os, sys
        from monitor_core import Bus
        from monitor_core.sinks.csv_logger import CSVLogger
        bus = Bus(CSVLogger(sys.argv[1]))
        bus.train_begin()
        child = not os.fork()
        if not child:
            os.wait()
        bus.epoch_begin(0)
        bus.epoch_end(0, {"child" if child else "parent": 0.5})
        bus.train_end()
        """,
        tmp_path / "a.csv",
    )
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,parent\r\n0,0.5\r\n"


@pytest.mark.parametrize("per_batch", [False, True])
def test_a_full_disk_ends_no_training_and_nothing_is_lost_in_the_end(tmp_path, per_batch):
    """A limit on the file's size, lifted in the middle; a metric comes, and a rewind goes back, while it is full."""
    script = """
        import resource, signal, sys
        from monitor_core import Bus
        from monitor_core.files import writing
        from monitor_core.sinks.csv_logger import CSVLogger
        writing.FIRST_DELAY = 0.0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sink = CSVLogger(sys.argv[1], per_batch=bool(int(sys.argv[2])))
        bus = Bus(sink)
        bus.train_begin()
        def epochs(first, last, **late):
            for epoch in range(first, last):
                bus.epoch_begin(epoch)
                bus.batch_begin(epoch + 1)
                bus.batch_end(epoch + 1, {"loss": epoch / 3, **late})
                bus.epoch_end(epoch, {"loss": epoch / 3, **late})
        epochs(0, 20)
        limit = int(sys.argv[3])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        epochs(20, 40)
        epochs(40, 60, late=1.0)
        bus.rewind(50, 50)
        epochs(50, 55, late=2.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        epochs(55, 60)
        bus.train_end()
        if bus.failures or sink.dropped:
            sys.exit(f"{bus.failures} {sink.dropped}")
        """
    output = run(script, tmp_path / "full.csv", int(per_batch), 500)
    assert run(script, tmp_path / "free.csv", int(per_batch), 1 << 30) == ""
    assert (tmp_path / "full.csv").read_bytes() == (tmp_path / "free.csv").read_bytes()
    assert len(rows(tmp_path / "full.csv")) == 61
    assert [line.count("full.csv cannot be written") for line in output.splitlines()] == [1]


def test_a_file_removed_after_a_late_metric_is_made_anew_with_all_columns(tmp_path):
    """The header is that of the rows that follow."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"b": 1.0}, {"a": 2.0}, end=False)
    (tmp_path / "a.csv").unlink()
    bus.epoch_begin(2)
    bus.epoch_end(2, {"a": 3.0, "b": 4.0})
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,b,a\r\n2,4.0,3.0\r\n"


def test_two_loggers_give_epochs_and_batches(tmp_path):
    """Each its own file."""
    epochs, batches = CSVLogger(tmp_path / "epochs.csv"), CSVLogger(tmp_path / "batches.csv", per_batch=True)
    train(Bus(epochs, batches), [{"a": 1.0}, {"a": 2.0}])
    assert (tmp_path / "epochs.csv").read_bytes() == b"epoch,a\r\n0,2.0\r\n"
    assert (tmp_path / "batches.csv").read_bytes() == b"epoch,step,a\r\n0,1,1.0\r\n0,2,2.0\r\n"
