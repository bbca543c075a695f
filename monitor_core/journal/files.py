"""The file of a journal: framed records that are only ever appended, each with its checksums, and how they are read.

Contract. A file has one writer, the process that made it; readers may come at any time. A reader never raises on
damage: it returns every whole record, before and after the damage, and lists what is damaged and where. It needs no
lock and no memory map, and nothing in the file is executed.

Layout, all little-endian. The file's head: 8 bytes of signature, the version (uint32), the CRC-32 of both. Then frames:
a mark of 4 bytes, the kind, the run's number within the file, the record's number within the file, the payload's
bytes and the payload's CRC-32 (uint32 each), the CRC-32 of all these, and the payload. The frame's head has its
own checksum so that the length can be trusted even if the payload is damaged; the mark, so that the next frame is found
if the length is damaged too; the number, so that records missing without a trace, such as those dropped on a full disk,
are detected. Records of an unknown kind, from a later release, are skipped.
"""

from __future__ import annotations

import enum
import re
import struct
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import attrs

from monitor_core.journal.arrays import Arrays, parse_arrays
from monitor_core.journal.facts import Fact, parse_fact
from monitor_core.journal.rows import Rows, parse_evaluation, parse_rows
from monitor_core.store.addresses import StorePath, located

SIGNATURE = b"\x89MCJ\r\n\x1a\n"  # not ASCII, and changed by any translation of line ends
JOURNAL_SUFFIX = ".mcj"
_VERSION = 2
_READ = (1, 2)
_MARK = b"\xf5\xfbMJ"  # its first two bytes never occur in UTF-8
_FRAME = struct.Struct("<4sIIIII")
_CHECKSUM = struct.Struct("<I")
_FRAME_SIZE = _FRAME.size + _CHECKSUM.size
_NAME = re.compile(r"journal-(\d+)\.mcj")


class Kind(enum.IntEnum):
    """What a frame holds."""

    FACT = 1
    """A fact, as JSON."""
    BATCHES = 2
    """Rows: a block of batches."""
    EPOCH = 3
    """Rows: one, an epoch's results."""
    EVALUATION = 4
    """Rows: one, an evaluation's results; only in format 1."""
    LABELLED_EVALUATION = 5
    """Rows: one, an evaluation's results, with its name; read as `EVALUATION`."""
    ARRAYS = 6
    """Arrays by name, with what they are."""


_NORMAL = {Kind.LABELLED_EVALUATION: Kind.EVALUATION}


def _sealed(data: bytes) -> bytes:
    return data + _CHECKSUM.pack(crc32(data))


FILE_HEAD = _sealed(SIGNATURE + _CHECKSUM.pack(_VERSION))
"""What each file begins with, 16 bytes."""
_HEADS = {_sealed(SIGNATURE + _CHECKSUM.pack(version)) for version in _READ}
_KINDS = frozenset(Kind)


def frame(kind: Kind, run: int, number: int, payload: bytes) -> bytes:
    """Return a record as the file holds it."""
    return _sealed(_FRAME.pack(_MARK, kind, run, number, len(payload), crc32(payload))) + payload


def journal_files(folder: str | PathLike[str]) -> list[Path]:
    """Return a folder's journals in the order in which they were begun; only regular files count.

    Args:
        folder: The folder, or the address of one in a store, whose journals are then copied to this machine.

    Raises:
        FileNotFoundError: There is no such folder.
        ImportError: The package for this address is not installed.
        OSError: The folder cannot be read.
        ValueError: The address is of an unknown protocol.
    """
    place = located(folder)
    if isinstance(place, StorePath):
        from monitor_core.store.fetching import fetched  # not before: a run in a folder needs none of it

        place = fetched(place)
    files = [path for path in place.iterdir() if file_number(path.name) is not None and path.is_file()]
    return sorted(files, key=lambda path: file_number(path.name) or 0)


def file_name(number: int) -> str:
    """Return the name of a folder's journal of this number, from 0."""
    return f"journal-{number:04d}.mcj"


def file_number(name: str) -> int | None:
    """Return the number in a journal's name, None if it is not such a name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


@attrs.frozen
class Damage:
    """What is wrong with a file, and where.

    Attributes:
        file: The file's name.
        offset: The first damaged byte; 0, with a length of 0, if it has no place in the file.
        length: How many bytes are damaged; 0 if records are missing.
        reason: What is wrong, human-readable.
        unfinished: Whether it is the beginning of a record at the file's end: the writer was killed, or still writes.
    """

    file: str
    offset: int
    length: int
    reason: str
    unfinished: bool = False

    def __str__(self) -> str:
        place = f" at byte {self.offset}" if self.offset or self.length else ""
        return f"{self.file}{place}: {self.reason}" if self.file else self.reason


class Record(NamedTuple):
    """A whole record: its offset, kind, the number of its run within the file, and its content."""

    offset: int
    kind: Kind
    run: int
    content: Fact | Rows | Arrays


@attrs.frozen
class JournalContent:
    """What a file holds: the whole records, in the file's order, and the damage."""

    records: list[Record]
    damage: list[Damage]


def read_journal(path: str | PathLike[str]) -> JournalContent:
    """Return what a file holds, however damaged it is; it may be written to meanwhile.

    Raises:
        OSError: The file cannot be read.
    """
    source = Path(path)
    return _Reader(source.read_bytes(), source.name).read()


class _Header(NamedTuple):
    kind: int
    run: int
    number: int
    length: int
    checksum: int


class _Reader:
    """Finds the whole records in some bytes, in time that is linear in their number."""

    def __init__(self, data: bytes, file: str) -> None:
        self._data = data
        self._view = memoryview(data)
        self._file = file
        self._records: list[Record] = []
        self._damage: list[Damage] = []
        self._names: dict[bytes, tuple[str, ...]] = {}
        self._expected = 0
        self._in_vain = 0

    def read(self) -> JournalContent:
        position = self._after_head()
        while position < len(self._data):
            header = self._header(position)
            position = self._take(position, header) or self._skip(position, header)
        return JournalContent(self._records, self._damage)

    def _report(self, offset: int, end: int, reason: str, *, unfinished: bool = False) -> None:
        self._damage.append(Damage(self._file, offset, end - offset, reason, unfinished))

    def _after_head(self) -> int:
        """Return where the first frame begins."""
        end = len(self._data)
        head = self._data[: len(FILE_HEAD)]
        if head in _HEADS:
            return len(head)
        if FILE_HEAD.startswith(head):
            if head:
                self._report(0, end, "the file's head is unfinished", unfinished=True)
            return end
        if head.startswith(SIGNATURE) and head == _sealed(head[: -_CHECKSUM.size]):
            version = _CHECKSUM.unpack_from(head, len(SIGNATURE))[0]
            self._report(0, end, f"its format is {version}, and this release reads up to format {_VERSION}")
            return end
        position = len(FILE_HEAD) if self._header(len(FILE_HEAD)) else self._next(0)
        self._report(0, position, "the file's head is damaged, or it is not a journal")
        return position

    def _header(self, position: int) -> _Header | None:
        """Return the head of the frame that begins here, None if none does."""
        end = position + _FRAME.size
        if end + _CHECKSUM.size > len(self._data) or not self._data.startswith(_MARK, position):
            return None
        if crc32(self._view[position:end]) != _CHECKSUM.unpack_from(self._data, end)[0]:
            return None
        return _Header(*_FRAME.unpack_from(self._data, position)[1:])

    def _next(self, position: int) -> int:
        """Return where the next frame begins, the end of the data if none does."""
        while (position := self._data.find(_MARK, position)) >= 0:
            if self._header(position):
                return position
            position += 1
        return len(self._data)

    def _take(self, position: int, header: _Header | None) -> int | None:
        """Read the frame that begins here; return where the next begins, None if this one cannot be trusted."""
        if header is None or (end := position + _FRAME_SIZE + header.length) > len(self._data):
            return None
        payload = self._view[position + _FRAME_SIZE : end]
        # Without this limit, many wrong lengths in a hostile file could each cost a checksum of most of it.
        if self._in_vain <= len(self._data) and crc32(payload) == header.checksum:
            self._accept(position, end, header, payload)
        elif end == len(self._data) or self._header(end):
            self._report(position, end, f"record {header.number} is damaged")
            self._expected = max(self._expected, header.number + 1)
        else:
            self._in_vain += header.length
            return None
        return end

    def _accept(self, position: int, end: int, header: _Header, payload: memoryview) -> None:
        missing = header.number - self._expected
        if missing < 0:  # a network file system may repeat a write that was not acknowledged
            self._report(position, end, f"record {header.number} is a duplicate; it is left out")
            return
        if missing:
            self._report(position, position, f"{missing} record{'s are' if missing > 1 else ' is'} missing before this")
        self._expected = header.number + 1
        if header.kind not in _KINDS:  # of a later release
            return
        try:
            content = self._parsed(Kind(header.kind), payload)
        except ValueError as error:
            self._report(position, end, f"record {header.number} cannot be read: {error}")
            return
        if content is not None:
            kind = Kind(header.kind)
            self._records.append(Record(position, _NORMAL.get(kind, kind), header.run, content))

    def _parsed(self, kind: Kind, payload: memoryview) -> Fact | Rows | Arrays | None:
        if kind is Kind.FACT:
            return parse_fact(bytes(payload))
        if kind is Kind.ARRAYS:
            return parse_arrays(payload)
        if kind is Kind.LABELLED_EVALUATION:
            return parse_evaluation(payload, self._names)
        return parse_rows(payload, self._names)

    def _skip(self, position: int, header: _Header | None) -> int:
        """Report bytes that are not a whole record, and return where the next frame begins."""
        after = self._next(position + 1)
        if after < len(self._data) or not self._is_begun(position, header):
            self._report(position, after, "these bytes are not a record")
        else:
            self._report(position, after, "the last record is unfinished", unfinished=True)
        return after

    def _is_begun(self, position: int, header: _Header | None) -> bool:
        """Return whether the data ends within a frame that begins here."""
        rest = self._data[position : position + _FRAME_SIZE]
        if len(rest) < _FRAME_SIZE:
            return rest.startswith(_MARK[: len(rest)])
        return header is not None and position + _FRAME_SIZE + header.length > len(self._data)
