"""Writing a journal: each process appends records to its own file in a folder.

Contract. Each record is written to the operating system immediately. After its constructor, the writer raises no error
of the file, see `AppendFile`. Threads may share a writer. A forked process writes nothing. Processes that write to one
folder, on one machine or on several, each have their own file: they claim its name by creating it, which every file
system lets only one process do, so no lock is needed and nothing is lost.
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
from monitor_core.journal.arrays import Arrays, encode_arrays
from monitor_core.journal.facts import Begin, Fact, encode_fact
from monitor_core.journal.files import FILE_HEAD, Kind, file_name, file_number, frame, journal_files
from monitor_core.journal.rows import encode_evaluation, encode_rows
from monitor_core.values.blocks import Block, count_values
from monitor_core.values.labels import EvaluationLabel

PENDING_BYTES = 8 << 20
"""How many bytes of records wait while they cannot be written: over an hour of 100 scalars per second."""
PRIVATE = 0o600
"""Permissions of a file: only its owner may read the command line and the configuration in it."""


class JournalWriter:
    """Appends records to a new file in a folder, which only its owner may read.

    Args:
        folder: The folder; created if missing.

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
        """Whether this process created it, and not a parent that it was forked from."""
        return os.getpid() == self._pid

    @property
    def dropped(self) -> int:
        """How many values were dropped because they could not be written for too long; a fact counts as one."""
        return self._file.dropped

    def fact(self, fact: Fact) -> None:
        """Append a fact, a `Begin` first; if the file is removed, its replacement begins with that record too."""
        is_begin = isinstance(fact, Begin)
        self._run += is_begin
        record = self._append(Kind.FACT, encode_fact(fact))
        if is_begin:
            self._head = FILE_HEAD + record

    def block(self, block: Block) -> None:
        """Append a block of batches."""
        payload = encode_rows(block.epoch, block.steps, block.times, block.columns, block.present)
        self._append(Kind.BATCHES, payload, count_values(block))

    def epoch(self, epoch: int, step: int, time: float, logs: Mapping[str, float]) -> None:
        """Append the results of an epoch."""
        self._append(Kind.EPOCH, _row(epoch, step, time, logs), len(logs))

    def evaluation(self, label: EvaluationLabel, epoch: int, step: int, time: float, logs: Mapping[str, float]) -> None:
        """Append the results of an evaluation."""
        payload = encode_evaluation(label, _row(epoch, step, time, logs))
        self._append(Kind.LABELLED_EVALUATION, payload, len(logs))

    def arrays(self, content: Arrays) -> None:
        """Append arrays.

        Raises:
            TypeError: One is of a type that is not stored.
        """
        self._append(Kind.ARRAYS, encode_arrays(content), sum(array.size for array in content.arrays.values()))

    def close(self) -> None:
        """Sync and close the file; a later record opens it again."""
        if self.is_ours:
            with self._lock:
                self._file.close()

    def _append(self, kind: Kind, payload: bytes, values: int = 1) -> bytes:
        if not self.is_ours:  # a thread that the fork did not copy may hold the lock forever
            return b""
        with self._lock:
            record = frame(kind, self._run, self._number, payload)
            self._number += 1
            self._file.append(record, values=[values])
            if not self._file.waiting:  # else the old head, or the begin itself, may not be written yet
                self._file.head = self._head
        return record


def _row(epoch: int, step: int, time: float, logs: Mapping[str, float]) -> bytes:
    return encode_rows(epoch, [step], [time], {name: [value] for name, value in logs.items()})


def _claimed(folder: Path) -> Path:
    """Create a file with the next free number."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max((file_number(each.name) or 0 for each in journal_files(folder)), default=-1) + 1
    while True:
        path = folder / file_name(number)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
        except FileExistsError:
            number += 1
        else:
            return path
