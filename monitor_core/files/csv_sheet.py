"""The CSV format: the shape of a file, the encoding of rows, and the repair of a truncated file."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from monitor_core._log import logger

_SEPARATORS = ",;\t|: "
"""Separators that are recognized in a file to append to, besides the one asked for."""


_IN_NUMBERS = "0123456789+-.einfa"
"""The characters that numbers are written with."""


BEFORE_FIRST = (-1, 0)
"""The epoch and the step before the first."""

EPOCHS, BATCHES, EVALUATIONS = ("epoch",), ("epoch", "step"), ("epoch", "step", "evaluation")
"""The first columns of a file of epochs, of batches, and of epochs and evaluations within them."""


def column_of(metric: str) -> str:
    """Return the name of a metric's column: with one underscore more where it might be one of the first columns'."""
    return f"{metric}_" if metric.rstrip("_") in EVALUATIONS else metric


class Missing:
    """The field of a metric that has no value in a row."""

    def __repr__(self) -> str:
        return ""


MISSING = Missing()


class _Lines(list[str]):
    """The target of a CSV writer: a list with an item for each row."""

    write = list[str].append


@attrs.define
class Sheet:
    """The shape of a CSV file, and the numbers of its last row.

    Attributes:
        labels: The names of its first columns, which number the rows: `EPOCHS`, `BATCHES` or `EVALUATIONS`.
        separator: The string between two fields.
        metrics: The names of the other columns, in the file's order; None before there is a header.
        rows: How many rows it has below the header.
        last: The last row's epoch and step; for an empty sheet, those before the first.
    """

    labels: tuple[str, ...]
    separator: str
    metrics: list[str] | None = None
    rows: int = 0
    last: tuple[int, int] = BEFORE_FIRST

    @property
    def head(self) -> bytes:
        """The header; if two metrics are written the same way, as surrogates may be, the later name gets a suffix."""
        names: dict[str, None] = {}
        for name in self.metrics or ():
            written = name.encode(errors="backslashreplace").decode()
            while written in names:
                written += "_"
            names[written] = None
        return self.encode([[*self.labels, *names]])[0]

    def encode(self, rows: Iterable[Iterable[Any]]) -> list[bytes]:
        """Return rows as the file's records."""
        lines = _Lines()
        csv.writer(lines, delimiter=self.separator).writerows(rows)
        return [line.encode(errors="backslashreplace") for line in lines]

    def encode_numbers(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Encode rows like `encode`, given as columns of floats, integers and `MISSING`.

        Such fields need no quotes, unless a number may contain the separator, so this takes half the time.
        """
        if self.separator in _IN_NUMBERS:
            return self.encode(zip(*columns, strict=True))
        join = self.separator.join
        rows = [join(map(repr, row)) for row in zip(*columns, strict=True)]
        return ("\r\n".join(rows) + "\r\n").encode().splitlines(keepends=True)

    def decode(self, record: bytes) -> list[str]:
        """Return the fields of a record."""
        text = record.decode(errors="backslashreplace")
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=self.separator), [])

    def width(self, record: bytes) -> int:
        """Return the number of fields in a record."""
        return len(self.decode(record)) if b'"' in record else record.count(self.separator.encode()) + 1

    def numbers(self, record: bytes) -> tuple[int, int]:
        """Return a row's epoch and step, -1 for a missing one; the step is 0 if there is no such column."""
        fields = self.decode(record)
        epoch, step = _number(fields[0]), _number(fields[1]) if "step" in self.labels else 0
        return epoch, step

    def insert_labels(self, record: bytes) -> bytes:
        """Return a row of a file of epochs with empty fields for the other labels of `EVALUATIONS`."""
        separator = self.separator.encode()
        end = record.find(b'"', 1) + 1 if record.startswith(b'"') else record.find(separator)
        if end < 0:
            end = len(record.rstrip(b"\r\n"))
        return record[:end] + separator * (len(EVALUATIONS) - len(EPOCHS)) + record[end:]

    @classmethod
    def read(cls, path: Path, labels: tuple[str, ...], separator: str) -> Sheet:
        """Read the shape of a file, and repair its end: an unfinished last line is dropped, with a warning.

        Raises:
            ValueError: It is not such a file, or is damaged.
            OSError: It cannot be read or repaired.
        """
        sheet = cls(labels, separator)
        end = 0
        last = b""
        with path.open("rb") as file:
            for record in _records(file):
                if not _is_whole(record):
                    sheet._mend(path, end, record)
                    break
                end += len(record)
                if sheet.metrics is None:
                    sheet._read_header(record)
                elif record.strip():
                    sheet._check_width(record)
                    sheet.rows, last = sheet.rows + 1, record
        if last:
            sheet.last = sheet.numbers(last)
            if sheet.last[0] < 0 or (labels == BATCHES and sheet.last[1] < 0):
                raise ValueError(f"its last row must begin with {' and '.join(labels)} (got {last!r})")
        return sheet

    def _read_header(self, record: bytes) -> None:
        found = re.match(rb'("?)epoch\1([^"\r\n])', record)
        if found is not None and (separator := found[2].decode(errors="replace")) in _SEPARATORS:
            self.separator = separator
        names = self.decode(record)
        if self.labels == EPOCHS and tuple(names[: len(EVALUATIONS)]) == EVALUATIONS:
            self.labels = EVALUATIONS
        labels, metrics = tuple(names[: len(self.labels)]), names[len(self.labels) :]
        if labels != self.labels or len(set(metrics)) < len(metrics):
            raise ValueError(
                f"its first line must name each column once, from {' and '.join(self.labels)} on (got {record!r})"
            )
        self.metrics = metrics

    def _check_width(self, record: bytes) -> None:
        columns = len(self.labels) + len(self.metrics or ())
        if self.width(record) != columns:
            raise ValueError(
                f"row {self.rows + 1} has {self.width(record)} fields under {columns} columns ({record!r}): "
                "repair the file, or move it away"
            )

    def _mend(self, path: Path, end: int, record: bytes) -> None:
        """Drop the last record, which is truncated: its last number may lack digits."""
        if self.metrics is None and not b"epoch".startswith(record.lstrip(b'"')[:5]):
            self._read_header(record)  # raises if it is not a file of ours, and so leaves it unchanged
        os.truncate(path, end)
        logger.warning("%s ended with an unfinished line, which is dropped: %r", path, record)


def _number(field: str) -> int:
    try:
        return int(float(field))
    except (ValueError, OverflowError):
        return -1


def _is_whole(record: bytes) -> bool:
    return record.endswith(b"\n") and record.count(b'"') % 2 == 0


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield each record with its line end; the last may be unfinished, and quoted fields may contain line ends."""
    lines: list[bytes] = []
    quotes = 0
    for line in file:
        lines.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            yield b"".join(lines)
            lines = []
    if lines:
        yield b"".join(lines)
