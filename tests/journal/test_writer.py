"""Writing a journal: separate files, threads, processes, and files that are removed."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from monitor_core import SetupError
from monitor_core.files import writing
from monitor_core.journal.facts import Begin, Rewind
from monitor_core.journal.files import Kind, journal_files, read_journal
from monitor_core.journal.writer import JournalWriter
from monitor_core.values.blocks import Block

BEGIN = Begin(
    id="a", index=0, continues=None, epoch=-1, step=0, config={}, versions={}, git_commit=None, platform="", argv=[],
    process={}, time=0.0,
)  # fmt: skip


def mark(number):
    """Return a fact with a number."""
    return Rewind(epoch=number, step=number, time=0.0)


def marks(path):
    """Return the numbers of the facts in a file, which must be without damage."""
    found = read_journal(path)
    assert found.damage == []
    return [record.content.epoch for record in found.records if isinstance(record.content, Rewind)]


def test_records_are_read_while_they_are_written(tmp_path):
    """After each call all is there, before anything is closed."""
    writer = JournalWriter(tmp_path / "deep" / "run")
    writer.fact(BEGIN)
    for number in range(3):
        writer.fact(mark(number))
        assert marks(writer.path) == list(range(number + 1))
    writer.epoch(4, 7, 1.5, {"loss": 0.5})
    record = read_journal(writer.path).records[-1]
    assert (record.kind, record.content.epoch, record.content.logs()) == (Kind.EPOCH, 4, {"loss": 0.5})


def test_each_writer_has_a_file_of_its_own(tmp_path):
    """Files are numbered in the order in which they are begun, and nothing that is there is written to."""
    (tmp_path / "journal-0007.mcj").write_text("somebody's")
    (tmp_path / "journal-x.mcj").symlink_to(tmp_path / "nowhere")
    first, second = JournalWriter(tmp_path), JournalWriter(tmp_path)
    assert [path.name for path in journal_files(tmp_path)] == [f"journal-{number:04d}.mcj" for number in (7, 8, 9)]
    assert (first.path.name, second.path.name) == ("journal-0008.mcj", "journal-0009.mcj")
    assert (tmp_path / "journal-0007.mcj").read_text() == "somebody's"


def test_files_are_in_the_order_of_their_numbers(tmp_path):
    """Also where the numbers outgrow their width."""
    (tmp_path / "journal-9999.mcj").touch()
    JournalWriter(tmp_path)
    assert [path.name for path in journal_files(tmp_path)] == ["journal-9999.mcj", "journal-10000.mcj"]


def test_a_name_that_another_process_takes_meanwhile_stays_its_own(tmp_path, monkeypatch):
    """The process that creates the file has it; a link in its place is not followed."""
    monkeypatch.setattr("monitor_core.journal.writer.journal_files", lambda folder: [])  # it was empty a moment ago
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal-0000.mcj").symlink_to(tmp_path / "outside")
    (tmp_path / "run" / "journal-0001.mcj").write_text("somebody's")
    assert JournalWriter(tmp_path / "run").path.name == "journal-0002.mcj"
    assert not (tmp_path / "outside").exists()


def test_processes_that_write_to_one_folder_at_the_same_time_lose_nothing(tmp_path):
    """Four that start at once, each with a file of its own and all of its records."""
    code = """
        import os, sys
        sys.path[:0] = [sys.argv[2]]
        from test_writer import BEGIN, mark
        from monitor_core.journal.writer import JournalWriter
        print("ready", flush=True)
        while not os.path.exists(sys.argv[3]):
            pass
        writer = JournalWriter(sys.argv[1])
        writer.fact(BEGIN)
        for number in range(300):
            writer.fact(mark(number))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "run", Path(__file__).parent, tmp_path / "go"]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == [b"ready\n"] * 4
        (tmp_path / "go").touch()
    assert [process.returncode for process in processes] == [0] * 4
    assert [marks(path) for path in journal_files(tmp_path / "run")] == [list(range(300))] * 4


def test_threads_share_a_writer(tmp_path):
    """Every record is whole, and each thread's are in its order."""
    writer = JournalWriter(tmp_path)
    writer.fact(BEGIN)

    def write(first):
        for number in range(first, first + 200):
            writer.fact(mark(number))

    threads = [threading.Thread(target=write, args=(1000 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = marks(writer.path)
    assert sorted(found) == [1000 * each + number for each in range(4) for number in range(200)]
    assert [number for number in found if number < 1000] == list(range(200))


@pytest.mark.parametrize("folder", ["file", "file/run", "nul\0"])
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, folder):
    """Of one type, which names the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot hold a journal|cannot be written"):
        JournalWriter(f"{tmp_path}/{folder}")


def test_a_file_that_was_removed_is_created_again_with_the_runs_begin(tmp_path):
    """The damage says only that records are missing."""
    writer = JournalWriter(tmp_path / "run")
    writer.fact(BEGIN)
    writer.fact(mark(1))
    writer.path.unlink()
    (tmp_path / "run").rmdir()
    writer.fact(mark(2))
    found = read_journal(writer.path)
    assert [record.content for record in found.records] == [BEGIN, mark(2)]
    assert [each.reason for each in found.damage] == ["1 record is missing before this"]


class FullDisk(FileIO):
    """A file on a disk without room."""

    def write(self, data):
        """Refuse."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_that_begins_on_a_full_disk_is_recorded_once_there_is_room(tmp_path, monkeypatch):
    """The head and the begin come first, once."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 0.0)
    monkeypatch.setattr(writing, "FileIO", FullDisk)
    writer = JournalWriter(tmp_path)
    writer.fact(BEGIN)
    writer.fact(mark(1))
    writer.close()
    assert read_journal(writer.path).records == []
    monkeypatch.setattr(writing, "FileIO", FileIO)
    writer._file._release()
    writer.fact(mark(2))
    assert marks(writer.path) == [1, 2]
    assert read_journal(writer.path).records[0].content == BEGIN


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_only_its_owner_may_read_a_journal(tmp_path):
    """Whatever the umask is; a file that was removed and is made again is as private as the first."""
    umask = os.umask(0)
    try:
        writer = JournalWriter(tmp_path)
        writer.fact(BEGIN)
        first = stat.S_IMODE(writer.path.stat().st_mode)
        writer.path.unlink()
        writer.fact(mark(1))
        again = stat.S_IMODE(writer.path.stat().st_mode)
    finally:
        os.umask(umask)
    assert (first, again) == (0o600, 0o600)


def test_what_a_full_disk_cost_is_counted_and_reported(tmp_path, monkeypatch):
    """By the writer, and by the file, which has a gap where it is."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 0.0)
    monkeypatch.setattr("monitor_core.journal.writer.PENDING_BYTES", 300)
    monkeypatch.setattr(writing, "FileIO", FullDisk)
    writer = JournalWriter(tmp_path)
    for fact in (BEGIN, *map(mark, range(9))):
        writer.fact(fact)
    lost = writer.dropped
    assert lost > 0
    monkeypatch.setattr(writing, "FileIO", FileIO)
    writer._file._release()
    writer.fact(mark(9))
    found = read_journal(writer.path)
    assert [record.content for record in found.records] == [BEGIN, *map(mark, range(9 - lost)), mark(9)]
    assert [each.reason for each in found.damage] == [f"{lost} records are missing before this"]


def test_a_block_that_a_full_disk_cost_counts_with_all_its_values(tmp_path, monkeypatch):
    """So does an epoch's row; a fact counts as one."""
    monkeypatch.setattr("monitor_core.journal.writer.PENDING_BYTES", 0)
    monkeypatch.setattr(writing, "FileIO", FullDisk)
    writer = JournalWriter(tmp_path)
    writer.fact(BEGIN)
    steps, column = np.arange(4), np.zeros(4)
    mask = np.array([True, False, False, False])
    writer.block(Block(0, steps, steps * 1.0, {"a": column, "b": column}, {"a": None, "b": mask}))
    writer.epoch(0, 4, 1.0, {"a": 1.0, "b": 2.0, "c": 3.0})
    assert writer.dropped == 1 + (4 + 1) + 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_was_forked_off_writes_nothing_and_does_not_hang(tmp_path):
    """Also where another thread held the writer's lock when it was forked off."""
    code = """
        import os, sys
        sys.path[:0] = [sys.argv[2]]
        from test_writer import BEGIN, mark
        from monitor_core.journal.writer import JournalWriter
        writer = JournalWriter(sys.argv[1])
        writer.fact(BEGIN)
        with writer._lock:
            child = os.fork()
            if not child:
                writer.fact(mark(1))
                writer.close()
                os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        writer.fact(mark(2))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "run", Path(__file__).parent]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == b"7\n"
    (path,) = journal_files(tmp_path / "run")
    assert marks(path) == [2]
