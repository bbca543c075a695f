"""Curves: the metrics of one or several runs, selected by name, as points. Needs only NumPy.

Non-finite values (missing in that epoch, or diverged) are skipped; their rows stay, so that a plot leaves room for
them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
import numpy as np

from monitor_core.metrics.names import find_metric, known_name
from monitor_core.plotting.curves.smoothing import Floats
from monitor_core.plotting.curves.sources import Source

# Drawing subtracts values and puts ticks of a logarithmic axis beyond them; within this limit all of that stays finite.
_LARGEST = 1e200

_SPLIT = re.compile(r"(?:(train|val)[_/])?(.+)", re.DOTALL)
# Words that mark a metric between 0 and 1, anywhere in its name: out_1_accuracy, top5_acc, auc_2.
_SHARES = frozenset(
    "acc accuracy auc auroc dice f1 fbeta iou precision recall sensitivity specificity".split()  # noqa: SIM905
)
_RATES = frozenset(("learning_rate", "lr"))
_NOTHING: Floats = np.empty(0)


@attrs.frozen(eq=False)
class Curve:
    """One metric of one run.

    Attributes:
        run: The run's label; None if there is only one run.
        name: The metric's name as recorded.
        rows: ``(n,) float64``, ascending: the epoch (from 1) or the step of every recorded row.
        x: ``(m,) float64``: the rows with a finite value.
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
        quantity = _parts(self.name)[1]
        return "accuracy" if quantity == "acc" else quantity

    @property
    def is_validation(self) -> bool:
        """Whether it was measured on validation data."""
        return _parts(self.name)[0] == "val"

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss, of the whole model or of one output."""
        return "loss" in _words(self.name)

    @property
    def is_share(self) -> bool:
        """Whether it is one of the metrics between 0 and 1, such as an accuracy."""
        return not self.is_loss and not _words(self.name).isdisjoint(_SHARES)

    @property
    def is_rate(self) -> bool:
        """Whether it is the learning rate."""
        return self.quantity in _RATES

    def best(self, mode: str) -> tuple[float, float] | None:
        """Return the first point with the lowest (``"min"``) or highest value; None if there are no points."""
        if not len(self.y):
            return None
        index = int(self.y.argmin() if mode == "min" else self.y.argmax())
        return float(self.x[index]), float(self.y[index])

    def since(self, first: float) -> Curve:
        """Return the points from this row onward."""
        kept = self.x >= first
        return attrs.evolve(self, x=self.x[kept], y=self.y[kept])

    def at(self, x: float) -> float | None:
        """Return the value of a row, None if it has none."""
        (found,) = (self.x == x).nonzero()
        return float(self.y[found[0]]) if len(found) else None


def curves_of(sources: Sequence[Source], metrics: Sequence[str] | None = None) -> list[Curve]:
    """Return the curves of runs.

    Args:
        sources: The runs.
        metrics: Names to read, in this order; ``acc`` finds ``accuracy`` and vice versa. None reads all: losses, then
            metrics between 0 and 1, then the others, then the learning rate.

    Returns:
        The curves, grouped by metric; a run that lacks a metric has no curve for it.

    Raises:
        KeyError: No run has this metric; the message lists the available names.
        TypeError: ``metrics`` is a string.
        ValueError: There is nothing to draw, or a column is not one number for each row.
    """
    names = _chosen(sources, metrics)
    found = {
        (source.label, match): source
        for name in names
        for source in sources
        if (match := find_metric(name, source.columns)) is not None
    }
    curves = [_curve(source, name) for (_, name), source in found.items()]
    if not any(len(curve.rows) for curve in curves):
        raise ValueError("history must hold at least one epoch, or batch, with a metric (got none)")
    return curves


def _curve(source: Source, name: str) -> Curve:
    values = source.values(name)
    if values.shape != source.rows.shape:
        raise ValueError(
            f"history must have a value of {name!r} in every epoch, NaN where it is missing "
            f"(got {len(values)} values of {len(source.rows)})"
        )
    drawable = abs(values) <= _LARGEST
    if drawable.all():
        return Curve(source.label, name, source.rows, source.rows, values)
    return Curve(source.label, name, source.rows, source.rows[drawable], values[drawable])


def _chosen(sources: Sequence[Source], metrics: Sequence[str] | None) -> list[str]:
    available = list(dict.fromkeys(name for source in sources for name in source.columns))
    if metrics is None:
        return _in_order(
            [name for name in available if all(each.is_drawable(name) for each in sources if name in each.columns)]
        )
    check_metrics(metrics)
    for name in metrics:
        known_name(name, available, "this history")
    return list(metrics)


def check_metrics(metrics: Sequence[str] | None) -> None:
    """Check that these can be names of metrics; None means all.

    Raises:
        TypeError: It is a string.
        ValueError: It is empty.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of names (got {metrics!r})")
    if metrics is not None and not len(metrics):
        raise ValueError(f"metrics must name at least one metric (got {metrics!r})")


def _in_order(names: list[str]) -> list[str]:
    """Return names with losses first, then shares, others, and the learning rate; validation after its training."""
    quantities = [_parts(name)[1] for name in names]

    def rank(name: str) -> tuple[int, int, bool]:
        empty = Curve(None, name, *[_NOTHING] * 3)
        kind = (empty.is_loss, empty.is_share, not empty.is_rate, True).index(True)
        return kind, quantities.index(_parts(name)[1]), empty.is_validation

    return sorted(names, key=rank)


def _parts(name: str) -> tuple[str, str]:
    match = _SPLIT.fullmatch(name)
    return (match[1] or "", match[2]) if match else ("", name)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))
