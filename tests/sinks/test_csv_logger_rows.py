"""Csv logger: columns, several runs, appending."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csv_logger_support import (
    EXAMPLES,
    NAMES,
    SEPARATORS,
    VALUES,
    folder,  # noqa: F401 (fixtures)
    keras_bytes,
    logs_of_epochs,
    record,
    rows,
)
from monitor_core import Bus, Loop, SetupError
from monitor_core.sinks.csv_logger import CSVLogger
from recorders import train


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
    """It gets a column of its own, also in a later run; in Keras it overwrites the number."""
    record(CSVLogger(tmp_path / "a.csv"), {"epoch": 0.5, "loss": 1.0})
    record(CSVLogger(tmp_path / "a.csv", append=True), {"epoch": 1.5, "loss": 1.0, "step": 2.0})
    assert rows(tmp_path / "a.csv") == [
        ["epoch", "epoch_", "loss", "step_"],
        ["0", "0.5", "1.0", ""],
        ["1", "1.5", "1.0", "2.0"],
    ]


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


def test_the_first_run_replaces_the_file_and_later_ones_continue_it(tmp_path):
    """Numbers continue if a run begins with epoch 0 again."""
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


def test_steps_continue_over_runs(tmp_path):
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
    """Values are under their names, in the file's order; what is new gets a column."""
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
    """The file begins from scratch."""
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
        (b"notes", r"its first line must name each column once, from epoch on \(got b'notes'\)"),
        (b"notes\nof mine\n", r"its first line must name each column once, from epoch on"),
        (b"epoch,a,a\r\n", r"its first line must name each column once"),
        (b"epoch,a\r\n0,1.0,2.0\r\n", r"row 1 has 3 fields under 2 columns .*: repair the file, or move it away"),
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
    """Their numbers would be under a metric."""
    (tmp_path / "a.csv").write_bytes(b"epoch,a\r\n0,1.0\r\n")
    with pytest.raises(SetupError, match="its first line must name each column once, from epoch and step on"):
        Bus(CSVLogger(tmp_path / "a.csv", append=True, per_batch=True)).train_begin()
