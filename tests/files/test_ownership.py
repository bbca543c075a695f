"""Who may write a file: one process at a time, until it frees it or is gone."""

import contextlib
import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from monitor_core.files import ownership
from monitor_core.files.ownership import OwnedError, Ownership

TAKE = """
    import os, sys, time
    from pathlib import Path
    from monitor_core.files.ownership import OwnedError, Ownership
    owned = Ownership(Path(sys.argv[1]))
    try:
        owned.take()
        print("taken", flush=True)
    except OwnedError as error:
        print(error, flush=True)
"""
WAIT = "    sys.stdin.read()\n"
RANKS = "if both are ranks of one job, connect them before the run begins, and only rank 0 writes"


def script(code, *args):
    """Return the command of a script."""
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]


def verdict(path):
    """Return the error that another process gets when it takes a file."""
    return subprocess.run(script(TAKE, path), check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@contextlib.contextmanager
def other_owner(path, code=TAKE + WAIT):
    """Let another process own a file, and kill it in the end."""
    command = script(code, path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path):
    """Return a file that need not be there."""
    return tmp_path / "log.csv"


def test_another_process_gets_an_error_that_names_the_owner(path):
    """The message names the process, the host, and what to do where that is wrong."""
    owned = Ownership(path)
    owned.take()
    host = os.uname().nodename
    lock = next(path.parent.iterdir()).name
    assert (
        verdict(path) == f"process {os.getpid()} on {host} is writing it; if it no longer runs, remove {lock}; {RANKS}"
    )


def test_this_process_is_refused_likewise(path):
    """A refused attempt leaves no file."""
    with other_owner(path) as other, pytest.raises(OwnedError, match=rf"process {other.pid} on \S+ is writing it"):
        Ownership(path).take()
    Ownership(path).take()


def test_what_is_freed_can_be_taken_and_leaves_nothing(path):
    """Freeing, and the object's end, remove the lock file; freeing twice does nothing more."""
    owned = Ownership(path)
    owned.take()
    owned.free()
    owned.free()
    assert list(path.parent.iterdir()) == []
    owned.take()
    del owned
    gc.collect()
    assert list(path.parent.iterdir()) == []
    assert verdict(path) == "taken"


def test_a_process_may_own_a_file_many_times_over(path):
    """It is free only when the last of them has freed it."""
    first, second = Ownership(path), Ownership(path)
    first.take()
    first.take()
    second.take()
    first.free()
    assert verdict(path).startswith(f"process {os.getpid()}")
    second.free()
    assert verdict(path) == "taken"


def test_files_in_one_folder_are_owned_separately(tmp_path):
    """Also where long names end alike."""
    names = ["a.csv", "b.csv", "a" * 100 + "c" * 100, "b" * 100 + "c" * 100, "é" * 127]
    owned = [Ownership(tmp_path / name) for name in names]
    owned[0].take()
    owned[2].take()
    assert [verdict(tmp_path / name) == "taken" for name in names] == [False, True, False, True, True]


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_frees_what_was_owned(path, kill):
    """What it has left is used again."""
    with other_owner(path) as owner:
        owner.send_signal(kill)
        owner.wait(60)
        assert len(list(path.parent.iterdir())) == 1
        assert verdict(path) == "taken"
    assert list(path.parent.iterdir()) == []


FORK = (
    TAKE
    + """
    worker = os.fork()
    if not worker:
        owned.free()
        owned, told = Ownership(Path(sys.argv[1])), ""
        try:
            owned.take()
        except OwnedError as error:
            told = str(error)
        os.write(1, b"%s\\n" % str(f"process {os.getppid()} " in told).encode())  # in one piece, as two write here
        time.sleep(60)
    os.write(1, b"%d\\n" % worker)
    sys.stdin.read()
"""
)


def test_a_process_forked_off_owns_nothing_and_keeps_nothing(path):
    """It cannot free what its parent owns, is refused like others, and does not own it once the parent is gone."""
    with other_owner(path, FORK) as owner:
        told = sorted([owner.stdout.readline().strip(), owner.stdout.readline().strip()])
        try:
            assert told[1] == "True"
            assert verdict(path).startswith(f"process {owner.pid} ")
            owner.kill()
            owner.wait(60)
            assert verdict(path) == "taken"
        finally:
            os.kill(int(told[0]), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="only POSIX locks here, which any close ends")
def test_a_copy_of_the_folder_leaves_the_lock(path):
    """The owner may open, read and close the lock file, as a copy of the folder does."""
    owned = Ownership(path)
    owned.take()
    shutil.copytree(path.parent, path.parent / "backup")
    assert verdict(path).startswith(f"process {os.getpid()} ")
    assert verdict(path.parent / "backup" / path.name) == "taken"
    owned.free()
    assert verdict(path) == "taken"


def test_a_file_system_with_posix_locks_alone_has_those(path, monkeypatch):
    """Where locks of open files are refused as an invalid argument, another process is refused nevertheless."""
    monkeypatch.setattr(fcntl, "F_OFD_SETLK", 9999, raising=False)
    owned = Ownership(path)
    owned.take()
    assert verdict(path).startswith(f"process {os.getpid()} ")


FORK_ON_A_THREAD = """
    import os, sys, threading, time
    from pathlib import Path
    from monitor_core.files import ownership
    lock_byte = ownership._lock_byte
    begun, forked = threading.Event(), threading.Event()
    def lock_slowly(descriptor):
        lock_byte(descriptor)
        begun.set()
        time.sleep(0.3)
    ownership._lock_byte = lock_slowly
    owned = ownership.Ownership(Path(sys.argv[1]))
    thread = threading.Thread(target=owned.take)
    thread.start()
    begun.wait()
    worker = os.fork()
    if not worker:
        time.sleep(60)
    thread.join()
    print("taken", flush=True)
    print(worker, flush=True)
    sys.stdin.read()
"""


def test_a_process_forked_while_a_lock_is_taken_keeps_nothing(path):
    """The fork waits until another thread has taken its lock, so that the child closes it."""
    with other_owner(path, FORK_ON_A_THREAD) as owner:
        worker = int(owner.stdout.readline())
        owner.kill()
        owner.wait(60)
        try:
            assert verdict(path) == "taken"
        finally:
            os.kill(worker, signal.SIGKILL)


AT_EXIT = """
    import builtins, sys
    from pathlib import Path
    from monitor_core.files import ownership, writing
    builtins.owned = ownership.Ownership(Path(sys.argv[1]))
    builtins.owned.take()
    builtins.file = writing.AppendFile(sys.argv[1] + ".txt")
    builtins.file.append(b"record")
    for module in (ownership, writing):
        for name in [name for name in vars(module) if not name.startswith("__")]:
            setattr(module, name, None)
    del builtins.owned, builtins.file
"""


def test_the_interpreters_exit_is_silent(path):
    """Where an object outlives what its module had imported, as with packages that hold modules back."""
    done = subprocess.run(script(AT_EXIT, path), capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert path.with_name("log.csv.txt").read_bytes() == b"record"


def test_what_is_owned_in_a_removed_folder_is_taken_again(tmp_path):
    """The first to create the folder again and take the file is its owner."""
    folder = tmp_path / "runs"
    folder.mkdir()
    owned = Ownership(folder / "log.csv")
    owned.take()
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    folder.mkdir()
    with other_owner(folder / "log.csv") as other, pytest.raises(OwnedError, match=f"process {other.pid} "):
        owned.take()
    owned.take()
    assert verdict(folder / "log.csv").startswith(f"process {os.getpid()} ")


@pytest.mark.parametrize("content", [b"", b"process", b"process 1 on a\nb", b"\xff" * 1000, b"<b>process 1 on x</b>"])
def test_a_lock_file_without_an_owner_is_not_an_error(path, content):
    """Whatever the file holds, the message contains none of it."""
    with other_owner(path):
        next(path.parent.iterdir()).write_bytes(content)
        with pytest.raises(OwnedError, match=r"^another process is writing it; if it no longer runs, remove \.monitor"):
            Ownership(path).take()


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_a_link_in_the_lock_files_place_is_not_written_through(path, make):
    """The link's target is unchanged; every process may write then."""
    owned = Ownership(path)
    owned.take()
    lock = next(path.parent.iterdir())
    owned.free()
    target = path.with_name("precious")
    target.write_text("precious")
    getattr(lock, make)(target)
    owned.take()
    owned.free()
    assert target.read_text() == "precious"
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([lock.name, "precious"])


@pytest.mark.parametrize("number", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_without_locks_every_process_may_write(path, monkeypatch, number):
    """A file system that knows no locks ends no training."""
    import errno

    def refuse(descriptor):
        raise OSError(getattr(errno, number), "no locks here")

    monkeypatch.setattr(ownership, "_lock_byte", refuse)
    owned = Ownership(path)
    owned.take()
    owned.free()


def test_a_folder_in_which_no_file_can_be_made_is_left_for_others_to_report(tmp_path):
    """The owner's file cannot be made there either, and that error is the better one."""
    owned = Ownership(tmp_path / "missing" / "log.csv")
    owned.take()
    owned.free()
