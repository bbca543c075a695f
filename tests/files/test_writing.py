"""Writing files: whole or not at all, and going on after a full disk; faults are made for real, in other processes."""

import errno
import gc
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disks import small_disk
from monitor_core import SetupError
from monitor_core.files import writing
from monitor_core.files.replacing import remove_strays, replacing
from monitor_core.files.writing import AppendFile

EXAMPLES = settings(max_examples=5000 if os.environ.get("MONITOR_CORE_LONG") else 100)


def run(script, *args, expect=0):
    """Run a script in a process of its own, within a minute, and return what it wrote to both streams."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def dead_pid():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def at_once(monkeypatch):
    """Let every call try again, however soon the last attempt failed."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 0.0)


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


# --- replacing -------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_by_what_was_written(tmp_path):
    """The target has the new content, and nothing else is left in the folder."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "new")]


def test_a_body_that_raises_leaves_the_old_file(tmp_path):
    """The old file stays and the temporary one goes."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError("half way")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize("name", ["model.weights.h5", "é" * 120 + ".keras"])
def test_the_temporary_name_is_beside_the_target_and_ends_like_it(tmp_path, name):
    """Writers that choose a format by the name choose the right one, for names of any length."""
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("".join(Path(name).suffixes))
    assert (tmp_path / name).read_text() == "new"


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    """Whoever could not read the old file cannot read the new one."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o600)
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_kill_while_a_file_is_replaced_leaves_the_old_one_and_a_stray(tmp_path):
    """The name stands for the old file, whole; the stray is removed at the next start."""
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


# --- strays ----------------------------------------------------------------------------------------------------------


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


# --- opening ---------------------------------------------------------------------------------------------------------


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
    with pytest.raises(SetupError, match="cannot be written: it is no regular file"):
        AppendFile(tmp_path)


def test_a_pipe_in_the_place_of_the_file_fails_on_opening(tmp_path):
    """Opening it would wait for a reader for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SetupError, match="cannot be written: it is no regular file"):
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


# --- appending -------------------------------------------------------------------------------------------------------


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


def test_a_file_that_was_removed_is_made_anew(tmp_path):
    """It begins with the head, even where its folder went too; what was in it is gone."""
    file = AppendFile(tmp_path / "runs" / "a.txt")
    file.head = b"head\n"
    file.append(b"one\n")
    file.path.unlink()
    file.path.parent.rmdir()
    file.append(b"two\n")
    assert file.path.read_bytes() == b"head\ntwo\n"


# --- a full disk -----------------------------------------------------------------------------------------------------


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
    assert "a.txt cannot be written ([Errno 28] No space left on device); training goes on" in warned()[0]


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
    """The newest go; what was kept is written when there is room, and so is what comes after."""
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
    """It is no record of the training."""
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


def test_what_is_lost_in_the_end_is_told(tmp_path, disk, warned):
    """With the last reference to the file goes the last attempt; the count is in the log."""
    file = AppendFile(tmp_path / "a.txt", limit=8)
    disk.room = 0
    file.append(b"one\n", b"two\n", b"three\n")
    del file
    gc.collect()
    assert warned()[1:] == [f"{tmp_path.resolve() / 'a.txt'} lacks 3 values, in 3 records, that could not be written"]


def test_a_stale_handle_is_opened_again(tmp_path):
    """Where somebody closed every descriptor, as daemons do, nothing is lost."""
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


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_forked_process_writes_nothing(tmp_path):
    """Neither by appending, nor by changing, closing or dropping what the parent has open or waiting."""
    run(
        """
        import os, sys
        from monitor_core.files.writing import AppendFile
        file = AppendFile(sys.argv[1])
        file.append(b"parent\\n")
        if not os.fork():
            file.append(b"child\\n")
            file.change(lambda old: [b"child"])
            file.close()
            del file
            sys.exit()
        os.wait()
        file.append(b"parent\\n")
        """,
        tmp_path / "a.txt",
    )
    assert (tmp_path / "a.txt").read_bytes() == b"parent\nparent\n"


@pytest.mark.parametrize(
    ("limit_at_end", "content", "warnings"), [("resource.RLIM_INFINITY", "one\ntwo\n", 1), ("4", "one\n", 2)]
)
def test_the_end_of_the_interpreter_is_the_last_attempt(tmp_path, limit_at_end, content, warnings):
    """Without a close, what waits is written if it can be, and else told as lost; nothing raises."""
    output = run(
        f"""
        import resource, signal, sys
        from monitor_core.files.writing import AppendFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        file = AppendFile(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, resource.RLIM_INFINITY))
        file.append(b"one\\n", b"two\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_at_end}, resource.RLIM_INFINITY))
        """,
        tmp_path / "a.txt",
    )
    assert (tmp_path / "a.txt").read_text() == content
    assert len(output.splitlines()) == warnings
    assert ("lacks 1 values, in 1 records" in output) == (warnings == 2)


def test_a_file_that_outlives_its_modules_is_silent(tmp_path):
    """At the interpreter's exit whatever the destructor needs may be gone: it prints no traceback."""
    script = """
        import sys
        from monitor_core.files import writing
        file = writing.AppendFile(sys.argv[1], exclusive=True)
        file._ownership.free()
        file._ownership = None
        for name in [name for name in vars(writing) if not name.startswith("__")]:
            setattr(writing, name, None)
        del file
    """
    assert run(script, tmp_path / "a.txt") == ""


def test_a_limit_on_open_files_is_waited_out(tmp_path, at_once):
    """Where no file can be opened, records wait."""
    file = AppendFile(tmp_path / "a.txt")
    file.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        file.append(b"one\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    file.append(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"


# --- a file of one process alone -------------------------------------------------------------------------------------

OTHER = """
    import sys
    from monitor_core import SetupError
    from monitor_core.files.writing import AppendFile
    try:
        file = AppendFile(sys.argv[1], append=False, exclusive=True)
        file.append(b"other\\n")
    except SetupError as error:
        print(error)
"""


def test_a_file_that_another_process_has_for_itself_is_refused_as_it_is(tmp_path):
    """The error names the file and the process; the file is not emptied, also where it was replaced meanwhile."""
    file = AppendFile(tmp_path / "a.txt", exclusive=True)
    file.append(b"one\n")
    expected = f"a.txt cannot be written: process {os.getpid()} on "
    assert expected in run(OTHER, file.path)
    file.change(lambda old: [b"new\n"])
    assert expected in run(OTHER, file.path)
    file.append(b"two\n")
    assert file.path.read_bytes() == b"new\ntwo\n"


def test_a_file_is_free_once_it_is_closed(tmp_path):
    """Whoever comes next may empty it; nothing else is left in the folder."""
    file = AppendFile(tmp_path / "a.txt", exclusive=True)
    file.append(b"one\n")
    file.close()
    assert run(OTHER, file.path) == ""
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.txt", b"other\n")]


def test_a_file_that_could_not_be_opened_is_nobodys(tmp_path):
    """An error at opening leaves nothing behind."""
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(SetupError, match="no regular file"):
        AppendFile(tmp_path / "a.txt", exclusive=True)
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_records_wait_while_another_process_has_taken_the_file(tmp_path, at_once, warned):
    """Taken between two runs, it is written to again when the other process is done; the warning names that one."""
    file = AppendFile(tmp_path / "a.txt", exclusive=True)
    file.append(b"one\n")
    file.close()
    taker = OTHER.replace("except", "    print(flush=True); sys.stdin.read()\n    except")
    command = [sys.executable, "-c", textwrap.dedent(taker), str(file.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        file.append(b"two\n")
        assert (file.path.read_bytes(), file.waiting) == (b"other\n", 1)
        other.communicate(timeout=60)
    file.append(b"three\n")
    assert file.path.read_bytes() == b"other\ntwo\nthree\n"
    assert [f"(process {other.pid} on " in message for message in warned()] == [True]
