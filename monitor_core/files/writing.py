"""Writing files so that a kill or a full disk at any moment loses no earlier data.

Contract. `replacing` writes a file whole or not at all, and raises any error. `AppendFile` appends records to a file
and, once it is open, raises no such errors: records that cannot be written are kept, up to a limit, and retried later.
Both have one writer: neither threads nor processes may share a file, which ``exclusive`` enforces for processes.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from io import FileIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeGuard

from monitor_core._log import logger
from monitor_core.errors import SetupError
from monitor_core.files.ownership import Ownership
from monitor_core.files.replacing import remove_strays, replacing

PENDING_BYTES = 1 << 20
"""How many bytes of records an `AppendFile` keeps by default while they cannot be written."""
FIRST_DELAY, LONGEST_DELAY = 0.05, 5.0
"""Seconds between two attempts while writing fails: doubled from the first to the longest."""


Change = Callable[[BinaryIO], Iterable[bytes]]
"""Yields a file's new content, in pieces, from the old file, open for reading."""


class _Record(NamedTuple):
    data: bytes
    values: int


class AppendFile:
    """A file to append records to, which continues after a full disk.

    Each record is passed to the operating system immediately, and the file always ends with a complete record: a partly
    written one is removed again. A record that cannot be written waits in memory for the next attempt, without blocking
    the caller; if too many wait, the newest are dropped and counted. One warning is logged. A removed file is created
    again. A forked process writes nothing.

    Args:
        path: The file; a missing folder is created.
        append: Whether to continue an existing file; otherwise it is emptied.
        limit: How many bytes of records may wait.
        exclusive: Whether to lock the file against other processes that lock it too, until `close`. If another process
            has taken it in between, records wait until that process finishes. It is not needed if no other process
            knows the name.
        mode: The permissions of a new file, less those that the process's umask removes.

    Attributes:
        path: The file, absolute and with symbolic links resolved.
        head: The record that an empty file begins with.
        dropped: How many values were dropped.
        dropped_records: How many records they were in.

    Raises:
        SetupError: The folder cannot be created, the folder or the file is not writable, or another process owns it.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        append: bool = True,
        limit: int = PENDING_BYTES,
        exclusive: bool = False,
        mode: int = 0o666,
    ) -> None:
        self.path = Path(path)
        self.head = b""
        self.dropped = self.dropped_records = 0
        self._limit = limit
        self._mode = mode
        self._pid = os.getpid()
        self._file: FileIO | None = None
        self._ownership: Ownership | None = None
        self._pending: deque[_Record | Change] = deque()
        self._pending_bytes = 0
        self._torn = 0
        self._delay = self._due = 0.0
        self._warned = False
        try:
            self.path = Path(os.path.realpath(path))
            self._ownership = Ownership(self.path) if exclusive else None
            _prepare(self.path)
            file = self._opened()
            if not append:
                file.truncate(0)
        except (OSError, ValueError) as error:  # a name with a null character is a ValueError
            self._release()
            self._disown()
            raise SetupError(f"{self.path} cannot be written: {error}") from error

    def __del__(self) -> None:
        """Try once more to write the waiting records, and log how many are lost."""
        try:
            self.close()
            for record in filter(_is_record, self._pending):
                self._drop(record)
            if self.dropped_records and self._is_ours():
                text = "%s lacks %d values, in %d records, that could not be written"
                logger.warning(text, self.path, self.dropped, self.dropped_records)
        except Exception:  # not contextlib: at interpreter exit, any module may be gone already
            pass

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return sum(map(_is_record, self._pending))

    def append(self, *records: bytes, values: Sequence[int] | None = None) -> None:
        """Add records at the end, each whole or not at all.

        Args:
            *records: The records.
            values: How many values each record holds, to count dropped values; None: one each.
        """
        if self._is_ours():
            counts = [1] * len(records) if values is None else values
            self._pending.extend([_Record(*each) for each in zip(records, counts, strict=True)])
            self._pending_bytes += sum(map(len, records))
            self._attempt()
            while self._pending_bytes > self._limit and isinstance(newest := self._pending[-1], _Record):
                self._pending.pop()
                self._pending_bytes -= len(newest.data)
                self._drop(newest)

    def change(self, change: Change) -> None:
        """Rewrite the file, whole or not at all, after the earlier records have been written."""
        if self._is_ours():
            self._pending.append(change)
            self._attempt()

    def close(self) -> None:
        """Sync the written records to disk, and free the file; a later record opens it again."""
        if not self._is_ours():
            return
        if self._pending:
            self._due = 0.0
            self._attempt()
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._warn(error)
            self._release()
        self._disown()

    def _drop(self, record: _Record) -> None:
        if record.data not in (b"", self.head):  # a file created later gets the head anyway
            self.dropped += record.values
            self.dropped_records += 1

    def _is_ours(self) -> bool:
        return os.getpid() == self._pid

    def _attempt(self) -> None:
        """Write the waiting records, unless the last attempt failed too recently."""
        if time.monotonic() < self._due:
            return
        try:
            while self._pending:
                self._write_next(self._opened())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._untear()
            self._delay = min(2 * self._delay or FIRST_DELAY, LONGEST_DELAY)
            self._due = time.monotonic() + self._delay
            self._warn(error)
        else:
            self._delay = self._due = 0.0

    def _opened(self) -> FileIO:
        """Return the file, open and without a partial record at its end."""
        if self._file is not None and not _is_there(self._file):
            self._release()
            self._torn = 0
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._ownership is not None:
                self._ownership.take()
            self._file = FileIO(self.path, "ab", opener=lambda path, flags: os.open(path, flags, self._mode))
        self._untear()
        return self._file

    def _write_next(self, file: FileIO) -> None:
        """Write the records before the next change of the file, or apply that change."""
        first = self._pending[0]
        if not isinstance(first, _Record):
            self._rewrite(first)
            self._pending.popleft()
            return
        if self.head and first.data is not self.head and not os.fstat(file.fileno()).st_size:
            self._pending.appendleft(_Record(self.head, 0))
            self._pending_bytes += len(self.head)
        records = list(itertools.takewhile(_is_record, self._pending))
        data = b"".join([record.data for record in records])  # type: ignore[union-attr]
        written = 0
        try:
            while written < len(data):
                written += file.write(data[written:] if written else data)
        finally:
            if written == len(data) and len(records) == len(self._pending):  # as nearly always; 0.4 us a record less
                self._pending.clear()
                self._pending_bytes = self._torn = 0
            else:
                self._torn = written - self._forget(written)

    def _forget(self, written: int) -> int:
        """Remove the completely written records from the queue; return their size in bytes."""
        whole = 0
        while self._pending and isinstance(record := self._pending[0], _Record) and whole + len(record.data) <= written:
            whole += len(record.data)
            self._pending.popleft()
        self._pending_bytes -= whole
        return whole

    def _untear(self) -> None:
        """Remove a partly written record from the end of the file."""
        if self._torn and self._file is not None:
            self._file.truncate(os.fstat(self._file.fileno()).st_size - self._torn)
            self._torn = 0

    def _rewrite(self, change: Change) -> None:
        self._release()
        # Without this, each attempt on a full disk would use up the space that is left.
        usage = shutil.disk_usage(self.path.parent)
        if usage.total and usage.free < self.path.stat().st_size:  # some network file systems report 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with replacing(self.path) as temporary, self.path.open("rb") as old, temporary.open("wb") as new:
            new.writelines(change(old))

    def _release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _disown(self) -> None:
        if self._ownership is not None:
            self._ownership.free()

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s cannot be written (%s); training continues, and up to %d bytes wait to be written",
                self.path,
                str(error),  # not the error, which would keep its frames alive with the log's record
                self._limit,
            )


def _is_record(pending: _Record | Change) -> TypeGuard[_Record]:
    return isinstance(pending, _Record)


def _prepare(path: Path) -> None:
    """Create the folder; raise an OSError if a file in it could not be written, or not be replaced later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # opening a pipe could block forever
        raise OSError("it is not a regular file")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    remove_strays(path.parent)


def _is_there(file: FileIO) -> bool:
    try:
        return os.fstat(file.fileno()).st_nlink > 0
    except OSError:  # a stale handle, as happens on network file systems
        return False
