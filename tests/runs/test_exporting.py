"""Recorded runs as files of other kinds: the same values, bit by bit, and what cannot be written."""

import math

import numpy as np
import pytest

from monitor_core import Journal, Loop, open_run
from monitor_core.errors import SetupError
from monitor_core.runs import export

VALUES = [0.1 + 0.2, math.nan, math.inf, -0.0, 5e-324, 1e308]


@pytest.fixture
def run(tmp_path):
    """Return a record with awkward values, evaluations within epochs, and a metric that comes late."""
    with Loop(Journal(tmp_path / "run")) as loop:
        for epoch in loop.epochs(3):
            for batch in loop.batches(range(4)):
                late = {"late": float(batch)} if epoch and batch % 2 else {}
                loop.log({"a,b": VALUES[(epoch + batch) % 6], **late})
                if batch == 1:
                    with loop.evaluation(name="test"):
                        loop.log(loss=VALUES[epoch])
            loop.log(val_loss=VALUES[epoch + 3])
    return open_run(tmp_path / "run")


def bits(values):
    """Return values by their bits, all NaN the same."""
    array = np.array(values, np.float64)
    return np.where(np.isnan(array), np.uint64(0), array.view(np.uint64)).tolist()


def contents(rows, *, skips=()):
    return {name: bits(rows[name]) for name in sorted(rows) if name not in skips}, rows.steps.tolist(), list(rows.names)


def epochs(recorded):
    history = recorded.history
    return {name: bits(history[name]) for name in sorted(history)}, history.epoch, history.steps.tolist()


def batches(recorded):
    rows = recorded.batches
    return {name: bits(rows[name]) for name in sorted(rows)}, rows.steps.tolist(), rows.epochs.tolist()


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_that_is_opened_again_has_the_same_results(tmp_path, run, kind):
    """Epochs and evaluations within them."""
    export(run, tmp_path / f"a.{kind}", to=kind)
    again = open_run(tmp_path / f"a.{kind}")
    assert epochs(again) == epochs(run)
    assert contents(again.evaluations) == contents(run.evaluations)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_that_is_opened_again_has_the_same_batches(tmp_path, run, kind):
    """Each at its step."""
    export(run, tmp_path / f"a.{kind}", to=kind, batches=True)
    assert batches(open_run(tmp_path / f"a.{kind}")) == batches(run)


def test_event_files_have_the_values_in_32_bits(tmp_path, run):
    """Epochs and batches."""
    pytest.importorskip("tensorboard")
    export(run, tmp_path / "board", to="tensorboard", batches=True)
    again = open_run(tmp_path / "board")
    for live, read in ((run.history, again.history), (run.batches, again.batches)):
        for name in ("a,b", "late"):
            found = read[name]
            with np.errstate(over="ignore"):  # 1e308 is infinite in 32 bits
                values = live[name].astype(np.float32)
            assert np.array_equal(found[: len(values)], values, equal_nan=True), name


def test_parquet_has_results_with_their_places(tmp_path, run):
    """A missing value is null, and NaN a value."""
    parquet = pytest.importorskip("pyarrow.parquet")
    export(run, tmp_path / "a.parquet", to="parquet")
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["epoch"], row["step"], row["evaluation"]) for row in rows] == [
        (0, 2, "test"), (0, 4, None), (1, 6, "test"), (1, 8, None), (2, 10, "test"), (2, 12, None),
    ]  # fmt: skip
    ends = [row for row in rows if row["evaluation"] is None]
    assert bits([row["val_loss"] for row in ends]) == bits(run.history["val_loss"])
    assert bits([row["time"] for row in ends]) == bits(run.history.times)
    assert (ends[0]["late"], rows[0]["val_loss"], bits([rows[2]["test_loss"]])) == (None, None, bits([math.nan]))


def test_parquet_has_batches_in_groups(tmp_path, run, monkeypatch):
    """Memory does not grow with them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("monitor_core.runs.exporting._GROUP", 5)
    export(run, tmp_path / "a.parquet", to="parquet", batches=True)
    file = parquet.ParquetFile(tmp_path / "a.parquet")
    table = file.read().to_pydict()
    assert file.num_row_groups > 1
    assert table["step"] == list(range(1, 13))
    assert bits(table["a,b"]) == bits(run.batches["a,b"])
    assert [value is None for value in table["late"]] == [math.isnan(value) for value in run.batches["late"]]


def test_several_runs_are_written_together(tmp_path):
    """Parquet numbers them; CSV counts on."""
    parquet = pytest.importorskip("pyarrow.parquet")
    for _ in range(2):
        with Loop(Journal(tmp_path / "run")) as loop:
            for _ in loop.epochs(2):
                loop.log({"loss": 1.0, "epoch": 7.0})
    recorded = open_run(tmp_path / "run")
    export(recorded, tmp_path / "a.parquet", to="parquet")
    export(recorded, tmp_path / "a.csv", to="csv")
    table = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert (table["run"], table["epoch"], table["logs/epoch"]) == ([0, 0, 1, 1], [0, 1, 0, 1], [7.0] * 4)
    assert [line.split(",")[0] for line in (tmp_path / "a.csv").read_text().split()] == ["epoch", "0", "1", "2", "3"]


def test_what_cannot_be_written(tmp_path, run):
    """The errors say why; nothing is overwritten, and nothing is left."""
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"there.csv is there already: move it away, or write elsewhere"):
        export(run, tmp_path / "there.csv", to="csv")
    assert (tmp_path / "there.csv").read_text() == "mine"
    with pytest.raises(ValueError, match=r"to must be 'csv', 'json', 'parquet' or 'tensorboard' \(got 'xls'\)"):
        export(run, tmp_path / "a", to="xls")
    with Loop(Journal(tmp_path / "epochs", per_batch=False)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    with pytest.raises(ValueError, match="batches must be on record to be written"):
        export(open_run(tmp_path / "epochs"), tmp_path / "a", to="csv", batches=True)
    (tmp_path / "empty.csv").write_text("epoch,loss\n")
    with pytest.raises(SetupError, match="holds no run to replay"):
        export(open_run(tmp_path / "empty.csv"), tmp_path / "a.csv", to="csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.csv", "epochs", "run", "there.csv"]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, run, monkeypatch):
    """The extra."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "monitor_core\[parquet\]"'):
        export(run, tmp_path / "a.parquet", to="parquet")
