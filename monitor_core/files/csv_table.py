"""Reading the CSV log of a training: what `CSVLogger` and Keras's ``CSVLogger`` write, and tables like it.

Contract. The first line names the columns, and one of them is ``epoch``, 0-based. ``step`` and ``evaluation`` number
the rows too, if they are there; all others hold values. An empty field and ``NA`` are gaps, unlike ``nan``, which is a
value. A row of another width, such as one that is being written, is left out and counted. A column of numbers may have
other texts in less than half of its fields, such as torn ones: they are gaps, and counted.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.files.csv_sheet import EVALUATIONS

_SEPARATORS = ",;\t|"
"""Separators among which the most frequent is taken, where the header does not begin with ``epoch``."""
_MOST_EPOCHS = 1_000_000
"""Larger numbers in a column ``epoch`` are moments, seconds since 1970."""
_GAPS = frozenset(("", "NA"))
"""Fields without a value; Keras's callback writes the second."""


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
        texts: The fields of the columns that are not of numbers.
        left_out: How many rows were left out, because they are of another width.
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    has_steps: bool
    evaluations: list[str | None]
    has_evaluations: bool
    columns: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    unreadable: dict[str, int]
    texts: dict[str, list[str]]
    left_out: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.epochs)


def read_csv_table(path: Path) -> CSVTable:
    """Read the CSV log of a training.

    Raises:
        ValueError: It is not one: it has no column ``epoch``, a column twice, or an epoch or step that is not a whole
            number from 0.
        OSError: It cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        separator = _separator(file.readline())
        file.seek(0)
        try:
            lines = [line for line in csv.reader(file, delimiter=separator) if line]
        except csv.Error as error:
            raise ValueError(f"{path} is not a CSV file: {error}") from None
    names = lines[0] if lines else []
    if "epoch" not in names or len(set(names)) < len(names):
        raise ValueError(f"{path} is not a training's log: it must have a column 'epoch', and each once (got {names})")
    rows = [line for line in lines[1:] if len(line) == len(names)]
    fields = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    metrics = [name for name in names if name not in EVALUATIONS]
    numbers, present = {}, {}
    unreadable: dict[str, int] = {}
    for name in metrics:
        if (found := _numbers(fields[name])) is not None:
            numbers[name], present[name], count = found
            unreadable |= {name: count} if count else {}
    return CSVTable(
        epochs=_labels(path, "epoch", fields["epoch"], needed=True),
        steps=_labels(path, "step", fields.get("step", [""] * len(rows)), needed=False),
        has_steps="step" in fields,
        evaluations=[field or None for field in fields.get("evaluation", [""] * len(rows))],
        has_evaluations="evaluation" in fields,
        columns=numbers,
        present=present,
        unreadable=unreadable,
        texts={name: fields[name] for name in metrics if name not in numbers},
        left_out=len(lines) - 1 - len(rows),
    )


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


def _labels(path: Path, name: str, fields: list[str], *, needed: bool) -> NDArray[np.int64]:
    try:
        numbers = [int(field) if field.isdecimal() else int(float(field)) if field or needed else 0 for field in fields]
        labels = np.array(numbers, np.int64)
    except (ValueError, OverflowError):
        article = "an" if name == "epoch" else "a"
        raise ValueError(f"{path} is not a training's log: {article} {name} is not a whole number") from None
    if (labels < 0).any():
        raise ValueError(f"{path} is not a training's log: {name}s must be >= 0 (got {labels.min()})")
    return labels


def _numbers(fields: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_], int] | None:
    """Return fields as numbers, which of them are there, and how many are other texts; None for a column of texts."""
    try:
        numbers = [np.nan if field in _GAPS else float(field) for field in fields]
        return np.array(numbers), np.array([field not in _GAPS for field in fields], np.bool_), 0
    except ValueError:
        found = list(map(_number, fields))
    present = np.array([value is not None for value in found], np.bool_)
    texts = sum(value is None and field not in _GAPS for value, field in zip(found, fields, strict=True))
    if texts >= present.sum():
        return None
    return np.array([np.nan if value is None else value for value in found]), present, texts


def _number(field: str) -> float | None:
    try:
        return None if field in _GAPS else float(field)
    except ValueError:
        return None
