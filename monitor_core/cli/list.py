"""``monitor-core list``: the runs in a folder, a line each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from monitor_core.cli.opening import UnreadableError
from monitor_core.cli.text import ago, console, duration, plain, print_table, status
from monitor_core.journal.summary import Summary, main_metric
from monitor_core.runs.catalogue import RUN, FoundRun, find_runs
from monitor_core.store.addresses import located
from monitor_core.values.text import format_value


class Order(StrEnum):
    """By what runs are sorted."""

    BEGUN = "begun"
    BEST = "best"
    NAME = "name"
    PARENT = "parent"


def list_runs(
    folder: Annotated[Path, typer.Argument(help="A folder with runs or logs in it or below it.")] = Path(),
    metric: Annotated[
        str | None, typer.Option(help="The metric whose best value is shown; by default val_loss.")
    ] = None,
    sort: Annotated[Order, typer.Option(help="By what to sort.")] = Order.BEGUN,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List the runs and logs in a folder, with their status and their best value."""
    folder = located(folder)
    try:
        found = find_runs(folder)
    except (ImportError, ValueError) as error:
        raise UnreadableError(str(error)) from None
    except FileNotFoundError:
        raise UnreadableError(f"there is no folder {folder}") from None
    except NotADirectoryError:
        raise UnreadableError(f"{folder} is not a folder: monitor-core show {folder}") from None
    runs = _sorted(found, sort, metric)
    if as_json:
        for run in runs:
            typer.echo(json.dumps(_as_json(run, folder)))
        return
    unread = [f"{path} cannot be read: {reason}" for path, reason in found.unread.items()]
    if not runs:
        raise UnreadableError("; ".join([f"there is no recorded run and no log in {folder} or below it", *unread]))
    _print(runs, folder, metric)
    for line in unread:
        console().print(plain(line), soft_wrap=True)


def _print(runs: list[FoundRun], folder: Path, metric: str | None) -> None:
    headers = ["run", "status", "epochs", "steps", "best", "", "begun", "took"]
    rows = [_row(run, folder, metric) for run in runs]
    if any(run.summary.parent for run in runs):
        headers.append("parent")
        names = {run.summary.id: run.name_in(folder) for run in runs}
        rows = [[*row, _parent(run.summary.parent, names)] for row, run in zip(rows, runs, strict=True)]
    print_table(console(), headers, rows, right=(2, 3, 5))
    for run in runs:
        if run.problem is not None:
            how = "cannot be" if run.kind == RUN else "is not"
            console().print(plain(f"{run.name_in(folder)} {how} read: {run.problem}"), soft_wrap=True)


def _row(run: FoundRun, folder: Path, metric: str | None) -> list[Text | str]:
    summary = run.summary
    begun = ago(run.time) if run.kind == RUN or summary.begun else f"written {ago(run.time)}"
    how = _status(run)
    if run.problem is not None:
        return [run.name_in(folder), how, *[""] * 4, begun, ""]
    best = _best(summary, metric)
    epochs = f"{summary.epochs}" if summary.planned_epochs is None else f"{summary.epochs}/{summary.planned_epochs}"
    shown = ("", "") if best is None else (best[0], format_value(best[1]))
    return [
        run.name_in(folder),
        how,
        epochs,
        f"{summary.step}" if run.kind == RUN or summary.step else "",
        *shown,
        begun,
        duration(summary.seconds) if summary.begun else "",
    ]


def _parent(parent: str | None, names: Mapping[str, str]) -> str:
    """Return the parent run's path if it is in the list, else its id or name."""
    return "" if parent is None else names.get(parent, parent)


def _status(run: FoundRun) -> Text | str:
    return status(run.status) if run.kind == RUN else f"{run.status}, {run.kind}"


def _best(summary: Summary, metric: str | None) -> tuple[str, float] | None:
    if metric is not None:
        if metric in summary.best:
            return metric, summary.best[metric].value
        return (metric, summary.last[metric]) if metric in summary.last else None
    found = main_metric(summary)
    return None if found is None else (found[0], found[1].value)


def _sorted(runs: list[FoundRun], order: Order, metric: str | None) -> list[FoundRun]:
    if order is Order.NAME:
        return sorted(runs, key=lambda run: str(run.path))
    if order is Order.BEST:
        return sorted(runs, key=lambda run: _rank(run.summary, metric))
    return _grouped(runs) if order is Order.PARENT else runs


def _grouped(runs: list[FoundRun]) -> list[FoundRun]:
    """Return the runs, in the order in which they began, with those of each parent together, after the parent."""
    groups: dict[str, list[FoundRun]] = {}
    for run in runs:
        groups.setdefault(run.summary.parent or run.summary.id or str(run.path), []).append(run)
    return [run for group in groups.values() for run in sorted(group, key=lambda run: bool(run.summary.parent))]


def _rank(summary: Summary, metric: str | None) -> tuple[int, float]:
    """Return what runs are sorted by: those whose value is NaN come after numbers, and those without one last."""
    best = _best(summary, metric)
    if best is None:
        return 2, 0.0
    name, value = best
    if math.isnan(value):
        return 1, 0.0
    is_max = name in summary.best and summary.best[name].mode == "max"
    return 0, -value if is_max else value


def _as_json(run: FoundRun, folder: Path) -> dict[str, object]:
    return {
        "path": str(run.path),
        "kind": run.kind,
        "problem": run.problem,
        **json.loads(run.summary.to_json()),
        "status": run.summary.status,
    }
