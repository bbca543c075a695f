"""``monitor-core compare``: several runs next to each other."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from monitor_core.cli.curves import curve
from monitor_core.cli.opening import Direction, readable
from monitor_core.cli.text import console, plain, print_table, status
from monitor_core.runs.comparison import AlignedCurves, Comparison, Ranked, compare
from monitor_core.runs.curves import By
from monitor_core.values.text import format_value

_CURVES = 4
"""How many curves a plot can show apart."""


class Place(StrEnum):
    """Over what curves are drawn."""

    EPOCH = "epoch"
    STEP = "step"
    TIME = "time"


def compare_runs(
    paths: Annotated[list[Path], typer.Argument(help="Runs, or folders with runs in them.")],
    metric: Annotated[str | None, typer.Option(help="The metric to compare; by default val_loss.")] = None,
    by: Annotated[Place, typer.Option(help="Over what to draw the curves.")] = Place.EPOCH,
    mode: Annotated[Direction, typer.Option(help="Which way the metric improves.")] = Direction.AUTO,
    curves: Annotated[bool, typer.Option(help="Draw curves, those of the best four runs.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Compare runs: ranks by a metric, what differs in their configuration, and their curves."""
    place: By = by.value
    with readable():
        comparison = compare(paths)
        if as_json:
            typer.echo(json.dumps(comparison.to_json(metric, by=place, mode=mode.value)))
            return
        aligned = comparison.curves(metric, by=place)
        ranks = comparison.ranks(aligned.metric, mode=mode.value)
    out = console()
    _print_ranks(out, comparison, aligned.metric, ranks)
    _print_differences(out, comparison, ranks)
    if curves:
        _print_curves(out, comparison, aligned, ranks)


def _print_ranks(out: Console, comparison: Comparison, metric: str, ranks: list[Ranked]) -> None:
    rows = []
    for each in ranks:
        summary = comparison.runs[each.run].summary
        where = f"{each.best.epoch + 1}" if each.best.epoch >= 0 else ""
        shown = (format_value(each.best.value), where, format_value(each.last))
        gap = format_value(each.best.value - ranks[0].best.value) if each.rank > 1 else ""
        rows.append((f"{each.rank}", each.run, status(summary.status), f"{summary.epochs}", *shown, gap))
    headers = ("", "run", "status", "epochs", metric, "in epoch", "last", "to the best")
    print_table(out, headers, rows, right=(0, 3, 4, 5, 6, 7))
    left_out = [name for name in comparison.runs if name not in {each.run for each in ranks}]
    if left_out:
        out.print(plain(f"without {metric}: {', '.join(left_out)}"), soft_wrap=True)


def _print_differences(out: Console, comparison: Comparison, ranks: list[Ranked]) -> None:
    differences = comparison.differences()
    if not differences or len(comparison.runs) < 2:
        return
    order = [each.run for each in ranks]
    order += [name for name in comparison.runs if name not in order]
    out.print()
    rows = [(name, *(_shown(differences[name].get(run)) for run in order)) for name in differences]
    print_table(out, ("setting", *order), rows)


def _shown(value: object) -> str:
    return "" if value is None else f"{value}"


def _print_curves(out: Console, comparison: Comparison, aligned: AlignedCurves, ranks: list[Ranked]) -> None:
    best = [each.run for each in ranks if each.run in aligned.values][:_CURVES]
    shift = 1.0 if aligned.by == "epoch" else 0.0  # as people count
    lines = {}
    for name in best:
        points = comparison.runs[name].curves.curve(aligned.metric, aligned.by)
        if np.isfinite(points.y).any():
            lines[name] = (points.x + shift, points.y)
    if lines and len(aligned.x) > 1:
        out.print()
        unit = "seconds" if aligned.by == "time" else aligned.by
        for line in curve(lines, width=min(out.width, 100), unit=unit):
            out.print(line, soft_wrap=True)
