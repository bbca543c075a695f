"""Curves: what there is to draw, read from any kind of history, and made small enough to be drawn at once.

Needs NumPy alone. Values that are not finite (missing in that epoch, or diverged) are no points of a curve: its line
goes on to the next one, so that a metric which is there in every fifth epoch only is still seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core import History
from monitor_core.metrics.names import find_metric, unknown_metric

Floats = NDArray[np.float64]

COLUMNS = 2000
"""Columns of an envelope: more than a picture 13 inches wide has pixels at 150 dots per inch."""
_BLOCK = 64
# Drawing computes the distance between two values, which must be finite too.
_LARGEST = 1e300

_SPLIT = re.compile(r"(?:(train|val)[_/])?(.+)", re.DOTALL)
# Words that tell of a metric between 0 and 1, wherever they stand in its name: out_1_accuracy, top5_acc, auc_2.
_SHARES = frozenset(
    "acc accuracy auc auroc dice f1 fbeta iou precision recall sensitivity specificity".split()  # noqa: SIM905
)


@attrs.frozen(eq=False)
class Curve:
    """One metric of one run.

    Attributes:
        run: The run's label, None where there is one run alone.
        name: The metric's name as recorded.
        rows: ``(n,) float64``, ascending: the epoch, or the step, of every row that was recorded.
        x: ``(m,) float64``: the rows where the value is finite.
        y: ``(m,) float64``: those values.
    """

    run: str | None
    name: str
    rows: Floats
    x: Floats
    y: Floats

    @property
    def quantity(self) -> str:
        """What is measured: the name without ``train_`` or ``val_``, ``acc`` as ``accuracy``."""
        return _quantity(self.name)

    @property
    def is_validation(self) -> bool:
        """Whether it was measured on validation data."""
        return _is_validation(self.name)

    @property
    def is_share(self) -> bool:
        """Whether it is one of the metrics between 0 and 1, such as an accuracy."""
        return _is_share(self.name)

    def lowest(self) -> tuple[float, float] | None:
        """Return the first point of the lowest value, None if there is no point."""
        if not len(self.y):
            return None
        index = int(self.y.argmin())
        return float(self.x[index]), float(self.y[index])


@attrs.frozen(eq=False)
class _Record:
    """A run's columns, raw, with the places of their rows."""

    label: str | None
    rows: Floats
    columns: Mapping[str, Any]

    def curve(self, name: str) -> Curve:
        values = self.values(name)
        if values.shape != self.rows.shape:
            raise ValueError(
                f"history must have a value of {name!r} in every epoch, NaN where it is missing "
                f"(got {len(values)} values of {len(self.rows)})"
            )
        drawable = abs(values) <= _LARGEST
        if drawable.all():
            return Curve(self.label, name, self.rows, self.rows, values)
        return Curve(self.label, name, self.rows, self.rows[drawable], values[drawable])

    def values(self, name: str) -> Floats:
        try:
            values = np.asarray(self.columns[name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the values of {name!r} must be numbers: {error}") from error
        if values.ndim != 1:
            raise ValueError(f"the values of {name!r} must be one number for each epoch (got the shape {values.shape})")
        return values

    def is_drawable(self, name: str) -> bool:
        try:
            self.values(name)
        except ValueError:
            return False
        return True


def read_curves(history: object, metrics: Sequence[str] | None = None, *, batches: bool = False) -> list[Curve]:
    """Read the curves of one run, or of several.

    Args:
        history: A `History`, an object with a mapping ``history`` (a Keras ``History``), a mapping from metric name
            to values, or a mapping from labels to any of these.
        metrics: Names to read, in this order, ``acc`` for ``accuracy`` and vice versa. None reads ``loss``,
            ``val_loss`` and the metrics between 0 and 1; where there are none of these, whatever there is.
        batches: Whether to read the values of every batch, by step, instead of those of every epoch.

    Returns:
        The curves, those of one metric together; a run that lacks a metric has no curve of it.

    Raises:
        KeyError: No run has such a metric; the message lists the names.
        TypeError: The history or ``metrics`` is none of the above.
        ValueError: There is nothing to draw, batches were not recorded, or a column is not one number for each row.
    """
    records = _records(history, batches=batches)
    names = _chosen(records, metrics)
    found = {
        (record.label, match): record
        for name in names
        for record in records
        if (match := find_metric(name, record.columns)) is not None
    }
    curves = [record.curve(name) for (_, name), record in found.items()]
    if not any(len(curve.rows) for curve in curves):
        raise ValueError(f"history must hold at least one {'batch' if batches else 'epoch'} (got none)")
    return curves


def _records(history: object, *, batches: bool) -> list[_Record]:
    if isinstance(history, Mapping) and history and all(map(_is_history, history.values())):
        return [_record(str(label), each, batches=batches) for label, each in history.items()]
    return [_record(None, history, batches=batches)]


def _is_history(value: object) -> bool:
    return isinstance(value, (History, Mapping)) or hasattr(value, "history")


def _record(label: str | None, history: Any, *, batches: bool) -> _Record:
    if batches:
        return _batch_record(label, history)
    if isinstance(history, History):
        return _Record(label, _places(history.epoch, len(history)), {name: history[name] for name in history})
    if isinstance(history, Mapping):
        return _Record(label, _places((), _longest(history)), history)
    inner = getattr(history, "history", None)
    if isinstance(inner, Mapping) and not isinstance(inner, History):
        return _Record(label, _places(getattr(history, "epoch", ()), _longest(inner)), inner)
    if isinstance(inner, History):  # a sink that keeps one
        return _record(label, inner, batches=batches)
    raise TypeError(
        "history must be a History, an object with a mapping `history`, a mapping from names to values, or a mapping "
        f"from labels to these (got {type(history).__name__})"
    )


def _batch_record(label: str | None, history: Any) -> _Record:
    if not isinstance(history, History):
        raise TypeError(
            f"history must be a monitor_core.History(per_batch=True) to draw batches (got {type(history).__name__})"
        )
    if not history.per_batch:
        raise ValueError("history must be recorded by History(per_batch=True) to draw batches (got per_batch=False)")
    batches = history.batches
    return _Record(label, _places(batches.steps, len(batches), 1), {name: batches[name] for name in batches})


def _longest(columns: Mapping[str, Any]) -> int:
    return max((len(values) for values in columns.values() if hasattr(values, "__len__")), default=0)


def _places(labels: Sequence[int] | NDArray[np.int64], rows: int, first: int = 0) -> Floats:
    """Return the rows' own numbers if they ascend; several runs begin anew, and are counted on."""
    places = np.asarray(labels, dtype=np.float64)
    if len(places) == rows and (np.diff(places) > 0).all():
        return places
    return np.arange(first, first + rows, dtype=np.float64)


def _chosen(records: list[_Record], metrics: Sequence[str] | None) -> list[str]:
    available = list(dict.fromkeys(name for record in records for name in record.columns))
    if metrics is None:
        return _default(
            [name for name in available if all(each.is_drawable(name) for each in records if name in each.columns)]
        )
    check_metrics(metrics)
    for name in metrics:
        if find_metric(name, available) is None:
            raise KeyError(unknown_metric(name, available, "this history"))
    return list(metrics)


def check_metrics(metrics: Sequence[str] | None) -> None:
    """Check that these can be names of metrics; None means those that are drawn unasked.

    Raises:
        TypeError: It is a string.
        ValueError: It is empty.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of names (got {metrics!r})")
    if metrics is not None and not len(metrics):
        raise ValueError(f"metrics must name at least one metric (got {metrics!r})")


def _default(available: list[str]) -> list[str]:
    names = [name for name in available if _quantity(name) == "loss" or _is_share(name)]
    names = names or [name for name in available if name != "learning_rate"]
    order = list(dict.fromkeys(map(_quantity, names)))
    return sorted(names, key=lambda name: (_is_share(name), order.index(_quantity(name)), _is_validation(name)))


def _parts(name: str) -> tuple[str, str]:
    match = _SPLIT.fullmatch(name)
    return (match[1] or "", match[2]) if match else ("", name)


def _quantity(name: str) -> str:
    quantity = _parts(name)[1]
    return "accuracy" if quantity == "acc" else quantity


def _is_validation(name: str) -> bool:
    return _parts(name)[0] == "val"


def _is_share(name: str) -> bool:
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return "loss" not in words and not words.isdisjoint(_SHARES)


def smooth(values: Floats, smoothing: float) -> Floats:
    """Return the exponential moving average, without its bias towards zero at the beginning.

    Args:
        values: ``(n,) float64``, finite.
        smoothing: What a value keeps of its weight from one to the next, in [0, 1).

    Returns:
        ``(n,) float64``: at each place the mean of all values up to it, weighted with ``smoothing ** age``.

    Source:
        The correction of bias is that of Kingma and Ba, Adam (2015), section 3; TensorBoard smooths the same way.
    """
    if smoothing == 0.0:
        return values
    with np.errstate(under="ignore"):
        sums = _decayed_sums(values * (1.0 - smoothing), smoothing)
        # 1 - smoothing**n, exact where smoothing is close to 1
        weights: Floats = -np.expm1(np.arange(1, len(values) + 1) * math.log(smoothing))
    return sums / weights


def _decayed_sums(values: Floats, decay: float) -> Floats:
    """Return ``sums[t] = values[t] + decay * sums[t - 1]``.

    A product with a triangular matrix gives them within blocks; the blocks' ends are the same sums again, of another
    decay. No term ever grows, unlike in the cumulative sum of ``values / decay**t``.
    """
    rows = -(-len(values) // _BLOCK)
    blocks = np.zeros((rows, _BLOCK))
    blocks.reshape(-1)[: len(values)] = values
    ages = np.arange(_BLOCK)
    sums: Floats = blocks @ np.triu(decay ** np.maximum(ages[None, :] - ages[:, None], 0))
    if rows > 1:
        ends = _decayed_sums(sums[:-1, -1], decay**_BLOCK)
        sums[1:] += ends[:, None] * decay ** (ages + 1)
    return sums.reshape(-1)[: len(values)]


def envelope(x: Floats, y: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """Keep of a long curve what can be seen: in each of many columns its lowest and its highest point.

    Args:
        x: ``(n,) float64``, ascending.
        y: ``(n,) float64``, finite.
        columns: How many columns, each of the same number of points.

    Returns:
        The points that remain, at most ``2 * columns + 4``, in their order, the first and the last among them;
        all of them, if there are no more than four for each column.
    """
    count = len(y)
    if count <= 4 * columns:
        return x, y
    width = -(-count // columns)
    whole = count - count % width
    starts = np.arange(0, whole, width)
    table = y[:whole].reshape(-1, width)
    ends = [0, count - 1]
    if whole < count:
        ends += [whole + int(y[whole:].argmin()), whole + int(y[whole:].argmax())]
    kept = np.unique(np.concatenate([starts + table.argmin(axis=1), starts + table.argmax(axis=1), ends]))
    return x[kept], y[kept]
