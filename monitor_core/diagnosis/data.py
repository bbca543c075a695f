"""What a sample of data is like: its scale, its classes, its order, what it shares with the validation data.

Contract. Works on host arrays, never draws from an iterator, and looks at `ROWS` rows of inputs at most, evenly spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

ROWS = 20_000
"""How many rows are looked at, at most."""
LABELS = 1_000_000
"""How many rows of targets are looked at, at most."""
CLASSES = 1_000
"""How many classes integer targets may have, at most; with more they count as numbers."""
_VALUES = 2_000_000
"""How many numbers are looked at, at most: of images, fewer rows."""

Kind = Literal["integer", "one_hot", "shares", "real"]
"""Of targets: class numbers (also as floats), rows with a single 1, rows that sum to 1, other numbers."""


@attrs.frozen(kw_only=True)
class ArraySummary:
    """An array of samples.

    Attributes:
        shape: The shape of a sample.
        dtype: NumPy's name of its type.
        least, most, mean, std: Of all its finite values.
        not_finite: The share of values that are NaN or infinite.
        constant: The share of features (places in a sample) that have one value in all rows.
        widest: The largest standard deviation of a feature; of images, of all values.
        narrowest: The smallest one of a feature that is not constant.
        farthest: The largest mean of a feature, by magnitude.
    """

    shape: tuple[int, ...] = attrs.field(converter=tuple)
    dtype: str
    least: float
    most: float
    mean: float
    std: float
    not_finite: float
    constant: float
    widest: float
    narrowest: float
    farthest: float


@attrs.frozen(kw_only=True)
class DataSummary:
    """A sample of data.

    Attributes:
        rows: How many rows the data has.
        x: The inputs; None if they are several arrays, or not numbers.
        y: The targets; None if there are none, or several arrays.
        kind: What the targets are, None without them.
        width: How many numbers the targets of one row have.
        classes: For targets that are classes, how many rows each class has, by its number; of integers of one value a
            row, and of one-hot rows.
        entropy: The labels' entropy in nats: the cross-entropy of the best constant answer; None without classes.
        variance: The targets' variance, the mean over their columns: the squared error of the best constant answer.
        deviation: The same for the absolute error.
        outliers: The largest distance of a target from the median, in median absolute deviations; 0 without them.
        is_sorted: Whether the rows stand class by class.
        leak: The feature that gives the target away, by its number, None if there is none.
        leak_strength: The share of the target that this feature explains.
        shared: For validation data, the share of its rows that are in the training data; None if not looked at.
    """

    rows: int
    x: ArraySummary | None = None
    y: ArraySummary | None = None
    kind: Kind | None = None
    width: int = 1
    classes: dict[int, int] = attrs.field(factory=dict)
    entropy: float | None = None
    variance: float | None = None
    deviation: float | None = None
    outliers: float = 0.0
    is_sorted: bool = False
    leak: int | None = None
    leak_strength: float = 0.0
    shared: float | None = None

    @property
    def largest_share(self) -> float | None:
        """The share of the most frequent class, None without classes."""
        return None if not self.classes else max(self.classes.values()) / sum(self.classes.values())

    def constant_loss(self, loss: str) -> float | None:
        """Return the loss of the best constant answer, None for a loss of another kind or without targets."""
        if loss in {"categorical_crossentropy", "sparse_categorical_crossentropy", "nll"}:
            return self.entropy
        if loss == "binary_crossentropy":
            return self._binary_entropy()
        if loss == "mean_squared_error":
            return self.variance
        return self.deviation if loss == "mean_absolute_error" else None

    def _binary_entropy(self) -> float | None:
        if self.y is None or self.kind == "real" or self.y.least < 0 or self.y.most > 1:
            return None
        if self.width == 1:
            return _entropy(np.array([self.y.mean, 1 - self.y.mean]))
        shares = np.array(list(self.classes.values()), float) / max(1, sum(self.classes.values()))
        return None if not self.classes else float(np.mean([_entropy(np.array([p, 1 - p])) for p in shares]))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        values = attrs.asdict(self)
        return {**values, "classes": {str(name): count for name, count in self.classes.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataSummary:
        """Return what `to_json` returned."""
        arrays = {name: ArraySummary(**values[name]) for name in ("x", "y") if values.get(name)}
        classes = {int(name): count for name, count in values.get("classes", {}).items()}
        return cls(**{**values, **arrays, "classes": classes})


def summarize(x: Any, y: Any = None) -> DataSummary:
    """Return what data is like.

    Args:
        x: The inputs, an array with the samples along its first axis; other structures are left out.
        y: The targets, the same; None without targets.

    Raises:
        ValueError: There are no rows, or not as many targets as inputs.
    """
    inputs, targets = _as_array(x), _as_array(y)
    if inputs is None and targets is None:
        raise ValueError("data must have an array of inputs or of targets (got none)")
    rows = len(targets if inputs is None else inputs)  # type: ignore[arg-type]
    if not rows:
        raise ValueError("data must have at least one sample (got none)")
    if inputs is not None and targets is not None and len(inputs) != len(targets):
        raise ValueError(f"data must have as many targets as inputs (got {len(inputs)} and {len(targets)})")
    facts: dict[str, Any] = {"rows": rows}
    chosen = _chosen(rows, _size(inputs))
    if inputs is not None:
        facts["x"] = _summary_of(inputs[chosen])
    if targets is not None:
        facts |= _facts_of_targets(targets[_chosen(rows, _size(targets), LABELS)])
        if inputs is not None:
            facts |= _leak(inputs[chosen], targets[chosen], facts)
    return DataSummary(**facts)


def shared_rows(training: Any, validation: Any) -> float | None:
    """Return the share of the validation rows that are in the training data, None if that cannot be seen."""
    train, val = _as_array(training), _as_array(validation)
    if train is None or val is None or train.shape[1:] != val.shape[1:] or not len(val) or not len(train):
        return None
    if train[0].size < 2 or train.size + val.size > 100 * _VALUES:  # single numbers repeat by chance
        return None
    seen = {hash(row.tobytes()) for row in np.ascontiguousarray(train)}
    rows = np.ascontiguousarray(val.astype(train.dtype, copy=False))[_chosen(len(val), val[0].size)]
    return float(np.mean([hash(row.tobytes()) in seen for row in rows]))


# --- arrays --------------------------------------------------------------------------------------------------------


def _as_array(data: Any) -> NDArray[Any] | None:
    """Return data as an array of numbers with samples along its first axis, without a copy if it is one."""
    if data is None or isinstance(data, (dict, list, tuple)):
        return None
    try:
        array = np.asarray(data)
    except Exception:
        return None
    return array if array.ndim >= 1 and array.dtype.kind in "biuf" else None


def _size(inputs: NDArray[Any] | None) -> int:
    return 1 if inputs is None or not len(inputs) else max(1, inputs[0].size)


def _chosen(rows: int, size: int, limit: int = ROWS) -> NDArray[np.int64] | slice:
    """Return which rows to look at: all, or some, evenly spread."""
    most = max(1, min(limit, _VALUES // size))
    return slice(None) if rows <= most else np.linspace(0, rows - 1, most).astype(np.int64)


def _summary_of(array: NDArray[Any]) -> ArraySummary:
    values = array.astype(np.float64).reshape(len(array), -1)
    finite = np.isfinite(values)
    share = 1.0 - float(finite.mean()) if values.size else 0.0
    if share:
        values = np.where(finite, values, np.nan)
    with np.errstate(all="ignore"):
        constant = np.nanmin(values, axis=0) == np.nanmax(values, axis=0) if finite.any() else np.ones(1, bool)
        stds, means = _columns(values, finite)
    varying = stds[~constant] if len(stds) == len(constant) else stds
    known = values[finite] if share else values
    if not known.size:
        known = np.zeros(1)
    is_image = array.ndim > 2
    return ArraySummary(
        shape=array.shape[1:],
        dtype=str(array.dtype),
        least=float(known.min()),
        most=float(known.max()),
        mean=float(known.mean()),
        std=float(known.std()),
        not_finite=share,
        constant=float(constant.mean()) if len(array) > 1 else 0.0,
        widest=float(known.std()) if is_image else float(varying.max(initial=0.0)),
        narrowest=float(known.std()) if is_image else float(varying.min()) if len(varying) else 0.0,
        farthest=abs(float(known.mean())) if is_image else float(np.abs(means).max(initial=0.0)),
    )


def _columns(values: NDArray[np.float64], finite: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the standard deviation and the mean of each column that has a number."""
    some = finite.any(axis=0)
    return np.nanstd(values[:, some], axis=0), np.nanmean(values[:, some], axis=0)


# --- targets -------------------------------------------------------------------------------------------------------


def _facts_of_targets(targets: NDArray[Any]) -> dict[str, Any]:
    rows = targets.reshape(len(targets), -1).astype(np.float64)
    finite = rows[np.isfinite(rows).all(axis=1)]
    facts: dict[str, Any] = {"y": _summary_of(targets), "width": rows.shape[1]}
    if not len(finite):
        return facts | {"kind": "real"}
    kind = facts["kind"] = _kind_of(finite)
    facts["variance"] = float(finite.var(axis=0).mean())
    facts["deviation"] = float(np.abs(finite - np.median(finite, axis=0)).mean())
    if kind == "real":
        facts["outliers"] = _outliers(finite)
    labels = _labels(finite, kind)
    if labels is not None:
        names, counts = np.unique(labels, return_counts=True)
        facts["classes"] = dict(zip(names.astype(int).tolist(), counts.tolist(), strict=True))
        facts["entropy"] = _entropy(counts / counts.sum())
        facts["is_sorted"] = _is_sorted(labels, len(names))
    elif kind == "shares":
        facts["entropy"] = _entropy(finite.mean(axis=0))
    return facts


def _kind_of(rows: NDArray[np.float64]) -> Kind:
    if rows.shape[1] > 1 and rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        return "one_hot" if ((rows == 0) | (rows == 1)).all() else "shares"
    if (rows == np.round(rows)).all() and len(np.unique(rows)) <= min(CLASSES, max(2, len(rows) // 2)):
        return "integer"
    return "real"


def _labels(rows: NDArray[np.float64], kind: Kind) -> NDArray[Any] | None:
    if kind == "one_hot":
        return np.asarray(rows.argmax(axis=1))
    return rows[:, 0] if kind == "integer" and rows.shape[1] == 1 else None


def _entropy(shares: NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum()) + 0.0


def _outliers(rows: NDArray[np.float64]) -> float:
    distance = np.abs(rows - np.median(rows, axis=0))
    scale = np.median(distance, axis=0)
    wide = scale > 0
    return float((distance[:, wide].max(axis=0) / scale[wide]).max()) if wide.any() else 0.0


def _is_sorted(labels: NDArray[Any], classes: int) -> bool:
    """Return whether the rows stand class by class: one change of class for each class but the first."""
    return classes > 1 and len(labels) >= 10 * classes and int((np.diff(labels) != 0).sum()) == classes - 1


# --- a feature that gives the target away --------------------------------------------------------------------------


def _leak(inputs: NDArray[Any], targets: NDArray[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the single feature that determines the target, if there are several features of which one does."""
    if inputs.ndim != 2 or not 2 <= inputs.shape[1] <= 2_000 or len(inputs) < 50 or targets.reshape(-1).size == 0:
        return {}
    target = targets.reshape(len(targets), -1).astype(np.float64)
    number = target.argmax(axis=1).astype(np.float64) if facts["kind"] == "one_hot" else target[:, 0]
    if facts["kind"] not in {"one_hot", "integer", "real"} or (target.shape[1] > 1 and facts["kind"] != "one_hot"):
        return {}
    if not number.std():
        return {}
    features = inputs.astype(np.float64)
    with np.errstate(all="ignore"):
        centred = features - features.mean(axis=0)
        strength = (centred * (number - number.mean())[:, None]).mean(axis=0) / (features.std(axis=0) * number.std())
    strength = np.nan_to_num(strength, nan=0.0) ** 2
    best = int(strength.argmax())
    return {"leak": best, "leak_strength": float(strength[best])} if strength[best] > 0.999 else {}
