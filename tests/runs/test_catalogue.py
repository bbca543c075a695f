"""The catalogue: every run below a folder is found, with what its journal says, and only the cache is written."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor_core import Journal, Loop, open_run
from monitor_core.cli.opening import UnreadableError, open_path
from monitor_core.journal.files import FILE_HEAD
from monitor_core.journal.summary import SUMMARY_NAME, summary_of
from monitor_core.runs import compare, find_runs
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


@pytest.mark.parametrize("line", ["", "[]", "monitor_core runs 3", "\xff", None])
def test_a_damaged_cache_is_as_none(tmp_path, line):
    """Or one of another release: without its first line, or with another one. It is replaced."""
    train(tmp_path / "a", 1.0)
    cache = tmp_path / "cache"
    find_runs(tmp_path / "a", cache=cache)
    whole = cache.read_bytes()
    others = whole.split(b"\n")[1:]
    cache.write_bytes(b"\n".join(others if line is None else [line.encode("latin-1"), *others]))
    assert len(find_runs(tmp_path / "a", cache=cache)) == 1
    assert cache.read_bytes() == whole


def test_a_line_of_the_cache_that_is_damaged_is_read_again(tmp_path):
    """With any byte changed; the other runs are from the cache."""
    for name in "ab":
        train(tmp_path / "runs" / name, 2.0, 1.0)
    cache = tmp_path / "cache"
    before = [run.summary for run in find_runs(tmp_path / "runs", cache=cache)]
    whole = cache.read_bytes()
    for place in range(whole.index(b"\n") + 1, len(whole), 7):
        cache.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert [run.summary for run in find_runs(tmp_path / "runs", cache=cache)] == before, place


NAN = float("nan")


@pytest.mark.parametrize("losses", [[], [NAN], [float("inf"), 1.0], [2.0, 3.0]])
def test_a_cached_summary_is_the_one_that_was_read(tmp_path, losses):
    """Whatever its values, and whatever is in its configuration."""
    train(tmp_path / "a", *losses, config={"layers": [32, {"rate": 0.1}], "text": "\t\n\udcff", "nan": NAN})
    first, second = (find_runs(tmp_path, cache=tmp_path / "cache")[0] for _ in range(2))
    assert second.summary.to_json() == first.summary.to_json()
    assert (tmp_path / "cache").read_bytes().count(b"\n") == 1


def test_a_folder_is_known_by_its_path_from_anywhere(tmp_path, monkeypatch):
    """Relative or not; its name within the folder is the same, and that of the folder itself its own."""
    train(tmp_path / "runs" / "deep" / "a", 1.0)
    cache = tmp_path / "cache"
    names = []
    for where, folder in ((tmp_path, "runs"), (tmp_path / "runs", "."), ("/", tmp_path / "runs"), (tmp_path, "runs/")):
        monkeypatch.chdir(where)
        [run] = find_runs(folder, cache=cache)
        names.append(run.name_in(Path(folder)))
    assert names == ["deep/a"] * 4
    assert cache.read_bytes().count(b"\n") == 1
    monkeypatch.chdir(tmp_path / "runs" / "deep" / "a")
    assert find_runs(".", cache=cache)[0].name_in(Path()) == "a"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    """A folder in its place does not cause a failure."""
    train(tmp_path / "a", 1.0)
    (tmp_path / "cache").mkdir()
    assert len(find_runs(tmp_path / "a", cache=tmp_path / "cache")) == 1


def test_a_folder_of_damaged_journals_is_listed(tmp_path):
    """Nothing of it raises."""
    (tmp_path / "journal-0000.mcj").write_bytes(b"nothing")
    [run] = find_runs(tmp_path)
    assert (run.summary.status, run.problem) == ("unknown", "the file's head is damaged, or it is not a journal")


def test_a_missing_folder_is_an_error(tmp_path):
    """Unlike an empty one."""
    assert find_runs(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        find_runs(tmp_path / "none")


@contextlib.contextmanager
def without_rights():
    """Read as a user for whom permissions count; root may read everything."""
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


def test_what_may_not_be_read_is_said(tmp_path, monkeypatch):
    """Folders, and files that may be logs; the other runs are there. A path by itself is refused in a sentence."""
    (tmp_path / "runs" / "secret").mkdir(parents=True)
    for name in ("a.csv", "b.csv"):
        (tmp_path / "runs" / name).write_text("epoch,loss\n0,1\n")
    train(tmp_path / "runs" / "c", 1.0)
    assert len(find_runs(tmp_path / "runs")) == 3  # with all modules, as Python's own files may be root's alone
    for path in ("b.csv", "secret", "c/journal-0000.mcj"):
        (tmp_path / "runs" / path).chmod(0)
    (tmp_path / "runs" / "c" / "summary.json").unlink()
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with without_rights():
        found = find_runs("runs", cache=Path("none.json"))
        with pytest.raises(UnreadableError, match=r"^you may not open .*b\.csv: Permission denied$"):
            open_path(Path("runs/b.csv"))
        with pytest.raises(PermissionError):
            compare(["runs/secret"])
    assert {path.as_posix(): reason for path, reason in found.unread.items()} == {
        "runs/b.csv": "permission denied", "runs/secret": "permission denied"
    }  # fmt: skip
    assert [(run.path.name, run.problem) for run in found] == [("c", "permission denied"), ("a.csv", None)]
    assert "runs/secret cannot be read: permission denied" in found._repr_html_()


def test_a_damaged_run_is_listed_with_the_reason(tmp_path):
    """As `show` and the page say it; one whose first record is being written is not damaged."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "journal-0000.mcj").write_bytes(b"garbage " * 20)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal-0000.mcj").write_bytes(FILE_HEAD)
    found = find_runs(tmp_path, cache=tmp_path / "cache")
    problems = {run.path.name: run.problem for run in found}
    assert problems == {"a": "the file's head is damaged, or it is not a journal", "b": None}


def test_a_folder_that_holds_nothing_is_refused(tmp_path):
    """Not as a run without a journal."""
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match="neither a journal nor a log is in it or below it"):
        compare([tmp_path])
