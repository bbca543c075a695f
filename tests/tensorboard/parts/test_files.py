"""The event files of a log folder."""

import os
import threading
from pathlib import Path

import pytest
from boards_reader import scalars, tree

from monitor_core import SetupError
from monitor_core.tensorboard.formats.event_file import write_row
from monitor_core.tensorboard.parts.files import TRAIN, VALIDATION, RunFiles


def test_files_are_made_when_they_are_needed(tmp_path):
    """The train run's file is created at once, the validation run's when it is first written to."""
    files = RunFiles(tmp_path / "a" / "b")
    files.open()
    assert tree(tmp_path) == ["a/b/train"]
    write_row(files[VALIDATION], 3, {"epoch_loss": 0.5})
    assert tree(tmp_path) == ["a/b/train", "a/b/validation"]
    assert scalars(tmp_path / "a/b/validation") == {"epoch_loss": [(3, 0.5)]}


def test_the_folder_is_where_it_was_named(tmp_path, monkeypatch):
    """A process that changes its directory continues with the same log folder."""
    monkeypatch.chdir(tmp_path)
    files = RunFiles(Path("logs"))
    files.open()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    write_row(files[VALIDATION], 0, {"a": 1.0})
    assert tree(tmp_path) == ["logs/train", "logs/validation"]


def test_a_folder_that_cannot_be_made_is_a_setup_error(tmp_path):
    """A file where the log folder, or the validation's, should be is an error before training."""
    (tmp_path / "logs").touch()
    with pytest.raises(SetupError, match="cannot be written"):
        RunFiles(tmp_path / "logs").open()
    (tmp_path / "validation").touch()
    with pytest.raises(SetupError, match="validation cannot be written: it is not a folder"):
        RunFiles(tmp_path).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_setup_error(tmp_path):
    """A log folder without write permission is an error before training."""
    tmp_path.chmod(0o500)
    with pytest.raises(SetupError, match="Permission denied"):
        RunFiles(tmp_path).open()


def test_threads_share_one_file(tmp_path):
    """Two threads that ask for a run at once get the same file."""
    files = RunFiles(tmp_path)
    threads = [threading.Thread(target=lambda: write_row(files[TRAIN], 0, {"a": 1.0})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((tmp_path / "train").iterdir())) == 1
    assert scalars(tmp_path / "train") == {"a": [(0, 1.0)] * 8}


def test_an_earlier_run_in_the_folder_is_warned_about(tmp_path, warned):
    """Writing into a folder with another run's files is warned about; continuing them is not."""
    RunFiles(tmp_path).open()
    assert warned() == []
    going_on = RunFiles(tmp_path)
    going_on.start = None
    going_on.open()
    assert warned() == []
    RunFiles(tmp_path).open()
    assert len(warned()) == 1
    assert "train has event files of an earlier run" in warned()[0]


def test_rewinding_reaches_files_of_earlier_processes(tmp_path):
    """A rewind drops values from all runs' files, of any process, and writing continues."""
    earlier, files = RunFiles(tmp_path), RunFiles(tmp_path)
    files.start = None
    for each, run, step in ((earlier, TRAIN, 1), (files, TRAIN, 2), (earlier, VALIDATION, 3), (files, VALIDATION, 4)):
        write_row(each[run], step, {"a": float(step)})
    files.rewind(lambda step, tag, axis: step in (1, 4))
    write_row(files[TRAIN], 9, {"a": 9.0})
    files.close()
    assert scalars(tmp_path / "train") == {"a": [(1, 1.0), (9, 9.0)]}
    assert scalars(tmp_path / "validation") == {"a": [(4, 4.0)]}
