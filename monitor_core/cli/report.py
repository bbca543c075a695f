"""``monitor-core report``: a run as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError, no_run_at
from monitor_core.cli.text import plain
from monitor_core.journal.recorded import RecordedRun, open_run


def report(
    path: Annotated[Path, typer.Argument(help="A run's folder, or one of its journals.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; by default report.html in the run's folder.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="A run to compare it with.")] = None,
    run: Annotated[int, typer.Option(help="Which of several runs in the folder, from 0, or from the last, -1.")] = -1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Write a run's report: one HTML file that opens anywhere, offline."""
    recorded = _opened(path, run)
    other = None if baseline is None else _opened(baseline, -1)
    try:
        written = recorded.report(output, baseline=other)
    except (ImportError, ValueError) as error:
        raise UnreadableError(str(error)) from None
    if as_json:
        typer.echo(json.dumps({"report": str(written), "bytes": written.stat().st_size}))
    else:
        typer.echo(plain(f"{written}: open it in a browser, or mail it; it holds everything").plain)


def _opened(path: Path, run: int) -> RecordedRun:
    try:
        return open_run(path, run=run)
    except FileNotFoundError:
        raise UnreadableError(no_run_at(path)) from None
    except (ImportError, IndexError, ValueError) as error:
        raise UnreadableError(str(error)) from None
