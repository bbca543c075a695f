"""Looks into a model, as a journal holds them: one record of arrays for each, see `monitor_core.journal.arrays`.

Contract. A record is self-contained: it has the names of the layers and weights. The statistics are float64, as the
rules of a diagnosis saw them; a missing one is NaN. The counts of a histogram are in the narrowest type that holds
them. Records are not trusted: one that is not a probe is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.journal.arrays import Arrays
from monitor_core.model.probe import COUNTED, Histogram, LayerProbe, Probe, WeightProbe

WHAT = "probe"
"""What the arrays of a look into the model are called."""
LAYER_STATISTICS = tuple(field.name for field in attrs.fields(LayerProbe) if field.name != "name")
WEIGHT_STATISTICS = tuple(field.name for field in attrs.fields(WeightProbe) if field.name != "name")
_COUNTS = {"units", "size", "axes", "steps"}
_OPTIONAL = {"drift", "gradient", "moved"}


def arrays_of(probe: Probe, time: float) -> Arrays:
    """Return a probe as the arrays that a journal holds.

    Args:
        probe: The probe.
        time: When it was made, seconds since 1970.
    """
    arrays: dict[str, NDArray[Any]] = {
        "layers": _table(probe.layers, LAYER_STATISTICS),
        "weights": _table(probe.weights, WEIGHT_STATISTICS),
    }
    for kind in COUNTED:
        found = probe.histograms.get(kind, {})
        if found:
            arrays[f"{kind}.places"] = np.array([_names(probe, kind).index(name) for name in found], np.int32)
            arrays[f"{kind}.ranges"] = np.array([(each.low, each.high) for each in found.values()], np.float64)
            arrays[f"{kind}.counts"] = _narrow(np.array([each.counts for each in found.values()], np.int64))
    about = {
        "samples": probe.samples,
        "penalty": probe.penalty,
        "layers": _names(probe, "activations"),
        "weights": _names(probe, "weights"),
        "layer_statistics": list(LAYER_STATISTICS),
        "weight_statistics": list(WEIGHT_STATISTICS),
    }
    return Arrays(WHAT, int(probe.epoch), int(probe.step), time, about, arrays)


def probe_of(content: Arrays) -> Probe:
    """Return what `arrays_of` made arrays of.

    Raises:
        ValueError: They are not a probe.
    """
    about, arrays = content.about, content.arrays
    try:
        probe = Probe(
            epoch=content.epoch,
            step=content.step,
            samples=int(about["samples"]),
            penalty=None if about["penalty"] is None else float(about["penalty"]),
            layers=tuple(
                _rows(LayerProbe, LAYER_STATISTICS, about["layers"], about["layer_statistics"], arrays["layers"])
            ),
            weights=tuple(
                _rows(WeightProbe, WEIGHT_STATISTICS, about["weights"], about["weight_statistics"], arrays["weights"])
            ),
        )
        found = {kind: _histograms(_names(probe, kind), kind, arrays) for kind in COUNTED}
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"the arrays are not of a probe ({type(error).__name__}: {error})") from None
    return attrs.evolve(probe, histograms=found)


def _names(probe: Probe, kind: str) -> list[str]:
    """Return the names that histograms of a kind are of: layers, or weights."""
    return [each.name for each in (probe.layers if kind == "activations" else probe.weights)]


def _table(rows: Sequence[Any], statistics: Sequence[str]) -> NDArray[np.float64]:
    """Return the statistics of layers or weights, ``(statistics, rows) float64``."""
    values = [[getattr(row, name) for row in rows] for name in statistics]
    return np.array(values, np.float64).reshape(len(statistics), len(rows))  # None becomes NaN


def _narrow(counts: NDArray[np.int64]) -> NDArray[Any]:
    largest = int(counts.max(initial=0))
    kind = next(kind for kind in (np.uint8, np.uint16, np.int32, np.int64) if largest <= np.iinfo(kind).max)
    return counts.astype(kind)


def _rows(
    kind: Callable[..., Any], known: Sequence[str], names: Any, statistics: Any, table: NDArray[Any]
) -> list[Any]:
    """Return layers or weights; statistics of a later release are ignored."""
    if not all(isinstance(each, str) for each in [*names, *statistics]) or table.shape != (len(statistics), len(names)):
        raise ValueError(f"a table of the shape {table.shape}")
    columns = {name: table[index].tolist() for index, name in enumerate(statistics) if name in known}
    return [
        kind(name=name, **{statistic: _value(statistic, values[row]) for statistic, values in columns.items()})
        for row, name in enumerate(names)
    ]


def _value(statistic: str, value: float) -> Any:
    if statistic in _COUNTS:
        return int(value)
    return None if statistic in _OPTIONAL and math.isnan(value) else value


def _histograms(names: list[str], kind: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Histogram]:
    if f"{kind}.places" not in arrays:
        return {}
    places, ranges, counts = (arrays[f"{kind}.{part}"] for part in ("places", "ranges", "counts"))
    if places.ndim != 1 or ranges.shape != (len(places), 2) or counts.ndim != 2 or len(counts) != len(places):
        raise ValueError(f"histograms of the shapes {ranges.shape} and {counts.shape}")
    if not counts.shape[1] or not (np.isfinite(ranges).all() and (ranges[:, 0] < ranges[:, 1]).all()):
        raise ValueError("histograms without bins")
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(names):
        raise ValueError("a histogram of nothing")
    return {
        names[place]: Histogram(float(low), float(high), row.astype(np.int64))
        for place, (low, high), row in zip(places.tolist(), ranges.tolist(), counts, strict=True)
    }
