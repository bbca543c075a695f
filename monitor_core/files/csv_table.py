"""Reading the CSV log of a training: what `CSVLogger` and Keras's ``CSVLogger`` write, and tables like it.

Contract. The first line names the columns, and one of them is ``epoch``, 0-based. ``step`` and ``evaluation`` number
the rows too, if they are there; all others hold values. An empty field and ``NA`` are gaps, unlike ``nan``, which is a
value. A row of another width is left out and counted. A last line without a line end is left out, and said to be: its
last number may lack digits. A column of numbers may have other texts in less than half of its fields, such as torn
ones: they are gaps, and counted.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.files.csv_sheet import EVALUATIONS
from monitor_core.values.text import shortened

_SEPARATORS = ",;\t|"
"""Separators among which the most frequent is taken, where the header does not begin with ``epoch``."""
_MOST_EPOCHS = 1_000_000
"""Larger numbers in a column ``epoch`` are moments, seconds since 1970."""
_GAPS = frozenset(("", "NA"))
"""Fields without a value; Keras's callback writes the second."""
_ROWS = 20_000
"""How many rows are taken at once: their fields as strings need some hundred times the memory of their numbers."""
_NAMED = 5
"""How many of a file's columns are named in a message."""
_LONGEST = 40
"""How many characters of a column's name are in a message."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


class TooLongError(ValueError):
    """A log has more epochs than are read."""


@attrs.frozen(eq=False)
class CSVTable:
    """The rows of a CSV log, in the file's order.

    Attributes:
        epochs: Each row's epoch, 0-based, ``(rows,) int64``.
        steps: Each row's step, ``(rows,) int64``, 0 where it is not recorded.
        has_steps: Whether there is a column of steps.
        evaluations: Each row's evaluation, such as ``val``; None for a row of an epoch or a batch.
        has_evaluations: Whether there is a column of evaluations: rows are then epochs and evaluations, not batches.
        columns: Each metric's values, ``(rows,) float64``, NaN in gaps.
        present: For each metric which rows have a value, ``(rows,) bool``.
        unreadable: For each metric with some, how many fields are not numbers; they are gaps.
        dropped: For each other column that has some numbers, also with a comma, how many of its fields are texts.
        texts: The names of the columns without numbers.
        left_out: How many rows were left out, because they are of another width.
        is_torn: Whether the last line was left out, because it has no line end.
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    has_steps: bool
    evaluations: list[str | None]
    has_evaluations: bool
    columns: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    unreadable: dict[str, int]
    dropped: dict[str, int]
    texts: list[str]
    left_out: int
    is_torn: bool

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.epochs)


def read_csv_table(path: Path, *, most_epochs: int | None = None) -> CSVTable:
    """Read the CSV log of a training.

    Args:
        path: The file.
        most_epochs: How many rows of epochs it may have; None: any number.

    Raises:
        ValueError: It is not one: it has no column ``epoch``, a column twice, or an epoch or step that is not a whole
            number from 0. A `TooLongError`: it has more rows.
        OSError: It cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        separator = _separator(file.readline())
        file.seek(0)
        lines = _Lines(file)
        rows = filter(None, csv.reader(lines, delimiter=separator))
        try:
            names = next(rows, [])
            _check_names(path, names)
            columns = [_Column(path, name) for name in names]
            counts = "step" in names and "evaluation" not in names
            most = None if counts else most_epochs
            left_out = read = 0
            while batch := list(itertools.islice(rows, _ROWS)):
                whole = [row for row in batch if len(row) == len(names)]
                left_out, read = left_out + len(batch) - len(whole), read + len(whole)
                if most is not None and read > most:
                    raise TooLongError(f"{path} is too long: it has more than {most:,} rows of epochs")
                for column, fields in zip(columns, zip(*whole, strict=True), strict=False):
                    column.add(fields)
        except csv.Error as error:
            raise ValueError(f"{path} is not a training's log: {_reason(error)}") from None
    by_name = {column.name: column for column in columns}
    metrics = [column for column in columns if column.name not in EVALUATIONS]
    numbers = [column for column in metrics if column.is_numeric]
    others = [column for column in metrics if not column.is_numeric]
    step, evaluation = by_name.get("step"), by_name.get("evaluation")
    return CSVTable(
        epochs=by_name["epoch"].labels(),
        steps=np.zeros(read, np.int64) if step is None else step.labels(),
        has_steps=step is not None,
        evaluations=[None] * read if evaluation is None else evaluation.names,
        has_evaluations=evaluation is not None,
        columns={column.name: column.values() for column in numbers},
        present={column.name: column.present() for column in numbers},
        unreadable={column.name: column.texts for column in numbers if column.texts},
        dropped={column.name: column.texts for column in others if column.has_numbers},
        texts=[column.name for column in others if column.texts and not column.has_numbers],
        left_out=left_out,
        is_torn=lines.is_torn,
    )


class _Lines:
    """A file's lines, without a last one that has no end, unless it is the only one."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file = file
        self.is_torn = False

    def __iter__(self) -> Iterator[str]:
        """Iterate over the lines."""
        is_first = True
        for line in self._file:
            if line[-1] not in "\r\n" and not is_first:
                self.is_torn = not line.isspace()
                return
            is_first = False
            yield line


def _check_names(path: Path, names: list[str]) -> None:
    if "epoch" not in names:
        named = ", ".join(repr(shortened(name, _LONGEST)) for name in names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        got = f"got {named}{more}" if names else "it is empty"
        raise ValueError(f"{path} is not a training's log: its first line must name a column 'epoch' ({got})")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path} is not a training's log: it names {shortened(name, _LONGEST)!r} twice")
        seen.add(name)


def _reason(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a field has more than {csv.field_size_limit():,} characters, or a quote has no end"
    return f"{error}"


class _Column:
    """A column, taken in parts."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.texts = 0
        self.names: list[str | None] = []
        self._path = path
        self._numbers: list[NDArray[np.float64]] = []
        self._present: list[NDArray[np.bool_]] = []
        self._labels: list[NDArray[np.int64]] = []
        self._commas = False

    def add(self, fields: tuple[str, ...]) -> None:
        """Add fields."""
        if self.name == "evaluation":
            self.names += [field or None for field in fields]
        elif self.name in EVALUATIONS:
            self._labels.append(_labels(self._path, self.name, fields, needed=self.name == "epoch"))
        else:
            self._add_numbers(fields)

    def _add_numbers(self, fields: tuple[str, ...]) -> None:
        try:
            self._numbers.append(np.array(list(map(float, fields))))
            self._present.append(np.ones(len(fields), np.bool_))
        except ValueError:
            found = list(map(_number, fields))
            self._numbers.append(np.array([np.nan if value is None else value for value in found]))
            self._present.append(np.array([value is not None for value in found], np.bool_))
            texts = [field for value, field in zip(found, fields, strict=True) if value is None and field not in _GAPS]
            self.texts += len(texts)
            self._commas = self._commas or any(map(_DECIMAL_COMMA.fullmatch, texts))

    @property
    def is_numeric(self) -> bool:
        """Whether it is a column of numbers: other texts are in less than half of its fields."""
        return not self.texts or self.texts < sum(int(each.sum()) for each in self._present)

    @property
    def has_numbers(self) -> bool:
        """Whether some of its fields are numbers, also with a comma."""
        return self._commas or any(each.any() for each in self._present)

    def labels(self) -> NDArray[np.int64]:
        """Return the fields as whole numbers."""
        return np.concatenate([np.empty(0, np.int64), *self._labels])

    def values(self) -> NDArray[np.float64]:
        """Return the fields as numbers, NaN in gaps."""
        return np.concatenate([np.empty(0), *self._numbers])

    def present(self) -> NDArray[np.bool_]:
        """Return which fields are numbers."""
        return np.concatenate([np.empty(0, np.bool_), *self._present])


def begins_as_log(head: str) -> bool:
    """Return whether a file's first line names a column ``epoch``."""
    line = next(iter(head.splitlines()), "")
    try:
        return "epoch" in next(csv.reader([line], delimiter=_separator(line)), [])
    except csv.Error:
        return False


def is_log(head: str) -> bool:
    """Return whether a file's first two lines are those of a training's log, and not of a dataset.

    Its first column is ``epoch``, with a whole number below a million in the first row, and another one has a number.
    """
    try:
        lines = head.splitlines()
        names, first = csv.reader(lines[:2], delimiter=_separator(lines[0]))
        epoch = float(first[0])
    except (IndexError, ValueError, csv.Error):
        return False
    if names[0] != "epoch" or len(names) != len(first) or not 0 <= epoch < _MOST_EPOCHS or not epoch.is_integer():
        return False
    labels = set(EVALUATIONS)
    return any(_number(field) is not None for name, field in zip(names, first, strict=True) if name not in labels)


def _separator(head: str) -> str:
    """Return the character after ``epoch``, else the most frequent of the usual ones."""
    found = re.match(r'\ufeff?("?)epoch\1([^"\r\n])', head)
    return found[2] if found is not None and not found[2].isalnum() else max(_SEPARATORS, key=head.count)


def _labels(path: Path, name: str, fields: tuple[str, ...], *, needed: bool) -> NDArray[np.int64]:
    try:
        numbers = [int(field) if field.isdecimal() else int(float(field)) if field or needed else 0 for field in fields]
        labels = np.array(numbers, np.int64)
    except (ValueError, OverflowError):
        article = "an" if name == "epoch" else "a"
        raise ValueError(f"{path} is not a training's log: {article} {name} is not a whole number") from None
    if (labels < 0).any():
        raise ValueError(f"{path} is not a training's log: {name}s must be >= 0 (got {labels.min()})")
    return labels


def _number(field: str) -> float | None:
    try:
        return None if field in _GAPS else float(field)
    except ValueError:
        return None
