"""Growing tables of float64 columns, which hold recorded values in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Column:
    """An array of floats that grows at its end, at 8 to 9 bytes a float64 value.

    Arrays that `array` returned never change: growing neither moves nor changes their values.
    """

    __slots__ = ("_data", "_length")

    def __init__(self, dtype: type[np.floating[Any]] = np.float64) -> None:
        self._data: NDArray[Any] = np.empty(0, dtype)
        self._length = 0

    def __len__(self) -> int:
        """Return the number of values."""
        return self._length

    def array(self) -> NDArray[Any]:
        """Return the values, ``(n,)``, read-only and without a copy."""
        view = self._data[: self._length]
        view.setflags(write=False)
        return view

    def extend(self, values: NDArray[Any] | Sequence[float]) -> None:
        """Append values."""
        end = self._length + len(values)
        if end > len(self._data):
            # An eighth to spare, as in Python's lists: 9 copies of each value over a column's life, 12% of memory.
            data = np.empty(end + (end >> 3) + 4, self._data.dtype)
            data[: self._length] = self._data[: self._length]
            self._data = data
        self._data[self._length : end] = values
        self._length = end

    def truncate(self, length: int) -> None:
        """Drop all but the first values; arrays that were returned keep theirs."""
        self._data = self._data[: min(length, self._length)].copy()
        self._length = len(self._data)


class Table:
    """Columns of one length; a column that appears late, or has no value in a row, is NaN there."""

    __slots__ = ("_columns", "_first", "_length")

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}
        self._first: dict[str, int] = {}  # the row in which each column appeared
        self._length = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._length

    def __iter__(self) -> Iterator[str]:
        """Iterate over the columns' names, in the order of their first appearance."""
        return iter(self._columns)

    def __contains__(self, name: object) -> bool:
        """Return whether there is a column of exactly that name."""
        return name in self._columns

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a column, ``(rows,) float64``, read-only and without a copy."""
        return self._columns[name].array()

    def append(self, values: Mapping[str, float]) -> None:
        """Append a row."""
        self.extend(1, {name: [value] for name, value in values.items()})

    def extend(self, rows: int, columns: Mapping[str, NDArray[np.float64] | Sequence[float]]) -> None:
        """Append rows, given as columns of that length."""
        before, missing = np.full(self._length, np.nan), np.full(rows, np.nan)
        for name, values in columns.items():
            if len(values) != rows:
                raise ValueError(f"column {name!r} must have {rows} values (got {len(values)})")
            if name not in self._columns:
                self._columns[name] = late = Column()
                self._first[name] = self._length
                late.extend(before)
        for name, column in self._columns.items():
            column.extend(columns.get(name, missing))
        self._length += rows

    def truncate(self, length: int) -> None:
        """Drop all but the first rows, and columns that become empty."""
        for column in self._columns.values():
            column.truncate(length)
        self._length = min(self._length, length)
        for name in [name for name, first in self._first.items() if first >= self._length]:
            del self._columns[name], self._first[name]
