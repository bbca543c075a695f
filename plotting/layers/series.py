"""What plots of activations show, computed with NumPy: quantiles, shares of dead units, single feature maps.

Only one file at a time is in memory. A distribution excludes non-finite values, and reports that there were some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.checks import checked_count
from monitor_core.files.activations import load_each
from monitor_core.model.handles import Array
from monitor_core.plotting.curves.smoothing import Floats

Source = str | PathLike[str] | Mapping[str, Any] | Iterable[str | PathLike[str] | Mapping[str, Any]]
"""A folder of files that an `ActivationDump` wrote; or files, or mappings from names to arrays, one for each epoch."""

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
"""The quantiles between which the bands of a distribution lie; the middle one is the median."""


@attrs.frozen(eq=False)
class Series:
    """What was computed for one layer in each epoch that recorded it.

    Attributes:
        layer: The layer's name.
        epochs: ``(n,) float64``.
        values: ``(n, k) float64``, NaN if there is none.
        flawed: ``(n,) bool``: whether some of the layer's values were not finite.
    """

    layer: str
    epochs: Floats
    values: Floats
    flawed: NDArray[np.bool_]


def read_distributions(activations: Source, layers: Sequence[str] | None = None) -> list[Series]:
    """Return the `QUANTILES` of each layer's finite values, by epoch."""
    return _collect(activations, layers, lambda _, array: _quantiles(array))


def read_dead_units(
    activations: Source, layers: Sequence[str] | None = None, *, channel_axis: int = -1
) -> list[Series]:
    """Return the share of dead units of each layer, by epoch."""

    def share(layer: str, array: Array) -> list[float]:
        try:
            return [float(dead_units(array, channel_axis=channel_axis).mean())]
        except ValueError as error:
            raise ValueError(f"{error} in layer {layer!r}") from None

    return _collect(activations, layers, share)


def feature_maps(activation: Any, *, sample: int = 0, channel_axis: int = -1) -> Array:
    """Return the channels of one sample, ``(channels, height, width)``.

    Raises:
        IndexError: The sample does not exist.
        ValueError: The array does not have 3 or 4 axes, or is empty.
    """
    array = np.asarray(activation)
    if array.ndim not in {3, 4} or not array.size or array.dtype.kind not in "biuf":
        raise ValueError(
            "activation must be real numbers as (height, width, channels) or (samples, height, width, channels) "
            f"(got {array.dtype} of the shape {array.shape})"
        )
    maps: Array = np.moveaxis(array, _axis(channel_axis, array.ndim), 0 if array.ndim == 3 else 1)
    return maps if array.ndim == 3 else maps[checked_index("sample", sample, len(maps))]


def dead_units(activation: Any, *, channel_axis: int = -1) -> NDArray[np.bool_]:
    """Return which units are dead, as `plot_dead_units` defines it, ``(units,) bool``.

    Args:
        activation: ``(samples, ..., units)``; ``(samples,)`` is one unit.
        channel_axis: The axis of the units.

    Raises:
        ValueError: The array does not have this axis.
    """
    array = np.asarray(activation)
    if array.ndim < 2:
        array = array.reshape(-1, 1)
    units = np.moveaxis(array, _axis(channel_axis, array.ndim), 0)
    units = units.reshape(len(units), -1)
    if not units.size:
        return np.ones(len(units), dtype=bool)
    first = units[:, :1]
    counts = np.isfinite(first[:, 0]) & ((first[:, 0] == 0) | (units.shape[1] > 1))
    dead: NDArray[np.bool_] = (units == first).all(axis=1) & counts
    return dead


def _quantiles(array: Array) -> Floats:
    values = array[np.isfinite(array)]
    if not values.size:
        return np.full(len(QUANTILES), np.nan)
    found: Floats = np.quantile(values.astype(np.float64), QUANTILES)
    return found


def _collect(activations: Source, layers: Sequence[str] | None, compute: Callable[[str, Array], Any]) -> list[Series]:
    rows: dict[str, list[tuple[int, Any, bool]]] = {name: [] for name in layers or ()}
    for each in load_each(activations, layers):
        for name, array in each.items():
            if array.size:
                numbers = np.abs(array) if array.dtype.kind == "c" else array
                flawed = not np.isfinite(numbers).all()
                rows.setdefault(name, []).append((each.epoch, compute(name, numbers), flawed))
    found = [_series(name, found) for name, found in rows.items() if found]
    if not found:
        raise ValueError("activations must have at least one layer with values (got none)")
    return found


def _series(name: str, rows: Sequence[tuple[int, Any, bool]]) -> Series:
    epochs, values, flawed = zip(*sorted(rows, key=lambda row: row[0]), strict=True)
    return Series(name, np.array(epochs, np.float64), np.array(values, np.float64), np.array(flawed))


def checked_index(name: str, number: Any, count: int) -> int:
    """Return a number as an index below ``count``; a negative one counts from the end.

    Raises:
        IndexError: The index is out of range.
        TypeError: It is not an integer.
    """
    whole = checked_count(name, number, least=-(2**62))
    if not -count <= whole < count:
        raise IndexError(f"{name} must be >= {-count} and < {count} (got {whole})")
    return whole % count


def _axis(axis: int, count: int) -> int:
    whole = checked_count("channel_axis", axis, least=-(2**62))
    if not -count <= whole < count:
        raise ValueError(f"channel_axis must be an axis of {count} (got {whole})")
    return whole % count
