"""How a record's metrics are looked up, the same in memory and in a journal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from monitor_core.metrics.names import find_metric, known_name
from monitor_core.records.columns import Table


class MetricLists(dict[str, list[float]]):
    """Each metric's values as a list, as in Keras's ``History.history``; ``acc`` finds ``accuracy`` and vice versa."""

    def __missing__(self, name: str) -> list[float]:
        """Return the column under its other spelling, or raise a KeyError that lists the names."""
        return self[known_name(name, self.keys(), "this history")]


class MetricColumns:
    """Columns of one length, by their metrics' names; ``acc`` finds ``accuracy`` and vice versa.

    Attributes:
        where: What has the metrics, for messages about an unknown name.
        empty: The message if nothing is recorded at all; "" for the same message as for an unknown name.
    """

    __slots__ = ()

    where: ClassVar[str] = "this record"
    empty: ClassVar[str] = ""

    @abstractmethod
    def _columns(self) -> Table:
        """Return the columns."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._columns())

    def __iter__(self) -> Iterator[str]:
        """Iterate over the metrics' names, in the order of their first appearance."""
        return iter(self._columns())

    def keys(self) -> list[str]:
        """Return the metrics' names, in the order of their first appearance."""
        return list(self._columns())

    def __contains__(self, name: object) -> bool:
        """Return whether the metric is there, under either spelling of accuracy."""
        return isinstance(name, str) and find_metric(name, self.keys()) is not None

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a metric's values, ``(rows,) float64``, read-only, NaN where missing.

        Raises:
            KeyError: There is no such metric; the message lists the names.
            TypeError: ``name`` is not a name.
        """
        if not isinstance(name, str):
            metric = next(iter(self), "loss")
            raise TypeError(f"{self.where} is indexed by a metric's name (got {name!r}): write [{metric!r}][{name!r}]")
        if self.empty and not len(self):
            raise KeyError(self.empty)
        return self._columns()[known_name(name, self.keys(), self.where)]


class Results(MetricColumns):
    """Columns of results, one row for each epoch or evaluation."""

    __slots__ = ()

    where = "this history"

    def __bool__(self) -> bool:
        """Return True, even while it is empty: code such as Keras's drops a callback that is false."""
        return True

    @property
    def history(self) -> MetricLists:
        """Each metric's values as a list, as in Keras's ``History.history``."""
        columns = self._columns()
        return MetricLists({name: columns[name].tolist() for name in columns})
