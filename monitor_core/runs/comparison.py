"""Several recorded runs next to each other: aligned curves, what differs in configuration and results, ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from os import PathLike
from os import path as paths
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import attrs
import numpy as np

from monitor_core.files.state import finite_or_name, finite_or_names
from monitor_core.journal.recorded import RecordedRun, open_run
from monitor_core.journal.run_records import RunRecord
from monitor_core.journal.summary import PREFERRED, BestValue, Summary, main_metric, summary_of
from monitor_core.metrics.decisions import Best, Mode
from monitor_core.metrics.monitor import AnyMode
from monitor_core.metrics.names import find_metric, known_name
from monitor_core.records.frames import frame, with_labels
from monitor_core.runs.catalogue import run_paths
from monitor_core.runs.curves import By, Curve, Floats, RunCurves, direction_of
from monitor_core.values.html import card, sparkline, table
from monitor_core.values.text import format_value

if TYPE_CHECKING:
    import pandas as pd

Source = RecordedRun | str | PathLike[str]


@attrs.frozen(eq=False)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: Its name among them.
        path: What was opened.
        record: Its record.
        summary: Its summary, with all metrics.
        curves: Its curves.
    """

    name: str
    path: Path
    record: RunRecord = attrs.field(repr=False)
    summary: Summary = attrs.field(repr=False)
    curves: RunCurves = attrs.field(repr=False)


@attrs.frozen(eq=False)
class AlignedCurves:
    """A metric's curves over common places.

    Attributes:
        metric: The metric.
        by: What the places are.
        x: The places where a run has a value, ascending, ``(n,) float64``.
        values: Each run's values there, ``(n,) float64``, NaN where it has none; runs without the metric are left out.
    """

    metric: str
    by: By
    x: Floats
    values: dict[str, Floats]

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas frame with the places as its index and a column for each run.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(self.values, index=pd.Index(self.x, name=self.by))


@attrs.frozen
class Ranked:
    """A run's place by a metric.

    Attributes:
        rank: The place, from 1; equal values share it.
        run: The run's name.
        best: The best value, with its epoch and step.
        last: The last value.
    """

    rank: int
    run: str
    best: BestValue
    last: float


@attrs.frozen(eq=False)
class Comparison:
    """What `compare` returns.

    Attributes:
        runs: The runs, by name, in the order in which they were given.
    """

    runs: dict[str, ComparedRun]

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.runs)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the runs by the main metric, their curves, and what differs."""
        try:
            metric = self.main_metric()
        except KeyError:
            return card("Comparison", [f"{len(self.runs)} runs without a metric whose direction is known"])
        ranks = self.ranks(metric)
        rows = [
            (each.rank, each.run, self.runs[each.run].summary.status, format_value(each.best.value),
             format_value(each.last))
            for each in ranks
        ]  # fmt: skip
        curves = {each.run: self.runs[each.run].curves.curve(metric) for each in ranks[:4]}
        svg = sparkline({name: (each.x + 1, each.y) for name, each in curves.items() if len(each)})
        differences = self.differences() if len(self.runs) > 1 else {}
        settings = [(name, *(values.get(run, "") for run in self.runs)) for name, values in differences.items()]
        pieces = [svg, table(("", "run", "status", f"best {metric}", "last"), rows, right=(0, 3, 4))]
        return card("Comparison", [], *pieces, *([table(("setting", *self.runs), settings)] if settings else []))

    @property
    def metrics(self) -> list[str]:
        """The metrics that any of the runs has."""
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.curves.names))

    def main_metric(self) -> str:
        """Return the metric by which the runs are known: ``val_loss`` if one has it, else another whose way is known.

        Raises:
            KeyError: None of them has a metric whose direction is known.
        """
        found = [name for run in self.runs.values() if (name := main_metric(run.summary)) is not None]
        if not found:
            raise KeyError(f"the runs have no metric whose direction is known; they have {self.metrics or 'none'}")
        names = [name for name, _ in found]
        return next((name for name in PREFERRED if name in names), names[0])

    def curves(self, metric: str | None = None, *, by: By = "epoch") -> AlignedCurves:
        """Return a metric's curves over common places.

        Args:
            metric: The metric; None: the `main_metric`.
            by: ``"epoch"`` (from 0), ``"step"``, or ``"time"``, in seconds since each run began. By step and time,
                evaluations within epochs are points too. Nothing is interpolated.

        Raises:
            KeyError: None of the runs has the metric; the message lists the names.
            ValueError: ``by`` is none of these.
        """
        if by not in get_args(By):
            raise ValueError(f"by must be 'epoch', 'step' or 'time' (got {by!r})")
        metric = self._known(metric)
        curves = {name: run.curves.curve(metric, by) for name, run in self.runs.items()}
        curves = {name: curve for name, curve in curves.items() if len(curve)}
        x = np.unique(np.concatenate([np.empty(0), *(curve.x for curve in curves.values())]))
        return AlignedCurves(metric, by, x, {name: _at(x, curve) for name, curve in curves.items()})

    def ranks(self, metric: str | None = None, *, mode: AnyMode = "auto") -> list[Ranked]:
        """Return the runs by their best value of a metric, the best first; runs without one are left out.

        Args:
            metric: The metric; None: the `main_metric`.
            mode: Which way it improves: ``"min"``, ``"max"``, or ``"auto"``, as for `EarlyStopping`.

        Raises:
            KeyError: None of the runs has the metric; the message lists the names.
            SetupError: The mode is ``"auto"``, and the direction is not known.
        """
        metric = self._known(metric)
        way = self.direction(metric, mode=mode)
        found = [(run, best) for run in self.runs.values() if (best := _best(run, metric, way)) is not None]
        found.sort(key=lambda each: each[1].value if way == "min" else -each[1].value)
        values = [best.value for _, best in found]
        return [Ranked(values.index(best.value) + 1, run.name, best, _last(run, metric)) for run, best in found]

    def direction(self, metric: str, *, mode: AnyMode = "auto") -> Mode:
        """Return which way a metric improves; see `ranks`."""
        return direction_of(metric, mode, [run.record for run in self.runs.values()], "compare")

    def differences(self) -> dict[str, dict[str, Any]]:
        """Return what differs in configuration: for each setting, each run's value; a run that lacks it is left out.

        Settings within settings have names with a slash, such as ``optimizer/rate``.
        """
        settings = {name: _flat(run.summary.config) for name, run in self.runs.items()}
        names = dict.fromkeys(each for own in settings.values() for each in own)
        by_name = {each: {run: own[each] for run, own in settings.items() if each in own} for each in names}
        return {
            name: values
            for name, values in by_name.items()
            if len(values) < len(self.runs) or len({repr(each) for each in values.values()}) > 1
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas frame with a row for each run.

        Its columns are ``run``, ``status``, ``epochs``, ``steps``, ``seconds`` and ``git_commit``, then the settings as
        ``config/<name>``, and each metric's last and best value as ``last/<metric>`` and ``best/<metric>``.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = [_row(run) for run in self.runs.values()]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: np.array([row.get(name) for row in rows], object) for name in names}
        return frame({}, columns).infer_objects()

    def to_json(self, metric: str | None = None, *, by: By = "epoch", mode: AnyMode = "auto") -> dict[str, Any]:
        """Return the comparison as JSON values; see `curves` and `ranks`."""
        curves = self.curves(metric, by=by)
        return {
            "metric": curves.metric,
            "mode": self.direction(curves.metric, mode=mode),
            "ranks": [
                {"rank": each.rank, "run": each.run, "best": finite_or_name(each.best.value), "epoch": each.best.epoch,
                 "step": each.best.step, "last": finite_or_name(each.last)}
                for each in self.ranks(curves.metric, mode=mode)
            ],
            "runs": {name: finite_or_names(_row(run)) for name, run in self.runs.items()},
            "differences": finite_or_names(self.differences()),
            "curves": with_labels(
                {by: curves.x.tolist()},
                {name: [None if math.isnan(each) else finite_or_name(each) for each in values.tolist()]
                 for name, values in curves.values.items()},
                "runs",
            ),
        }  # fmt: skip

    def _known(self, metric: str | None) -> str:
        return self.main_metric() if metric is None else known_name(metric, self.metrics, "one of the runs")


def compare(runs: Mapping[str, Source] | Iterable[Source]) -> Comparison:
    """Compare recorded runs.

    Args:
        runs: Recorded runs, or paths that `open_run` opens, as a list or as a mapping from names to them. A folder
            without a record stands for the runs in it and below it. Of a path that holds several runs, the last one.

    Raises:
        FileNotFoundError: There is no such path, or no record in it.
        TypeError: ``runs`` is a single run.
        ValueError: There is no run, or a file is not a training's log.

    Example:
        >>> comparison = compare(["runs/a", "runs/b"])
        >>> [(each.rank, each.run) for each in comparison.ranks("val_loss")]
        [(1, 'b'), (2, 'a')]
    """
    if isinstance(runs, (str, PathLike, RecordedRun)):
        raise TypeError(f"runs must be a list of runs or paths, or a mapping from names to them (got {runs!r})")
    named = dict(runs) if isinstance(runs, Mapping) else _named(list(runs))
    if not named:
        raise ValueError("runs must hold at least one run (got none)")
    return Comparison({name: _compared(name, each) for name, each in named.items()})


def _compared(name: str, source: Source) -> ComparedRun:
    recorded = source if isinstance(source, RecordedRun) else open_run(source)
    if not recorded.runs:
        why = f": {recorded.damage[0].reason}" if recorded.damage else ""
        raise ValueError(f"{name} holds no run that can be read{why}")
    run = recorded.last
    return ComparedRun(name, recorded.path, run, summary_of(run), RunCurves(run))


def _named(runs: list[Source]) -> dict[str, Source]:
    """Return the runs by names that tell them apart: the parts of their paths that differ."""
    found: list[Source] = []
    for each in runs:
        found += [each] if isinstance(each, RecordedRun) else run_paths([each])
    places = [Path(each.path if isinstance(each, RecordedRun) else each).absolute() for each in found]
    root = Path(paths.commonpath([str(place.parent) for place in places])) if places else Path()
    named: dict[str, Source] = {}
    for place, each in zip(places, found, strict=True):
        name = place.relative_to(root).as_posix()
        while name in named:
            name += "'"
        named[name] = each
    return named


def _at(x: Floats, curve: Curve) -> Floats:
    values = np.full(len(x), np.nan)
    values[np.searchsorted(x, curve.x)] = curve.y
    return values


def _best(run: ComparedRun, metric: str, mode: Mode) -> BestValue | None:
    found = find_metric(metric, run.curves.names)
    if found is None:
        return None
    if (known := run.summary.best.get(found)) is not None and known.mode == mode:
        return known
    curve, steps, best = run.curves.curve(found, "epoch"), run.curves.curve(found, "step"), Best(mode)
    places = steps if len(steps) > len(curve) or not len(curve) else curve
    at = [place for place, value in enumerate(places.y.tolist()) if best.update(value)]
    if not at:
        return None
    where = at[-1]
    epoch = int(curve.x[where]) if places is curve else -1
    return BestValue(float(places.y[where]), epoch, int(steps.x[min(where, len(steps) - 1)]), mode)


def _last(run: ComparedRun, metric: str) -> float:
    values = run.curves.curve(metric, "step").y
    return float(values[-1]) if len(values) else math.nan


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _row(run: ComparedRun) -> dict[str, Any]:
    summary = run.summary
    return {
        "run": run.name,
        "status": summary.status,
        "epochs": summary.epochs,
        "steps": summary.step,
        "seconds": summary.seconds if summary.begun else None,
        "git_commit": summary.git_commit,
        **{f"config/{name}": value for name, value in _flat(summary.config).items()},
        **{f"last/{name}": value for name, value in summary.last.items()},
        **{f"best/{name}": best.value for name, best in summary.best.items()},
    }
