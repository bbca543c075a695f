"""``monitor-core show``: one run, in sentences, numbers and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from monitor_core.cli.curves import curve
from monitor_core.cli.opening import Opened, open_path
from monitor_core.cli.text import LONGEST, console, duration, plain, print_table
from monitor_core.files.state import finite_or_name
from monitor_core.journal.facts import Found, SinkFailure
from monitor_core.journal.summary import main_metric
from monitor_core.records.frames import with_labels
from monitor_core.values.text import counted, format_value, shortened

_CURVES = 2


def show(
    path: Annotated[
        Path, typer.Argument(help="A run's folder, a journal, a CSV file, a history as JSON, or event files.")
    ],
    metric: Annotated[list[str] | None, typer.Option(help="A metric whose curve to draw; may be repeated.")] = None,
    run: Annotated[int, typer.Option(help="Which of several runs in the folder, from 0, or from the last, -1.")] = -1,
    curves: Annotated[bool, typer.Option(help="Draw curves.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Show a run: how it ended, its metrics, what was decided, and its curves."""
    opened = open_path(path, run)
    if as_json:
        typer.echo(json.dumps(_as_json(opened)))
        return
    out = console()
    for sentence in sentences(opened):
        out.print(plain(sentence), soft_wrap=True)
    print_metrics(out, opened)
    if curves and len(opened.numbers) > 1:
        print_curves(out, opened, metric)
    _print_notes(out, opened)


def sentences(opened: Opened) -> Iterator[str]:
    """Yield what there is to say about a run."""
    summary = opened.summary
    planned = summary.planned_epochs
    took = f", {duration(summary.seconds)}" if summary.begun else ""
    steps = f", {counted(summary.step, 'step')}" if summary.step else ""
    epochs = counted(summary.epochs, "epoch") if planned is None else f"{summary.epochs} of {counted(planned, 'epoch')}"
    how = {"unknown": "recorded", "killed": "killed after", "running": "running,"}
    lead = how.get(summary.status, f"{summary.status} after")
    yield f"{opened.path}: {lead} {epochs}{steps}{took}"
    if summary.stop_reason:
        yield f"  {summary.stop_reason}"
    if summary.error:
        yield f"  {summary.error}"
    if summary.parent:
        yield f"  part of {summary.parent}"
    if (found := main_metric(summary)) is not None:
        name, best = found
        where = f"at step {best.step}" if opened.unit == "step" else f"in epoch {best.epoch + 1}"
        yield f"  best {shortened(name, LONGEST)} {format_value(best.value)} {where}"
    if opened.runs > 1:
        which = "the last" if opened.run == opened.runs - 1 else f"run {opened.run}, counted from 0,"
        yield f"  {which} of {opened.runs} runs here; --run picks another"


def print_metrics(out: Console, opened: Opened) -> None:
    """Print each metric's last and best value."""
    summary = opened.summary
    rows = []
    for name, last in summary.last.items():
        best = summary.best.get(name)
        where = "" if best is None else f"{best.step if opened.unit == 'step' else best.epoch + 1}"
        rows.append((name, format_value(last), "" if best is None else format_value(best.value), where))
    if rows:
        out.print()
        header = "at step" if opened.unit == "step" else "in epoch"
        print_table(out, ("metric", "last", "best", header), rows, right=(1, 2, 3))


def print_curves(out: Console, opened: Opened, metrics: list[str] | None) -> None:
    """Print curves over epochs, training and validation of a metric together."""
    for name in metrics or _main_curves(opened):
        values = opened.columns.get(name)
        if values is None or not np.isfinite(values).any():
            out.print(plain(f"no curve of {name!r}: the metrics are {_listed(opened.columns)}"), soft_wrap=True)
            continue
        names = [name, f"val_{name}"] if metrics is None and f"val_{name}" in opened.columns else [name]
        out.print()
        for line in curve({each: opened.points(each) for each in names}, width=min(out.width, 100), unit=opened.unit):
            out.print(line, soft_wrap=True)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(shortened(each, LONGEST) for each in names)


def _main_curves(opened: Opened) -> list[str]:
    names = [
        name
        for name in opened.columns
        if not name.startswith("val_") or name.removeprefix("val_") not in opened.columns
    ]
    return sorted(names, key=lambda name: name != "loss")[:_CURVES]


def _print_notes(out: Console, opened: Opened) -> None:
    record = opened.record
    findings = record.facts(Found)
    failures = record.facts(SinkFailure)
    notes = [f"{fact.severity}: {fact.message} {fact.advice}" for fact in findings]
    notes += [f"epoch {fact.epoch + 1}: {fact.reason}" for fact in record.decisions]
    if failures:
        notes.append(f"{len(failures)} failures of sinks, the first of {failures[0].sink}: {failures[0].error}")
    notes += [f"damaged: {each}" for each in opened.damage]
    if record.log is not None and record.log.texts:
        notes.append(f"left out, as they have no numbers: {_listed(record.log.texts)}")
    notes += [f"{name}: {value}" for name, value in opened.summary.config.items()]
    if record.begin is not None and record.begin.job:
        notes.append(", ".join(f"{name} {each}" for name, each in record.begin.job.items()))
    if opened.summary.git_commit:
        notes.append(f"commit {opened.summary.git_commit}")
    if notes:
        out.print()
    for note in notes:
        out.print(plain(note), soft_wrap=True)


def _as_json(opened: Opened) -> dict[str, object]:
    def listed(values: NDArray[np.float64]) -> list[object]:
        return [None if math.isnan(each) else finite_or_name(each) for each in values.tolist()]

    first = 1 if opened.unit == "epoch" else 0  # epochs are counted from 0 in data
    return {
        "path": str(opened.path),
        **json.loads(opened.summary.to_json()),
        "curves": with_labels(
            {opened.unit: [int(each) - first for each in opened.numbers.tolist()]},
            {name: listed(values) for name, values in opened.columns.items()},
        ),
        "damage": [each.reason for each in opened.damage],
    }
