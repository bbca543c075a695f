"""Reading a training's CSV log: what each writer of one writes, separators, gaps, strings, and what is not a log."""

import csv
import math

import numpy as np
import pytest

from monitor_core import Bus, CSVLogger, Loop
from monitor_core.files import csv_table
from monitor_core.files.csv_table import read_csv_table
from recorders import train


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return read_csv_table(path)


def rows_of(table):
    """Return the values of each row that has them, by name."""
    return [
        {name: float(values[row]) for name, values in table.columns.items() if table.present[name][row]}
        for row in range(len(table))
    ]


@pytest.mark.parametrize("separator", list(",;\t|: ~"))
def test_what_a_csv_logger_wrote_comes_back(tmp_path, separator):
    """With any separator, names that need quotes, gaps, NaN and infinities; exactly."""
    rows = [{"loss": 0.1 + 0.2, "a,b;c|d": math.inf}, {"loss": math.nan}, {"loss": 1e-300, "late": -2.0}]
    train(Bus(CSVLogger(tmp_path / "a.csv", separator=separator)), *[[logs] for logs in rows])
    table = read_csv_table(tmp_path / "a.csv")
    assert table.epochs.tolist() == [0, 1, 2]
    for found, expected in zip(rows_of(table), rows, strict=True):
        assert found.keys() == expected.keys()
        assert np.array_equal([found[name] for name in expected], list(expected.values()), equal_nan=True)
    assert (table.has_steps, table.has_evaluations, table.left_out) == (False, False, 0)


def test_what_a_csv_logger_wrote_of_batches_comes_back(tmp_path):
    """With their steps."""
    train(Bus(CSVLogger(tmp_path / "a.csv", per_batch=True)), [{"loss": 4.0}, {"loss": 3.0}], [{"loss": 2.0}])
    table = read_csv_table(tmp_path / "a.csv")
    assert (table.epochs.tolist(), table.steps.tolist()) == ([0, 0, 1], [1, 2, 3])
    assert (table.has_steps, table.has_evaluations) == (True, False)
    assert rows_of(table) == [{"loss": 4.0}, {"loss": 3.0}, {"loss": 2.0}]


def test_what_a_csv_logger_wrote_of_evaluations_comes_back(tmp_path):
    """Rows from before the first evaluation have no step."""
    with Loop(CSVLogger(tmp_path / "a.csv")) as loop:
        for epoch in loop.epochs(2):
            for batch in loop.batches(range(4)):
                loop.log(loss=1.0)
                if epoch and batch == 1:
                    with loop.evaluation(name="test"):
                        loop.log(loss=2.0)
    table = read_csv_table(tmp_path / "a.csv")
    assert (table.epochs.tolist(), table.steps.tolist()) == ([0, 1, 1], [0, 6, 8])
    assert table.evaluations == [None, "test", None]
    assert rows_of(table)[1] == {"test_loss": 2.0}


def test_what_keras_wrote_comes_back(tmp_path):
    """Its gaps are ``NA``."""
    keras = pytest.importorskip("keras")
    logger = keras.callbacks.CSVLogger(tmp_path / "a.csv", separator=";")
    logger.set_model(keras.Sequential())
    logger.on_train_begin()
    rows = [{"loss": 0.1 + 0.2, "val_loss": 0.5}, {"loss": float("nan")}]
    for epoch, logs in enumerate(rows):
        logger.on_epoch_end(epoch, logs)
    logger.on_train_end()
    assert "NA" in (tmp_path / "a.csv").read_text()
    table = read_csv_table(tmp_path / "a.csv")
    assert table.epochs.tolist() == [0, 1]
    assert rows_of(table)[0] == rows[0]
    assert (table.present["val_loss"].tolist(), table.present["loss"].tolist()) == ([True, False], [True, True])


def test_columns_of_texts_are_kept_apart(tmp_path):
    """They have no values, and are named."""
    table = written(tmp_path / "a.csv", 'epoch,loss,note\n0,1.0,"a, b"\n1,,\n')
    assert (table.texts, table.dropped) == (["note"], {})
    assert list(table.columns) == ["loss"]
    assert rows_of(table) == [{"loss": 1.0}, {}]


def test_the_epoch_may_stand_anywhere_and_the_file_begin_with_a_mark(tmp_path):
    """As spreadsheets write it."""
    table = written(tmp_path / "a.csv", "\ufeffloss;epoch\r\n1.0;3\r\n2.0;4.0\r\n")
    assert (table.epochs.tolist(), table.columns["loss"].tolist()) == ([3, 4], [1.0, 2.0])


@pytest.mark.parametrize("tail", ["2,0.7,0.0", "2,0.7", "2"])
def test_a_last_line_without_an_end_is_left_out(tmp_path, tail):
    """Its last number may lack digits: 0.0 may be the beginning of 0.0123."""
    table = written(tmp_path / "a.csv", f"epoch,loss,val_loss\n0,1.0,0.9\n1,0.8,0.85\n{tail}")
    assert (len(table), table.left_out, table.is_torn) == (2, 0, True)
    assert table.columns["val_loss"].tolist() == [0.9, 0.85]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n  "])
def test_a_whole_last_line_is_read(tmp_path, end):
    """Whichever line end it has."""
    table = written(tmp_path / "a.csv", f"epoch,loss\n0,1.0{end}")
    assert (len(table), table.is_torn) == (1, False)


def test_columns_are_read_in_parts(tmp_path, monkeypatch):
    """Gaps and texts are counted over all of them, and the first row of a part is one like others."""
    monkeypatch.setattr(csv_table, "_ROWS", 3)
    rows = [f"{epoch},{epoch / 8},{'x' if epoch == 4 else ''},{'' if epoch % 3 else epoch}" for epoch in range(8)]
    table = written(tmp_path / "a.csv", "epoch,loss,odd,late\n" + "".join(f"{row}\n" for row in rows))
    assert table.epochs.tolist() == list(range(8))
    assert table.columns["loss"].tolist() == [epoch / 8 for epoch in range(8)]
    assert table.present["late"].tolist() == [epoch % 3 == 0 for epoch in range(8)]
    assert (table.texts, table.unreadable, table.dropped) == (["odd"], {}, {})


def test_a_column_of_decimal_commas_is_said_to_be_left_out(tmp_path):
    """Whole numbers are not taken for all of its values."""
    table = written(tmp_path / "a.csv", 'epoch,loss,acc\n0,"1,5","0,5"\n1,2,"0,6"\n')
    assert (list(table.columns), table.dropped, table.texts) == ([], {"loss": 1, "acc": 2}, [])


def test_rows_of_batches_are_not_limited(tmp_path):
    """Those of epochs are."""
    text = "\n0,1,1\n0,2,2\n"
    (tmp_path / "a.csv").write_text("epoch,step,loss" + text)
    (tmp_path / "b.csv").write_text("epoch,loss,acc\n0,1,1\n1,2,2\n")
    assert len(read_csv_table(tmp_path / "a.csv", most_epochs=1)) == 2
    assert len(read_csv_table(tmp_path / "b.csv", most_epochs=2)) == 2
    with pytest.raises(csv_table.TooLongError, match=r"b.csv is too long: it has more than 1 rows of epochs"):
        read_csv_table(tmp_path / "b.csv", most_epochs=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must name a column 'epoch' \(it is empty\)"),
        ("a,b\n1,2\n", r"must name a column 'epoch' \(got 'a', 'b'\)"),
        ("a,b,c,d,e,f,g\n", r"\(got 'a', 'b', 'c', 'd', 'e' and 2 more\)"),
        ("epoch,loss,loss\n0,1,2\n", "it names 'loss' twice"),
        ("epoch,loss\none,2\n", "an epoch is not a whole number"),
        ("epoch,loss\n,2\n", "an epoch is not a whole number"),
        ("epoch,loss\ninf,2\n", "an epoch is not a whole number"),
        (f"epoch,loss\n{10**30},2\n", "an epoch is not a whole number"),
        ("epoch,step,loss\n0,x,2\n", "a step is not a whole number"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, text, message):
    """The message says what it lacks."""
    with pytest.raises(ValueError, match=message):
        written(tmp_path / "a.csv", text)


def test_a_field_beyond_the_limit_is_refused(tmp_path):
    """What the reader cannot hold is refused like any other file that is not a log."""
    with pytest.raises(ValueError, match=r"a field has more than 131,072 characters, or a quote"):
        written(tmp_path / "a.csv", f"epoch,loss\n0,{'1' * (csv.field_size_limit() + 1)}\n")


def test_a_torn_field_is_a_gap(tmp_path):
    """The rest of its column is there, and the field is counted; a column of texts is none of numbers."""
    table = written(tmp_path / "a.csv", "epoch,loss,name\n0,0.5,a\n1,0.3x,1\n2,0.2,b\n3,,2\n")
    assert rows_of(table) == [{"loss": 0.5}, {}, {"loss": 0.2}, {}]
    assert (table.unreadable, table.dropped, table.texts) == ({"loss": 1}, {"name": 2}, [])


@pytest.mark.parametrize("row", ["-1,0,2", "0,-3,2"])
def test_numbers_below_0_are_refused(tmp_path, row):
    """Nothing counts from there."""
    with pytest.raises(ValueError, match=r"a.csv is not a training's log: (epoch|step)s must be >= 0 \(got -\d\)"):
        written(tmp_path / "a.csv", f"epoch,step,loss\n{row}\n")
