"""Writing: opening, appending, a full disk."""

import errno
import gc
import os
import subprocess
import tempfile
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disks import small_disk
from monitor_core import SetupError
from monitor_core.files import writing
from monitor_core.files.writing import AppendFile
from writing_support import (
    at_once,  # noqa: F401 (fixtures)
    run,
)

EXAMPLES = settings(max_examples=5000 if os.environ.get("MONITOR_CORE_LONG") else 100)


class Disk(FileIO):
    """A file on a disk that has room for only so many bytes of it."""

    room = 1 << 30
    errors: list[OSError] = []  # noqa: RUF012 (shared by all: the disk's)

    def write(self, data):
        """Write what there is room for, or raise what is due."""
        if self.errors:
            raise self.errors.pop(0)
        room = self.room - os.fstat(self.fileno()).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(bytes(data)[:room])


@pytest.fixture
def disk(monkeypatch, at_once):
    """Put every file opened for appending on such a disk."""
    monkeypatch.setattr(writing, "FileIO", Disk)
    monkeypatch.setattr(Disk, "room", 1 << 30)
    monkeypatch.setattr(Disk, "errors", [])
    return Disk


def test_the_folder_is_made(tmp_path):
    """Folders that are missing are made on opening, and so is the file."""
    AppendFile(tmp_path / "a" / "b" / "c.txt").close()
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b""


@pytest.mark.parametrize(("append", "content"), [(True, b"old\nnew\n"), (False, b"new\n")])
def test_a_file_that_is_there_is_gone_on_with_or_emptied(tmp_path, append, content):
    """`append` decides."""
    (tmp_path / "a.txt").write_bytes(b"old\n")
    AppendFile(tmp_path / "a.txt", append=append).append(b"new\n")
    assert (tmp_path / "a.txt").read_bytes() == content


def test_a_folder_that_is_a_file_fails_on_opening(tmp_path):
    """The error names the path and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"file/a\.txt cannot be written: .*(File exists|Not a directory)"):
        AppendFile(tmp_path / "file" / "a.txt")


def test_a_directory_in_the_place_of_the_file_fails_on_opening(tmp_path):
    """The error says what it is not."""
    with pytest.raises(SetupError, match="cannot be written: it is not a regular file"):
        AppendFile(tmp_path)


def test_a_pipe_in_the_place_of_the_file_fails_on_opening(tmp_path):
    """Opening it would block until there is a reader."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SetupError, match="cannot be written: it is not a regular file"):
        AppendFile(tmp_path / "pipe")


def test_a_name_that_no_file_can_have_fails_on_opening():
    """A null character is an error like any other."""
    with pytest.raises(SetupError, match=r"cannot be written: .*null"):
        AppendFile("a\0b")


@pytest.mark.parametrize("name", ["a.txt", "there.txt", "new/a.txt"])
def test_a_read_only_folder_fails_on_opening(tmp_path, name):
    """For a file that is there, one that is not, and a folder that is not; nothing is harmed."""
    with small_disk(tmp_path / "disk", "64k") as folder:
        (folder / "there.txt").write_text("old")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(SetupError, match=r"cannot be written: .*(Read-only file system|Permission denied)"):
            AppendFile(folder / name, append=False)
        assert (folder / "there.txt").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_fails_on_opening(tmp_path):
    """A file that could be appended to but never replaced is refused too."""
    (tmp_path / "a.txt").write_text("old")
    tmp_path.chmod(0o500)
    with pytest.raises(SetupError, match="Permission denied"):
        AppendFile(tmp_path / "a.txt")
    tmp_path.chmod(0o700)


def test_a_record_can_be_read_as_soon_as_it_was_appended(tmp_path):
    """Nothing waits in a buffer of this process."""
    file = AppendFile(tmp_path / "a.txt")
    file.append(b"one\n", b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"


def test_an_empty_file_begins_with_the_head(tmp_path):
    """It comes with the first record, once."""
    file = AppendFile(tmp_path / "a.txt")
    file.head = b"head\n"
    file.append(b"one\n")
    file.append(b"two\n")
    assert file.path.read_bytes() == b"head\none\ntwo\n"


def test_closing_twice_does_nothing_more_and_appending_opens_again(tmp_path):
    """A file may be closed after each of many fits."""
    file = AppendFile(tmp_path / "a.txt")
    file.append(b"one\n")
    file.close()
    file.close()
    file.append(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"


def test_a_relative_name_stays_with_the_folder_of_the_start(tmp_path, monkeypatch):
    """Changing the working directory in mid-run splits no file."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    file = AppendFile("a.txt")
    file.append(b"one\n")
    file.close()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file.append(b"two\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\n"


def test_a_change_makes_a_new_file_of_the_old_one(tmp_path):
    """What comes later is appended to the new one; a symbolic link stays one."""
    (tmp_path / "real.txt").write_bytes(b"one\n")
    (tmp_path / "link.txt").symlink_to("real.txt")
    file = AppendFile(tmp_path / "link.txt")
    file.change(lambda old: (line.upper() for line in old))
    file.append(b"two\n")
    assert (tmp_path / "real.txt").read_bytes() == b"ONE\ntwo\n"
    assert (tmp_path / "link.txt").is_symlink()


def test_a_file_that_was_removed_is_created_again(tmp_path):
    """It begins with the head, even where its folder went too; what was in it is gone."""
    file = AppendFile(tmp_path / "runs" / "a.txt")
    file.head = b"head\n"
    file.append(b"one\n")
    file.path.unlink()
    file.path.parent.rmdir()
    file.append(b"two\n")
    assert file.path.read_bytes() == b"head\ntwo\n"


def test_a_record_that_fits_only_in_part_is_taken_back_and_written_later(tmp_path, disk, warned):
    """At every moment the file holds whole records; there is one warning, with the path and the reason."""
    file = AppendFile(tmp_path / "a.txt")
    file.append(b"one\n")
    disk.room = 6
    file.append(b"two\n")
    file.append(b"three\n")
    assert (file.path.read_bytes(), file.waiting) == (b"one\n", 2)
    disk.room = 100
    file.append(b"four\n")
    assert (file.path.read_bytes(), file.waiting, file.dropped) == (b"one\ntwo\nthree\nfour\n", 0, 0)
    assert len(warned()) == 1
    assert "a.txt cannot be written ([Errno 28] No space left on device); training continues" in warned()[0]


@EXAMPLES
@given(
    st.lists(st.tuples(st.integers(0, 120), st.lists(st.binary(min_size=1, max_size=9), max_size=4)), max_size=20),
    st.booleans(),
)
def test_whatever_room_there_is_records_are_whole_and_in_order(calls, with_head):
    """After each call the file holds the first of all records, whole; with room for all, it holds all."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(writing, "FIRST_DELAY", 0.0)
        patch.setattr(writing, "FileIO", Disk)
        file = AppendFile(Path(folder, "a"))
        file.head = b"head" if with_head else b""
        given_so_far = [b"head"] * with_head
        for room, records in calls:
            patch.setattr(Disk, "room", room)
            file.append(*records)
            given_so_far += records
            wholes = {b"".join(given_so_far[:count]) for count in range(len(given_so_far) + 1)}
            assert file.path.read_bytes() in wholes
        patch.setattr(Disk, "room", 1 << 20)
        file.append(b"last")
        assert file.path.read_bytes() == b"".join([*given_so_far, b"last"])


def test_nothing_is_tried_again_before_its_time(tmp_path, disk, monkeypatch):
    """After a failure the next calls only queue, so that a slow failure is not paid for at each of them."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 3600.0)
    file = AppendFile(tmp_path / "a.txt")
    disk.errors = [OSError(errno.EIO, "once")]
    file.append(b"one\n")
    file.append(b"two\n")
    assert (file.path.read_bytes(), file.waiting) == (b"", 2)


def test_closing_tries_at_once_and_keeps_what_still_waits(tmp_path, disk, monkeypatch):
    """In a loop of fits the rows of one come with the next, when there is room again."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 3600.0)
    file = AppendFile(tmp_path / "a.txt")
    disk.errors = [OSError(errno.EIO, "first"), OSError(errno.EIO, "at closing")]
    file.append(b"one\n")
    file.close()
    assert (file.path.read_bytes(), file.waiting) == (b"", 1)
    file.close()
    assert (file.path.read_bytes(), file.waiting) == (b"one\n", 0)


def test_too_many_waiting_records_are_dropped_and_counted(tmp_path, disk):
    """The newest are dropped; the kept and the later records are written when there is room."""
    file = AppendFile(tmp_path / "a.txt", limit=8)
    disk.room = 0
    for record in (b"one\n", b"two\n", b"three\n"):
        file.append(record)
    assert (file.waiting, file.dropped) == (2, 1)
    disk.room = 100
    file.append(b"four\n")
    assert file.path.read_bytes() == b"one\ntwo\nfour\n"


def test_what_is_dropped_is_counted_in_values_as_well_as_in_records(tmp_path, disk, warned):
    """A record may hold many values; the last warning says both numbers, of what still waits too."""
    file = AppendFile(tmp_path / "a.txt", limit=8)
    disk.room = 0
    file.append(b"one\n", b"two\n", b"three\n", values=[1, 20, 300])
    file.append(b"four\n", values=[4000])
    assert (file.dropped, file.dropped_records) == (4300, 2)
    del file
    gc.collect()
    expected = f"{tmp_path.resolve() / 'a.txt'} lacks 4321 values, in 4 records, that could not be written"
    assert warned()[1:] == [expected]


def test_the_head_of_a_file_that_was_never_written_is_not_counted(tmp_path, disk, warned):
    """The head is not a record of the training."""
    disk.room = 0
    file = AppendFile(tmp_path / "a.txt")
    file.head = b"head\n"
    file.append(b"", b"one\n", values=[0, 2])
    del file
    gc.collect()
    (lacks,) = warned()[1:]
    assert lacks.endswith("a.txt lacks 2 values, in 1 records, that could not be written")


def test_a_record_beyond_the_limit_is_written_where_there_is_room(tmp_path):
    """The limit is for what waits."""
    file = AppendFile(tmp_path / "a.txt", limit=2)
    file.append(b"one\n")
    assert (file.path.read_bytes(), file.dropped) == (b"one\n", 0)


def test_records_and_changes_keep_their_order_while_they_wait(tmp_path, disk):
    """A change applies to the records before it alone, however long it has waited."""
    file = AppendFile(tmp_path / "a.txt")
    disk.room = 0
    file.append(b"one\n")
    file.change(lambda old: (line.upper() for line in old))
    file.append(b"two\n")
    disk.room = 100
    file.append(b"three\n")
    assert file.path.read_bytes() == b"ONE\ntwo\nthree\n"


def test_what_is_lost_in_the_end_is_reported(tmp_path, disk, warned):
    """With the last reference to the file goes the last attempt; the count is in the log."""
    file = AppendFile(tmp_path / "a.txt", limit=8)
    disk.room = 0
    file.append(b"one\n", b"two\n", b"three\n")
    del file
    gc.collect()
    assert warned()[1:] == [f"{tmp_path.resolve() / 'a.txt'} lacks 3 values, in 3 records, that could not be written"]


def test_a_stale_handle_is_opened_again(tmp_path):
    """If every descriptor is closed, as daemons do, no record is lost."""
    file = AppendFile(tmp_path / "a.txt")
    file.append(b"one\n")
    os.close(file._file.fileno())
    file.append(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"


def test_a_file_size_limit_is_waited_out(tmp_path):
    """At a real limit on the size of files the lines are whole, and with it lifted all are there."""
    output = run(
        """
        import resource, signal, sys
        from monitor_core.files import writing
        writing.FIRST_DELAY = 0.0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        file = writing.AppendFile(sys.argv[1])
        for number in range(500):
            file.append(b"line %d\\n" % number)
        if not file.path.read_bytes().endswith(b"\\n") or not file.waiting:
            sys.exit("torn, or nothing waits")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.append(b"last\\n")
        """,
        tmp_path / "a.txt",
    )
    assert (tmp_path / "a.txt").read_text() == "".join(f"line {number}\n" for number in range(500)) + "last\n"
    assert len(output.splitlines()) == 1


def test_a_full_disk_is_waited_out(tmp_path, at_once):
    """On a real file system without room, records and changes wait; with room again all are there."""
    with small_disk(tmp_path / "disk", "64k") as folder:
        file = AppendFile(folder / "a.txt")
        file.append(b"x" * 8191 + b"\n")
        (folder / "ballast").write_bytes(b"x" * (48 << 10))
        for _ in range(3):
            file.append(b"y" * 8191 + b"\n")
        file.change(lambda old: (line.replace(b"y", b"z") for line in old))
        assert file.waiting
        (folder / "ballast").unlink()
        file.append(b"end\n")
        lines = file.path.read_bytes().splitlines()
    assert [line[:3] for line in lines] == [b"xxx", b"zzz", b"zzz", b"zzz", b"end"]
    assert {len(line) for line in lines[:-1]} == {8191}


def test_a_change_is_not_begun_where_the_disk_has_no_room_for_it(tmp_path, at_once):
    """Else each attempt would fill what is left of the disk."""
    calls = []
    with small_disk(tmp_path / "disk", "64k") as folder:
        file = AppendFile(folder / "a.txt")
        file.append(b"x" * (40 << 10))
        file.change(calls.append)
        del file
    assert calls == []
