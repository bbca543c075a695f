"""Writing: replacing, strays."""

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from monitor_core.files.replacing import remove_strays, replacing
from monitor_core.files.writing import AppendFile
from writing_support import run


def dead_pid():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_is_replaced_by_what_was_written(tmp_path):
    """The target has the new content, and nothing else is left in the folder."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "new")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes by name are those of POSIX")
def test_a_pipe_is_written_to_and_stays(tmp_path):
    """As /dev/stdout may be one: what reads it would never see a file in its place."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        with replacing(pipe) as path:
            path.write_text("new")
    assert read.result() == "new"
    assert [(each.name, each.is_fifo()) for each in tmp_path.iterdir()] == [("pipe", True)]


def test_a_body_that_raises_leaves_the_old_file(tmp_path):
    """The old file stays and the temporary one goes."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError("half way")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize("name", ["model.weights.h5", "é" * 120 + ".keras"])
def test_the_temporary_file_is_in_the_folder_of_the_target_and_ends_like_it(tmp_path, name):
    """Writers that choose a format by the name choose the right one, for names of any length."""
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("".join(Path(name).suffixes))
    assert (tmp_path / name).read_text() == "new"


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    """A user who could not read the old file cannot read the new one."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o600)
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_kill_while_a_file_is_replaced_leaves_the_old_one_and_a_stray(tmp_path):
    """The name refers to the complete old file; the stray is removed at the next start."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    run(
        """
        import os, signal, sys
        from monitor_core.files.replacing import replacing
        with replacing(sys.argv[1]) as temporary:
            temporary.write_text("ne")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        target,
        expect=-signal.SIGKILL,
    )
    assert target.read_text() == "old"
    assert len(remove_strays(tmp_path)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_only_strays_of_processes_that_are_gone_are_removed(tmp_path):
    """Files of living processes and files of other names stay."""
    stray = tmp_path / f".monitor_core-{dead_pid()}-0-a.txt"
    kept = [tmp_path / name for name in (f".monitor_core-{os.getppid()}-0-a", ".monitor_core-x-0-a", "a.txt")]
    for path in (stray, *kept):
        path.write_text("")
    assert remove_strays(tmp_path) == [stray]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_stray_of_a_process_with_our_own_number_is_removed(tmp_path):
    """In a container every start may have the same number; what is under way in this process stays."""
    stray = tmp_path / f".monitor_core-{os.getpid()}-999999-a.txt"
    stray.write_text("")
    with replacing(tmp_path / "b.txt") as temporary:
        temporary.write_text("b")
        assert remove_strays(tmp_path) == [stray]
    assert (tmp_path / "b.txt").read_text() == "b"


def test_opening_removes_strays(tmp_path):
    """A file that is opened for appending cleans up after a process before it."""
    stray = tmp_path / f".monitor_core-{dead_pid()}-0-a.txt"
    stray.write_text("")
    AppendFile(tmp_path / "a.txt").close()
    assert not stray.exists()
