"""The gate: is this run worse than the ones before, by more than they differ among themselves?

Contract. Each run counts as one number: its best value of a metric, its last one, or the mean of its curve. The verdict
is that of a one-sided test of Student's t: of a single run against the prediction interval of the baselines, of several
by their pooled spread. If reruns scatter normally, at most the share ``alpha`` of them is called worse, and the change
that would have been seen nine times in ten is stated with every verdict. A run that ends in NaN or infinity, or
failed, is worse.

Source: Hahn and Meeker, Statistical Intervals, 1991, section 4.7 (prediction interval for one further value), and
Student's two-sample test with pooled variance; reruns of unchanged code have the same, which Welch's test need not use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import attrs
import numpy as np

from monitor_core.files.state import finite_or_names
from monitor_core.metrics.decisions import Mode
from monitor_core.metrics.monitor import AnyMode
from monitor_core.metrics.names import known_name
from monitor_core.runs.comparison import Comparison, Source, compare
from monitor_core.runs.curves import direction_of
from monitor_core.runs.student import critical, exceeds, shift_seen
from monitor_core.values.text import format_value

At = Literal["best", "last", "mean"]
_ULPS = 4
"""By how many units in the last place equal values' mean may differ from them."""
POWER = 0.9
"""How often the smallest change that is stated would have been seen."""


@attrs.frozen
class Verdict:
    """Whether runs are worse than their baselines.

    Attributes:
        metric: The metric.
        mode: Which way it improves: ``"min"`` or ``"max"``.
        at: Which of a run's values counts: its best, its last, or the mean of its curve.
        runs: The value of each run that was judged.
        baselines: The value of each baseline.
        alpha: The share of reruns that may be called worse.
        change: By how much the runs' mean is worse than the baselines'; negative if it is better, NaN if a run's value
            is not finite.
        limit: The change beyond which it is called worse.
        smallest_seen: The change that would have been seen nine times in ten.
        p_value: How often reruns of the baselines would be as bad; NaN if a run's value is not finite.
        is_worse: The verdict.
        failure: Which run failed, and why, None if none did: a run that failed is worse.
    """

    metric: str
    mode: Mode
    at: At
    runs: dict[str, float]
    baselines: dict[str, float]
    alpha: float
    change: float
    limit: float
    smallest_seen: float
    p_value: float
    is_worse: bool
    failure: str | None = None

    def __str__(self) -> str:
        """Return the verdict as a sentence, with the smallest change that would have been seen."""
        if self.failure is not None:
            return self.failure
        count, level = len(self.runs), _mean(self.baselines)
        what = f"the {self.at} {self.metric}" if self.at != "mean" else f"the mean {self.metric}"
        ours = f"{what} of {next(iter(self.runs)) if count == 1 else f'{count} runs'}"
        theirs = f"that of {len(self.baselines)} baselines, {format_value(level)}"
        if math.isnan(self.change):
            bad = next(name for name, value in self.runs.items() if not math.isfinite(value))
            where = "everywhere" if self.at == "mean" else "at its end"
            return f"{self.metric} of {bad} is not finite {where}; the baselines' is {format_value(level)}"
        value = format_value(_mean(self.runs))
        way = "above" if self.mode == "min" else "below"
        edge = level + (self.limit if self.mode == "min" else -self.limit)
        verdict = "is worse than" if self.is_worse else "is not worse than"
        return (
            f"{ours}, {value}, {verdict} {theirs}: worse is {way} {format_value(edge)}; "
            f"a change of {format_value(self.smallest_seen)} would have been seen {POWER:.0%} of the time"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {**finite_or_names(attrs.asdict(self)), "sentence": str(self)}


def gate(
    runs: Source | Mapping[str, Source] | Iterable[Source],
    baselines: Mapping[str, Source] | Iterable[Source],
    *,
    metric: str | None = None,
    mode: AnyMode = "auto",
    at: At = "best",
    alpha: float = 0.01,
    min_delta: float = 0.0,
) -> Verdict:
    """Say whether a run is worse than its baselines, by more than they differ among themselves.

    Args:
        runs: The run, or several runs of the same code with different seeds: five see a change half as large.
        baselines: At least two runs of the code before, with different seeds; what `compare` takes. Runs that are
            judged are left out of them; a run that is given twice counts once.
        metric: The metric; None: ``val_loss`` if there is one, else another whose direction is known.
        mode: Which way it improves: ``"min"``, ``"max"``, or ``"auto"``, as for `EarlyStopping`.
        at: Which of a run's values counts: its ``"best"``, its ``"last"``, or the ``"mean"`` of its curve over as many
            values as all runs have, which shows slower learning too.
        alpha: The share of reruns that may be called worse, in (0, 0.5).
        min_delta: Changes up to this size do not matter, whatever the spread; at least 0.

    Raises:
        FileNotFoundError: There is no such path, or no record in it.
        KeyError: A run does not have the metric, or no value of it; the message lists the names.
        SetupError: The mode is ``"auto"``, and the direction is not known.
        ValueError: There are fewer than two baselines; one of them is not finite; all are equal, so that there is no
            spread to judge by; or an argument is out of its range.

    Example:
        >>> verdict = gate("runs/new", ["runs/a", "runs/b", "runs/c"])
        >>> verdict.is_worse, str(verdict)
    """
    check_options(at, alpha, min_delta)
    judged = _once(compare(runs if _are_several(runs) else [runs]))  # type: ignore[list-item,arg-type]
    known = _once(_without(compare(baselines), judged))
    if len(known.runs) < 2:
        raise ValueError(f"baselines must hold at least 2 other runs, to know their spread (got {len(known.runs)})")
    everything = [run.record for each in (judged, known) for run in each.runs.values()]
    metric = known.main_metric() if metric is None else metric
    for run in (*judged.runs.values(), *known.runs.values()):
        known_name(metric, run.curves.names, run.name)
        if not len(run.curves.curve(metric, "step")):
            raise KeyError(f"{run.name} has no value of {metric}")
    way = direction_of(metric, mode, everything, "gate")
    ours, theirs = _values(judged, known, metric, way, at)
    bad = [name for name, value in theirs.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"baselines must be finite, and {metric} of {bad[0]} is not: leave it out")
    verdict = judge(ours, theirs, metric=metric, mode=way, at=at, alpha=alpha, min_delta=min_delta)
    failed = next((run for run in judged.runs.values() if run.summary.status == "failed"), None)
    if failed is None:
        return verdict
    why = failed.summary.stop_reason or failed.summary.error or "its record does not say why"
    return attrs.evolve(verdict, is_worse=True, failure=f"{failed.name} failed: {why}")


def judge(
    runs: Mapping[str, float],
    baselines: Mapping[str, float],
    *,
    metric: str,
    mode: Mode,
    at: At = "best",
    alpha: float = 0.01,
    min_delta: float = 0.0,
) -> Verdict:
    """Return the verdict on values; see `gate`, which takes them from records.

    Raises:
        ValueError: All values are equal, and ``min_delta`` is 0.
    """
    new, old = (np.array(list(each.values()), np.float64) for each in (runs, baselines))
    df = len(old) - 1 + (len(new) - 1 if np.isfinite(new).all() else 0)
    scale = _spread(old, new) / math.sqrt(df) * math.sqrt(1 / len(new) + 1 / len(old))
    if scale == 0.0 and min_delta == 0.0:
        raise ValueError(
            f"baselines must differ, and all have {metric} {format_value(float(old[0]))}: run them with different "
            "seeds, or pass min_delta, the smallest change that matters"
        )
    limit = max(critical(df, alpha) * scale, min_delta)
    seen = limit + (shift_seen(df, alpha, POWER) - critical(df, alpha)) * scale
    change, p_value = math.nan, math.nan
    if np.isfinite(new).all():
        change = (_average(new) - _average(old)) * (1 if mode == "min" else -1)
        p_value = exceeds(change / scale, df) if scale else float(change <= 0)
    is_worse = math.isnan(change) or change > limit
    return Verdict(
        metric, mode, at, dict(runs), dict(baselines), alpha, change, limit, seen, p_value, is_worse
    )  # fmt: skip


def check_options(at: Any, alpha: float, min_delta: float) -> None:
    """Raise a ValueError if an argument of `gate` is out of its range."""
    if at not in get_args(At):
        raise ValueError(f"at must be 'best', 'last' or 'mean' (got {at!r})")
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be > 0 and < 0.5 (got {alpha!r})")
    if not 0.0 <= min_delta < math.inf:
        raise ValueError(f"min_delta must be >= 0 and finite (got {min_delta!r})")


def _are_several(runs: object) -> bool:
    return isinstance(runs, (Mapping, list, tuple))


def _without(known: Comparison, judged: Comparison) -> Comparison:
    """Return the baselines without the runs that are judged, by their ids, or else by their records' places."""
    ids = {run.summary.id for run in judged.runs.values()} - {""}
    places = {run.path.resolve() for run in judged.runs.values()}
    kept = {
        name: run for name, run in known.runs.items() if run.summary.id not in ids and run.path.resolve() not in places
    }
    return Comparison(kept)


def _once(runs: Comparison) -> Comparison:
    """Return the runs without those that are there already: a copy counts once."""
    found: dict[object, str] = {}
    for name, run in runs.runs.items():
        found.setdefault(run.summary.id or (run.path.resolve(), run.summary.to_json()), name)
    return Comparison({name: runs.runs[name] for name in found.values()})


def _values(
    judged: Comparison, known: Comparison, metric: str, mode: Mode, at: At
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the number that each run counts as."""
    curves = [run.curves.curve(metric, "step").y for each in (judged, known) for run in each.runs.values()]
    length = min(map(len, curves))
    numbers = [_number(curve, mode, at, length) for curve in curves]
    return (
        dict(zip(judged.runs, numbers[: len(judged.runs)], strict=True)),
        dict(zip(known.runs, numbers[len(judged.runs) :], strict=True)),
    )


def _number(curve: np.ndarray[Any, np.dtype[np.float64]], mode: Mode, at: At, length: int) -> float:
    if not math.isfinite(curve[-1]) or at == "last":
        return float(curve[-1])
    if at == "mean":
        return _average(curve[:length])
    finite = curve[np.isfinite(curve)]
    return float(finite.min() if mode == "min" else finite.max())


def _spread(*groups: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the root of the sum of squares about each group's mean; values that differ by rounding alone are equal."""
    distances: list[float] = []
    for group in groups:
        level = _average(group)
        if math.isfinite(level):
            rounding = _ULPS * math.ulp(level)
            distances += [away for value in group.tolist() if abs(away := value - level) > rounding]
    return math.hypot(*distances)


def _average(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the mean, also where the sum is beyond the largest number."""
    top = float(np.abs(values).max())
    if not 0.0 < top < math.inf:
        return float(values.mean())
    unit = 2.0 ** (math.frexp(top)[1] - 1)
    return float((values / unit).mean()) * unit


def _mean(values: Mapping[str, float]) -> float:
    return _average(np.array(list(values.values()), np.float64))
