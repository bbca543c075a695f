"""Who may write a file: one process at a time.

Contract. The owner holds a lock on a small hidden file next to the file, which names the owner. The operating system
frees the lock when the process ends for any reason; forked processes do not hold it, and do not keep it after their
parent. One process may own a file several times, and may copy its folder. Ownership does not restrict reading,
replacing or removing the file. On file systems without locks it has no effect.

Which lock. A `flock` lock belongs to the open file, so a forked worker of a data loader inherits it, and keeps it after
its parent ends. A POSIX lock belongs to the process, but ends when that process closes any descriptor of the file, as
`shutil.copytree` of the folder does. This module therefore uses an open file description lock, which conflicts with
POSIX locks and works on network file systems; each forked child closes it. On systems without such locks (Linux has
them) it uses a POSIX lock, which a copy of the folder ends. The tests are
`test_a_process_forked_off_owns_nothing_and_keeps_nothing` and `test_a_copy_of_the_folder_leaves_the_lock` in
`tests/files/test_ownership.py`.

Why not the `filelock` package: its version 4.3 passes both tests, with `flock` and a close in the child. But it would
be a third dependency of the core, and its locks neither name their owner nor allow several holders in one process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import struct
import sys
import threading
from functools import cache
from pathlib import Path
from zlib import crc32

import attrs

LOCK_PREFIX = ".monitor_core-lock-"
"""How the names of lock files begin."""
_NAMED = re.compile(r"process \d+ on [\w.-]+", re.ASCII)
_ATTEMPTS = 100
_BYTE = 1 << 20  # the locked byte: not part of the owner's name, since Windows prevents reading locked bytes


class OwnedError(OSError):
    """Another process is writing the file."""


class Ownership:
    """The right of this process to write a file, or the files of a template. May be used from any thread.

    It begins with `take`, and ends with `free`, with the object or with the process.

    Args:
        path: The file, absolute and with symbolic links resolved, so that it is the same for each process; its folder
            must exist when `take` is called.
    """

    def __init__(self, path: Path) -> None:
        # Only the end of the name: the longest name that a file system allows has no room for a prefix.
        self._path = path.with_name(f"{LOCK_PREFIX}{crc32(os.fsencode(path.name)):08x}-{path.name[-40:]}")
        self._lock: _Lock | None = None

    def __del__(self) -> None:
        """Free the file for other processes."""
        try:  # noqa: SIM105 (at the interpreter's exit this module's globals, contextlib too, may be None)
            self.free()
        except Exception:
            pass

    def take(self) -> None:
        """Become the owner, unless this already is.

        Raises:
            OwnedError: Another process is the owner; the message names it.
        """
        locks = _locks()
        with locks.guard:
            held = locks.held.get(self._path)
            if held is not None and self._lock is held and held.is_there():
                return
            self.free()
            if held is None or not held.is_there():  # the folder or its content was removed
                held = _locked(self._path)
            if held is not None:
                locks.held[self._path] = self._lock = held
                held.holders += 1

    def free(self) -> None:
        """Free the file for other processes, if this was the owner."""
        locks = _locks()
        with locks.guard:
            lock, self._lock = self._lock, None
            if lock is None or lock.pid != os.getpid():
                return
            lock.holders -= 1
            if not lock.holders:
                if locks.held.get(self._path) is lock:
                    del locks.held[self._path]
                lock.remove(self._path)


@attrs.define(eq=False)
class _Lock:
    """A held lock file: its descriptor, the process, and the number of owners in that process."""

    descriptor: int
    pid: int = attrs.field(factory=os.getpid)
    holders: int = 0

    def is_there(self) -> bool:
        try:
            return os.fstat(self.descriptor).st_nlink > 0
        except OSError:  # a stale handle, as happens on network file systems
            return False

    def remove(self, path: Path) -> None:
        """Remove the file while it is still locked, so that no process locks a file that is about to be removed."""
        with contextlib.suppress(OSError):  # Windows keeps a file that is open; the next owner uses it again
            if self.is_there():
                path.unlink()
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


class _Locks:
    """The locks that this process holds, by the lock file's path; a lock may be freed while another is taken."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.guard = threading.RLock()  # an object may be finalized within any call
        self.held: dict[Path, _Lock] = {}

    def before_fork(self) -> None:
        """Keep other threads from taking a lock during the fork, which the child would hold without knowing it."""
        self.guard.acquire()

    def after_fork_in_parent(self) -> None:
        self.guard.release()

    def after_fork(self) -> None:
        for lock in self.held.values():
            with contextlib.suppress(OSError):
                os.close(lock.descriptor)
        self.begin()


@cache
def _locks() -> _Locks:
    locks = _Locks()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=locks.before_fork, after_in_parent=locks.after_fork_in_parent, after_in_child=locks.after_fork
        )
    return locks


def _locked(path: Path) -> _Lock | None:
    """Create and lock a lock file; return None if that is not possible here."""
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError:  # if no file can be created, opening the file itself raises
            return None
        try:
            status = _lock(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        if status is not None and status.st_nlink == 1 and stat.S_ISREG(status.st_mode):
            _write_name(descriptor)
            return _Lock(descriptor)
        os.close(descriptor)
        if status is None or status.st_nlink:  # no locks here, or not a lock file of ours
            return None
    return None


def _lock(descriptor: int, path: Path) -> os.stat_result | None:
    """Lock an open file; return its status, or None if the file system has no locks.

    Raises:
        OwnedError: Another process has locked it.
    """
    try:
        _lock_byte(descriptor)
        return os.fstat(descriptor)
    except (BlockingIOError, PermissionError):
        raise OwnedError(
            f"{_read_name(descriptor)} is writing it; if it no longer runs, remove {path.name}; if both are ranks of "
            "one job, connect them before the run begins, and only rank 0 writes"
        ) from None
    except OSError:
        return None


if sys.platform == "win32":
    import msvcrt

    def _lock_byte(descriptor: int) -> None:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock_byte(descriptor: int) -> None:
        command = getattr(fcntl, "F_OFD_SETLK", None)
        if command is not None:
            # struct flock: type, whence, start, length, and a process, which must be 0
            request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
            try:
                fcntl.fcntl(descriptor, command, request)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: the file system supports only POSIX locks
                    raise
            else:
                return
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTE)


def _write_name(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(errors="replace"))


def _read_name(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        name = os.read(descriptor, 300).decode(errors="replace")
        if _NAMED.fullmatch(name):
            return name
    return "another process"
