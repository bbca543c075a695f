"""Writing files so that a kill or a full disk at any moment loses nothing that was there before.

Contract. `replacing` writes a file whole or not at all, and raises what goes wrong. `AppendFile` adds records to a
file and, once it is open, raises nothing of the kind: what cannot be written is kept, up to a bound, and tried again
later. Both have one writer: threads may not share a file, nor may processes, which ``exclusive`` sees to.
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
"""How many bytes of records an `AppendFile` keeps, unless told otherwise, while they cannot be written."""
FIRST_DELAY, LONGEST_DELAY = 0.05, 5.0
"""Seconds between two attempts to write what could not be written: doubled from the first to the longest."""


Change = Callable[[BinaryIO], Iterable[bytes]]
"""Makes a file's new content, in pieces, from the old file, open for reading."""


class _Record(NamedTuple):
    data: bytes
    values: int


class AppendFile:
    """A file that grows by records, and goes on after a full disk.

    Each record is handed to the operating system at once, and the file ends with a whole record: one that fits only
    in part is taken back. A record that cannot be written waits in memory for the next attempt, without holding up
    the caller; where there are too many, the newest are dropped and counted. There is one warning. A file that was
    removed is made anew. A process forked off writes nothing.

    Args:
        path: The file; its folder is made where missing.
        append: Whether to go on with a file that is there; else it is emptied.
        limit: How many bytes of records may wait.
        exclusive: Whether to keep other processes that ask for the same from writing the file, until `close`. Where
            one has taken it meanwhile, records wait until that is done. It is not needed where no other process knows
            the name.
        mode: The permissions of a file that is made, less those that the process's umask takes.

    Attributes:
        path: The file, absolute and with symbolic links resolved.
        head: The record that an empty file begins with.
        dropped: How many values were dropped.
        dropped_records: How many records they were in.

    Raises:
        SetupError: The folder cannot be made or written, or the file cannot, or it is another process's.
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
        """Try for the last time to write what waits, and tell of what is lost."""
        try:
            self.close()
            for record in filter(_is_record, self._pending):
                self._drop(record)
            if self.dropped_records and self._is_ours():
                text = "%s lacks %d values, in %d records, that could not be written"
                logger.warning(text, self.path, self.dropped, self.dropped_records)
        except Exception:  # not contextlib: at the exit it may be gone already, as any module may
            pass

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return sum(map(_is_record, self._pending))

    def append(self, *records: bytes, values: Sequence[int] | None = None) -> None:
        """Add records at the end, each whole or not at all.

        Args:
            *records: The records.
            values: How many values each of them holds, for the count of what is dropped; None: one each.
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
        """Rewrite the whole file, at once or not at all, after the records before have been written."""
        if self._is_ours():
            self._pending.append(change)
            self._attempt()

    def close(self) -> None:
        """Put on disk what was written, and free the file; what comes later opens it again."""
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
        if record.data not in (b"", self.head):  # which a file made later gets all the same
            self.dropped += record.values
            self.dropped_records += 1

    def _is_ours(self) -> bool:
        return os.getpid() == self._pid

    def _attempt(self) -> None:
        """Write what waits, unless the last attempt failed only just now."""
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
        """Return the file, ready for what comes next."""
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
        """Write the records up to the next change of the file, or make that change."""
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
        """Take the records that are whole within the bytes written off the queue; return their bytes."""
        whole = 0
        while self._pending and isinstance(record := self._pending[0], _Record) and whole + len(record.data) <= written:
            whole += len(record.data)
            self._pending.popleft()
        self._pending_bytes -= whole
        return whole

    def _untear(self) -> None:
        """Take back the part of a record that there was room for."""
        if self._torn and self._file is not None:
            self._file.truncate(os.fstat(self._file.fileno()).st_size - self._torn)
            self._torn = 0

    def _rewrite(self, change: Change) -> None:
        self._release()
        # Without this, each attempt on a full disk would write until nothing is left for anybody.
        usage = shutil.disk_usage(self.path.parent)
        if usage.total and usage.free < self.path.stat().st_size:  # some network file systems tell nothing
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
                "%s cannot be written (%s); training goes on, and up to %d bytes wait until it can",
                self.path,
                str(error),  # not the error, which would keep its frames alive with the log's record
                self._limit,
            )


def _is_record(pending: _Record | Change) -> TypeGuard[_Record]:
    return isinstance(pending, _Record)


def _prepare(path: Path) -> None:
    """Make the folder; raise OSError where a file in it could not be written, or not be replaced later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # to open a pipe could wait for ever
        raise OSError("it is no regular file")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    remove_strays(path.parent)


def _is_there(file: FileIO) -> bool:
    try:
        return os.fstat(file.fileno()).st_nlink > 0
    except OSError:  # a handle gone stale, as happens on network file systems
        return False
