"""Writing a journal: a file of one's own in a folder, to which records are appended.

Contract. Each record is handed to the operating system at once. Once the writer is made it raises nothing that has to
do with the file, see `AppendFile`. Threads may share a writer. A process that was forked off writes nothing. Processes
that write to one folder, on one machine or on several, each have a file of their own: to take its name is to create it,
which every file system does for one process only, so that nothing needs a lock and nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from monitor_core.errors import SetupError
from monitor_core.files.writing import AppendFile
from monitor_core.journal.facts import Begin, Fact, encode_fact
from monitor_core.journal.files import FILE_HEAD, Kind, file_name, file_number, frame, journal_files
from monitor_core.journal.rows import encode_rows
from monitor_core.values.blocks import Block, count_values

PENDING_BYTES = 8 << 20
"""How many bytes of records wait while they cannot be written: an hour's of 100 scalars a second and more."""
PRIVATE = 0o600
"""Permissions of a file, which holds the command line and the configuration: its owner's alone."""


class JournalWriter:
    """Appends records to a new file in a folder, which only its owner may read.

    Args:
        folder: The folder; made where missing.

    Attributes:
        path: The file, absolute.

    Raises:
        SetupError: The folder or a file in it cannot be written.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._run = -1
        self._number = 0
        try:
            path = _claimed(Path(folder))
        except (OSError, ValueError) as error:  # a name with a null character is a ValueError
            raise SetupError(f"{folder} cannot hold a journal: {error}") from error
        try:
            self._file = AppendFile(path, limit=PENDING_BYTES, mode=PRIVATE)
        except SetupError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._head = self._file.head = FILE_HEAD
        self.path = self._file.path

    @property
    def is_ours(self) -> bool:
        """Whether this process made it, and was not forked off since."""
        return os.getpid() == self._pid

    @property
    def dropped(self) -> int:
        """How many values were dropped because they could not be written for too long; a fact counts as one."""
        return self._file.dropped

    def fact(self, fact: Fact) -> None:
        """Append a fact; a `Begin` first, with which also a file that was removed and is made anew begins."""
        is_begin = isinstance(fact, Begin)
        self._run += is_begin
        record = self._append(Kind.FACT, encode_fact(fact))
        if is_begin:
            self._head = FILE_HEAD + record

    def block(self, block: Block) -> None:
        """Append a block of batches."""
        payload = encode_rows(block.epoch, block.steps, block.times, block.columns, block.present)
        self._append(Kind.BATCHES, payload, count_values(block))

    def row(self, kind: Kind, epoch: int, step: int, time: float, logs: Mapping[str, float]) -> None:
        """Append the results of an epoch or an evaluation."""
        payload = encode_rows(epoch, [step], [time], {name: [value] for name, value in logs.items()})
        self._append(kind, payload, len(logs))

    def close(self) -> None:
        """Put on disk what was written; what comes later opens the file again."""
        if self.is_ours:
            with self._lock:
                self._file.close()

    def _append(self, kind: Kind, payload: bytes, values: int = 1) -> bytes:
        if not self.is_ours:  # the lock may be held for ever, by a thread that the fork did not copy
            return b""
        with self._lock:
            record = frame(kind, self._run, self._number, payload)
            self._number += 1
            self._file.append(record, values=[values])
            if not self._file.waiting:  # else it could be that the old head, or the begin itself, is still to come
                self._file.head = self._head
        return record


def _claimed(folder: Path) -> Path:
    """Create a file of the next number that is free."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max((file_number(each) or 0 for each in journal_files(folder)), default=-1) + 1
    while True:
        path = folder / file_name(number)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
        except FileExistsError:
            number += 1
        else:
            return path
