"""What a model looked like inside over a recorded run: statistics of its layers and weights, and histograms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.arrays import Arrays
from monitor_core.journal.probes import LAYER_STATISTICS, probe_of
from monitor_core.model.probe import COUNTED, Histogram, LayerProbe, Probe, WeightProbe

Floats = NDArray[np.float64]

_WEIGHTS: dict[str, Callable[[WeightProbe], float | None]] = {
    "size": lambda weight: weight.size,
    "norm": lambda weight: weight.norm,
    "std": lambda weight: weight.std,
    "gradient": lambda weight: weight.gradient,
    "zeros": lambda weight: weight.zeros,
    "update_ratio": lambda weight: weight.ratio,
    "not_finite": lambda weight: weight.not_finite,
}


def _statistic(name: str) -> Callable[[Any], float | None]:
    return lambda layer: getattr(layer, name)


_LAYERS: dict[str, Callable[[LayerProbe], float | None]] = {name: _statistic(name) for name in LAYER_STATISTICS}


@attrs.frozen(eq=False)
class InsideTable:
    """Statistics of layers or weights, one column for each look into the model.

    ``table["dead"]`` has one row for each name, ``(names, looks) float64``; ``table["dead", "dense_1"]`` is one row,
    ``(looks,)``. What was not recorded is NaN.

    Attributes:
        names: The layers in the order of computation, or the weights in the model's.
        statistics: The statistics' names.
        epochs: The epoch of each look, 0-based, -1 before the first, ``(looks,) int64``.
        steps: The step of each look, ascending, ``(looks,) int64``.
        times: When each look was recorded, seconds since 1970, ``(looks,) float64``.
    """

    names: tuple[str, ...]
    statistics: tuple[str, ...]
    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: Floats
    _values: Mapping[str, Floats]

    def __repr__(self) -> str:
        return f"InsideTable({len(self)} looks at {', '.join(self.names) or 'nothing'}: {', '.join(self.statistics)})"

    def __len__(self) -> int:
        """Return the number of looks."""
        return len(self.steps)

    def __getitem__(self, what: str | tuple[str, str]) -> Floats:
        """Return a statistic, of all names or of one.

        Raises:
            KeyError: There is no such statistic, or no such name.
        """
        statistic, name = what if isinstance(what, tuple) else (what, None)
        if statistic not in self._values:
            raise KeyError(f"there is no statistic {statistic!r}: there are {', '.join(self.statistics)}")
        if name is None:
            return self._values[statistic]
        if name not in self.names:
            raise KeyError(f"{name!r} is not on record: there are {', '.join(self.names) or 'none'}")
        row: Floats = self._values[statistic][self.names.index(name)]
        return row


@attrs.frozen(eq=False)
class Histograms:
    """The histograms of one layer's outputs, or one weight or its gradient, one for each look that has it.

    Attributes:
        epochs: The epoch of each look, 0-based, -1 before the first, ``(looks,) int64``.
        steps: The step of each look, ascending, ``(looks,) int64``.
        edges: The edges of the bins, which each look has for itself, ``(looks, bins + 1) float64``.
        counts: How many values each bin has, ``(looks, bins) int64``; of many values, a part was counted.
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    edges: Floats
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of looks."""
        return len(self.steps)


Look = tuple[Probe, float]
"""A probe, and when it was recorded."""


def looks_of(records: Sequence[Arrays]) -> list[Look]:
    """Return the looks into a model, in order, the last one of each step; those that are malformed are left out."""
    found: dict[tuple[int, int], Look] = {}
    for content in records:
        with suppress(ValueError):
            found[content.epoch, content.step] = probe_of(content), float(content.time)
    return [found[place] for place in sorted(found)]


def layers_of(looks: Sequence[Look]) -> InsideTable:
    """Return the statistics of the layers' outputs."""
    return _table(looks, lambda probe: probe.layers, _LAYERS)


def weights_of(looks: Sequence[Look]) -> InsideTable:
    """Return the statistics of the trainable weights."""
    return _table(looks, lambda probe: probe.weights, _WEIGHTS)


def histograms_of(looks: Sequence[Look]) -> Mapping[str, Mapping[str, Histograms]]:
    """Return the histograms by kind, ``"activations"``, ``"weights"`` and ``"gradients"``, and name."""
    return MappingProxyType({kind: MappingProxyType(dict(_histograms(looks, kind))) for kind in COUNTED})


def _table(
    looks: Sequence[Look], rows_of: Callable[[Probe], Sequence[Any]], statistics: Mapping[str, Callable[[Any], Any]]
) -> InsideTable:
    names = tuple(dict.fromkeys(row.name for probe, _ in looks for row in rows_of(probe)))
    places = {name: place for place, name in enumerate(names)}
    values = {name: np.full((len(names), len(looks)), math.nan) for name in statistics}
    for column, (probe, _) in enumerate(looks):
        for row in rows_of(probe):
            for name, statistic in statistics.items():
                value = statistic(row)
                values[name][places[row.name], column] = math.nan if value is None else value
    for array in values.values():
        array.setflags(write=False)
    epochs, steps = _labels([probe for probe, _ in looks])
    times = np.array([time for _, time in looks], np.float64)
    return InsideTable(names, tuple(statistics), epochs, steps, times, MappingProxyType(values))


def _labels(probes: Sequence[Probe]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.array([each.epoch for each in probes], np.int64), np.array([each.step for each in probes], np.int64)


def _histograms(looks: Sequence[Look], kind: Any) -> Iterator[tuple[str, Histograms]]:
    found: dict[str, list[tuple[Probe, Histogram]]] = {}
    for probe, _ in looks:
        for name, histogram in probe.histograms.get(kind, {}).items():
            found.setdefault(name, []).append((probe, histogram))
    for name, every in found.items():
        bins = len(every[-1][1].counts)
        parts = [each for each in every if len(each[1].counts) == bins]  # of another release they may differ
        epochs, steps = _labels([probe for probe, _ in parts])
        edges = np.array([histogram.edges for _, histogram in parts])
        yield name, Histograms(epochs, steps, edges, np.array([histogram.counts for _, histogram in parts]))
