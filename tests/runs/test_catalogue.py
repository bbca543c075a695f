"""The catalogue: every run below a folder is found, with what its journal says, and only the cache is written."""

import json
import os
import signal
import subprocess
import sys

import pytest

from monitor_core import Journal, Loop, open_run
from monitor_core.journal.summary import SUMMARY_NAME, summary_of
from monitor_core.runs import find_runs
from monitor_core.runs.cache import cache_file


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def train(folder, *losses, **options):
    """Record a run with these losses."""
    with Loop(Journal(folder, **options)) as loop:
        for epoch in loop.epochs(len(losses)):
            loop.log(loss=losses[epoch])


def files(folder):
    """Return the files below a folder, with their content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_are_found_at_any_depth_in_the_order_in_which_they_began(tmp_path):
    """With their summaries; nothing in the folder is written."""
    for name in ("b", "a/deep", "c"):
        train(tmp_path / "runs" / name, 2.0, 1.0)
    before = files(tmp_path / "runs")
    found = find_runs(tmp_path / "runs")
    assert [run.path.relative_to(tmp_path / "runs").as_posix() for run in found] == ["b", "a/deep", "c"]
    assert {(run.summary.status, run.summary.epochs, run.summary.last["loss"]) for run in found} == {
        ("completed", 2, 1.0)
    }
    assert files(tmp_path / "runs") == before
    assert cache_file().exists()


def test_a_run_without_its_summary_is_read_from_the_journal(tmp_path):
    """So is one whose summary is damaged."""
    train(tmp_path / "a", 2.0, 1.0)
    for change in (os.remove, lambda path: path.write_text("{")):
        change(tmp_path / "a" / SUMMARY_NAME)
        [run] = find_runs(tmp_path / "a", cache=tmp_path / "none")
        (tmp_path / "none").unlink()
        assert run.summary.to_json() == summary_of(open_run(tmp_path / "a").last).to_json()


KILLED = """
import os, signal, sys
from monitor_core import Journal, Loop
with Loop(Journal(sys.argv[1])) as loop:
    for epoch in loop.epochs(9):
        loop.log(loss=float(epoch))
        if epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_has_all_that_its_journal_has(tmp_path):
    """Its summary is from its begin: what came after is read."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    for _ in range(2):  # read, then from the cache
        [run] = find_runs(tmp_path)
        assert (run.summary.status, run.summary.epochs, run.summary.last) == ("killed", 3, {"loss": 2.0})


def test_what_is_cached_is_forgotten_when_the_run_continues(tmp_path):
    """By the size and time of its files."""
    train(tmp_path / "a", 1.0)
    find_runs(tmp_path)
    train(tmp_path / "a", 5.0)
    [run] = find_runs(tmp_path)
    assert run.summary.last == {"loss": 5.0}


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"format": 9}', b'{"format": 3, "runs": {"x": 3}}', b"\xff"])
def test_a_damaged_cache_is_as_none(tmp_path, damage):
    """It is replaced."""
    train(tmp_path / "a", 1.0)
    cache = tmp_path / "cache.json"
    cache.write_bytes(damage)
    assert len(find_runs(tmp_path / "a", cache=cache)) == 1
    assert json.loads(cache.read_bytes())["format"] == 3


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    """A folder in its place does not cause a failure."""
    train(tmp_path / "a", 1.0)
    (tmp_path / "cache.json").mkdir()
    assert len(find_runs(tmp_path / "a", cache=tmp_path / "cache.json")) == 1


def test_a_folder_of_damaged_journals_is_listed(tmp_path):
    """Nothing of it raises."""
    (tmp_path / "journal-0000.mcj").write_bytes(b"nothing")
    [run] = find_runs(tmp_path)
    assert (run.summary.status, run.problem) == ("unknown", None)


def test_a_missing_folder_is_an_error(tmp_path):
    """Unlike an empty one."""
    assert find_runs(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        find_runs(tmp_path / "none")
