"""Logs next to runs in the catalogue: what counts as one, what does not, and what is known of it."""

import contextlib
import csv
import json
import os
import time

import numpy as np
import pytest

from monitor_core import CSVLogger, History, Journal, Loop
from monitor_core.runs import catalogue, compare, find_runs, logs
from monitor_core.runs.cache import Cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Return an empty folder."""
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def train(*sinks):
    """Train for three epochs, the second of which is the best."""
    with Loop(*sinks) as loop:
        for epoch in loop.epochs(3):
            loop.log(val_loss=[3.0, 1.0, 2.0][epoch])


def found(folder):
    """Return the kind of each run and log by its path in the folder."""
    return {run.path.relative_to(folder).as_posix(): run.kind for run in find_runs(folder)}


def test_logs_are_found_with_their_values_and_the_time_of_the_file(folder):
    """Their status is unknown."""
    history = History()
    train(history, CSVLogger(folder / "log.csv"))
    history.to_json(folder / "history.json")
    (folder / "keras.json").write_text(json.dumps({"val_loss": [3.0, 1.0, 2.0]}))
    (folder / "keras.tsv").write_text("epoch\tval_loss\n0\t3\n1\t1\n2\t2\n")
    os.utime(folder / "keras.tsv", (1.5e9, 1.5e9))
    runs = find_runs(folder)
    assert {run.path.name: run.kind for run in runs} == {
        "keras.tsv": "CSV log", "log.csv": "CSV log", "history.json": "history", "keras.json": "history"
    }  # fmt: skip
    for run in runs:
        summary = run.summary
        assert (summary.status, summary.epochs, summary.last, run.problem) == ("unknown", 3, {"val_loss": 2.0}, None)
        assert (summary.best["val_loss"].value, summary.best["val_loss"].epoch) == (1.0, 1)
    assert (runs[0].path.name, runs[0].time, runs[0].summary.begun) == ("keras.tsv", 1.5e9, 0.0)


@pytest.mark.parametrize(("name", "text"), [("a.csv", "epoch,loss\n0,1\n1,2\n"), ("a.json", '{"loss": [1, 2]}')])
def test_a_log_of_too_many_epochs_is_listed_without_values(folder, monkeypatch, name, text):
    """Each epoch takes time; the list says why there are none."""
    (folder / name).write_text(text)
    monkeypatch.setattr(logs, "MOST_EPOCHS", 1)
    monkeypatch.setattr(catalogue, "MOST_EPOCHS", 1)
    [run] = find_runs(folder)
    assert (run.summary.epochs, run.problem) == (0, "it has more than 1 epochs; as many are read for a list")


def test_a_list_of_epochs_is_found(folder):
    """As a history."""
    (folder / "a.json").write_text('[{"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0}]')
    (folder / "b.json").write_text('[{"name": "epoch", "loss": 2.0}]')
    assert found(folder) == {"a.json": "history"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.csv", "x,y\n1,2\n"),
        ("moments.csv", "epoch,temperature\n1609459200,3.5\n"),
        ("halves.csv", "epoch,loss\n0.5,3.5\n"),
        ("texts.csv", "epoch,name\n1,Jura\n"),
        ("second.csv", "x,epoch\n1,0\n"),
        ("empty.csv", ""),
        ("begun.csv", "epoch,loss\n"),
        ("torn.csv", "epoch,loss\n0"),
        ("twice.csv", "epoch,loss,loss\n0,1,2\n"),
        ("later.csv", "epoch,loss\n0,1\nmany,2\n"),
        ("config.json", '{"layers": [32, 64], "betas": [0.9, 0.99]}'),
        ("nested.json", '{"loss": {"name": "mse"}}'),
        ("uneven.json", '{"loss": [1, 2], "val_loss": [1]}'),
        ("list.json", "[1, 2]"),
        ("half.json", '{"loss": [1, 2'),
        (".hidden.csv", "epoch,loss\n0,1\n"),
        ("log.txt", "epoch,loss\n0,1\n"),
    ],
)
def test_other_files_are_no_logs(folder, name, text):
    """Datasets, configurations, and what is torn or hidden; also when they are looked at again."""
    (folder / name).write_text(text)
    assert found(folder) == {}
    assert found(folder) == {}


def test_what_is_no_plain_file_is_no_log(folder):
    """A folder, a pipe, which must not be waited for, and links."""
    (folder.parent / "log.csv").write_text("epoch,loss\n0,1\n")
    (folder / "d.csv").symlink_to(folder.parent / "log.csv")
    (folder / "a.csv").mkdir()
    os.mkfifo(folder / "b.csv")
    (folder / "c.json").symlink_to(folder / "nowhere")
    assert found(folder) == {}


def test_files_in_a_runs_folder_belong_to_the_run(folder):
    """And those below it; a run below it is one of its own."""
    train(Journal(folder / "a"), CSVLogger(folder / "a" / "log.csv"))
    (folder / "a" / "deep").mkdir()
    train(CSVLogger(folder / "a" / "deep" / "log.csv"))
    train(Journal(folder / "a" / "deep" / "b"))
    assert found(folder) == {"a": "run", "a/deep/b": "run"}
    assert found(folder / "a" / "deep") == {"log.csv": "CSV log", "b": "run"}


def test_event_files_are_one_log_a_folder(folder):
    """With those of training and validation in one; in a run's folder they are of the run."""
    pytest.importorskip("tensorboard")
    from monitor_core import TensorBoard

    for name in ("a", "deep/b", "deep/c"):
        train(TensorBoard(folder / name))
    train(Journal(folder / "run"), TensorBoard(folder / "run" / "board"))
    assert found(folder) == {"run": "run", "a": "event files", "deep/b": "event files", "deep/c": "event files"}
    [first] = find_runs(folder / "a")
    assert (first.summary.epochs, first.summary.best["val_loss"].value) == (3, 1.0)
    assert time.time() - 100 < first.summary.begun <= first.summary.time


def test_a_folder_of_event_files_is_one_log_also_where_others_are_in_it(folder):
    """As `open_run` has it."""
    pytest.importorskip("tensorboard")
    from monitor_core import TensorBoard

    train(TensorBoard(folder / "a"))
    train(CSVLogger(folder / "a" / "log.csv"))
    assert found(folder) == {"a": "event files", "a/log.csv": "CSV log"}
    assert list(compare([folder / "a"]).runs) == ["a"]
    assert len(compare([folder]).runs) == 2


def test_event_files_without_epochs_have_a_best_step(folder):
    """Their epochs are not known."""
    pytest.importorskip("tensorboard")
    from monitor_core.tensorboard.formats.event_file import EventFile

    steps, values = np.array([0, 10, 20, 30]), np.array([3.0, 1.0, np.nan, 2.0])
    with contextlib.closing(EventFile(folder / "a")) as file:
        file.add_columns(steps, steps + 1.7e9, {"loss": values}, {"loss": None})
    [run] = find_runs(folder)
    best = run.summary.best["loss"]
    assert (best.value, best.step, best.epoch, run.summary.last, run.summary.step) == (1.0, 10, -1, {"loss": 2.0}, 30)


def test_a_datasets_folder_is_not_looked_into(folder, monkeypatch):
    """One of very many CSV and JSON files."""
    for number in range(4):
        (folder / f"{number}.csv").write_text("epoch,loss\n0,1\n")
    assert len(found(folder)) == 4
    monkeypatch.setattr(logs, "_MOST_FILES", 3)
    assert found(folder) == {}


def test_a_huge_log_is_listed_unread(folder, monkeypatch):
    """And says so."""
    (folder / "a.csv").write_text("epoch,loss\n0,1\n")
    monkeypatch.setattr("monitor_core.runs.catalogue.LARGEST", 10)
    [run] = find_runs(folder)
    assert (run.problem, run.summary.last) == ("it has 0 MB; 0 are read for a list", {})
    assert run.time > 0


def test_a_log_is_read_again_when_it_has_grown(folder):
    """One that took long to read, later."""
    (folder / "a.csv").write_text("epoch,loss\n0,1\n")
    [run] = find_runs(folder)
    stat = (folder / "a.csv").stat()
    with (folder / "a.csv").open("a", newline="") as file:
        csv.writer(file).writerow([1, 0.5])
    for seconds, loss in ((1000.0, 1.0), (1e-9, 0.5)):
        cache = Cache(None)
        cache.put(run.path, [("a.csv", stat.st_size, stat.st_mtime_ns)], run.summary, seconds=seconds)
        cache.save()
        assert find_runs(folder)[0].summary.last == {"loss": loss}


def test_a_folder_of_logs_alone_is_compared(folder):
    """Next to runs they are left out: they may be of the same trainings."""
    train(CSVLogger(folder / "a.csv"))
    train(CSVLogger(folder / "b.csv"))
    (folder / "config.json").write_text('{"layers": [32, 64]}')
    assert list(compare([folder]).runs) == ["a.csv", "b.csv"]
    train(Journal(folder / "c"))
    assert list(compare([folder]).runs) == ["c"]
