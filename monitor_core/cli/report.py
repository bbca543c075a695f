"""``monitor-core report``: a run as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError, open_recorded
from monitor_core.cli.text import plain
from monitor_core.page.report import LEAST_POINTS, POINTS


def report(
    path: Annotated[
        Path, typer.Argument(help="A run's folder, a journal, a CSV file, a history as JSON, or event files.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; by default report.html in the run's folder, or next to a log."),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="A run to compare it with.")] = None,
    run: Annotated[int, typer.Option(help="Which of several runs in the folder, from 0, or from the last, -1.")] = -1,
    points: Annotated[
        str, typer.Option(help="How many points of a curve to keep at most, from 100 on, or 'all'; extremes are kept.")
    ] = f"{POINTS}",
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Write a run's report: one HTML file that opens anywhere, offline."""
    most = _most(points)
    recorded = open_recorded(path, run)
    other = None if baseline is None else open_recorded(baseline)
    try:
        written = recorded.report(output, baseline=other, points=most)
    except (ImportError, ValueError) as error:
        raise UnreadableError(str(error)) from None
    if as_json:
        typer.echo(json.dumps({"report": str(written), "bytes": written.stat().st_size}))
    else:
        typer.echo(plain(f"{written}: open it in a browser, or mail it; it holds everything").plain)


def _most(points: str) -> int | None:
    if points == "all":
        return None
    if not points.isdecimal() or int(points) < LEAST_POINTS:
        raise typer.BadParameter(f"--points must be 'all' or a number from {LEAST_POINTS} on (got {points!r})")
    return int(points)
