"""``monitor-core compare``: a table of ranks, what differs, curves; JSON."""

import json
import re

import pytest

from cli_support import command, train


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def test_the_best_comes_first(tmp_path):
    """With what differs in the configuration, and curves."""
    train(tmp_path / "a", [3.0, 1.0, 2.0], config={"width": 8, "seed": 1})
    train(tmp_path / "b", [0.5, 4.0], config={"width": 16, "seed": 1})
    done = command("compare", tmp_path / "a", tmp_path / "b")
    lines = [line.split() for line in done.out.splitlines()]
    assert done.code == 0
    assert lines[1] == ["1", "b", "completed", "2", "0.5", "1", "4"]
    assert lines[2] == ["2", "a", "completed", "3", "1", "2", "2", "0.5"]
    assert ["setting", "b", "a"] in lines
    assert ["width", "16", "8"] in lines
    assert "seed" not in done.out
    assert re.search("[\u2801-\u28ff]", done.out)


def test_for_programs(tmp_path):
    """Epochs from 0, gaps as null."""
    train(tmp_path / "a", [3.0, 1.0, 2.0], config={"width": 8})
    train(tmp_path / "b", [0.5, 4.0], config={"width": 16})
    data = json.loads(command("compare", tmp_path, "--json").out)
    assert [(each["rank"], each["run"], each["best"], each["epoch"]) for each in data["ranks"]] == [
        (1, "b", 0.5, 0),
        (2, "a", 1.0, 1),
    ]
    assert data["curves"] == {"epoch": [0, 1, 2], "a": [3, 1, 2], "b": [0.5, 4, None]}
    assert data["differences"] == {"width": {"a": 8, "b": 16}}


def test_names_are_text(tmp_path):
    """Of metrics, settings and folders."""
    hostile = "\x1b[31mloss\x1b[0m [red]"
    train(tmp_path / "a\x1b[31m", [3.0, 1.0], name=hostile, config={hostile: hostile})
    train(tmp_path / "b", [3.0, 1.0], name=hostile)
    done = command("compare", tmp_path, "--metric", hostile, "--mode", "min")
    assert (done.code, "\x1b" in done.out + done.err, "[red]" in done.out) == (0, False, True)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("compare", "none"), 1, "there is no none"),
        (("compare", "empty"), 1, "there is no run at empty: neither a journal nor a log is in it or below it"),
        (("compare", "a", "--metric", "lss"), 1, "no metric 'lss' (did you mean 'loss'?)"),
        (("compare", "a", "--metric", "things"), 1, "does not know whether 'things' improves"),
        (("compare", "a", "--by", "batch"), 2, "Invalid value for '--by'"),
        (("compare",), 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, args, code, message):
    """Without a traceback."""
    (tmp_path / "empty").mkdir()
    train(tmp_path / "a", [1.0], name="things")
    done = command(*args, cwd=tmp_path)
    assert (done.code, "Traceback" in done.err) == (code, False)
    assert message in re.sub(r"[│\s]+", " ", done.err)


def test_names_and_values_of_any_kind_are_json(tmp_path):
    """A run that is called as the axis has a name of its own there; NaN in a configuration is a string."""
    train(tmp_path / "epoch", [3.0, 1.0], config={"rate": float("nan"), "rates": [float("inf"), 1]})
    train(tmp_path / "b", [3.0, 1.0], config={"rate": 1.0})
    data = json.loads(command("compare", tmp_path, "--json").out, parse_constant=pytest.fail)
    assert data["curves"] == {"epoch": [0, 1], "b": [3, 1], "runs/epoch": [3, 1]}
    assert data["differences"]["rate"] == {"epoch": "NaN", "b": 1.0}
