"""``monitor-core export``: a run as a file of another kind."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError, readable
from monitor_core.cli.text import plain
from monitor_core.journal.recorded import RecordedRun, open_run, record_of
from monitor_core.runs.exporting import Format, export


class Kind(StrEnum):
    """What to write."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    TENSORBOARD = "tensorboard"


def export_run(
    path: Annotated[Path, typer.Argument(help="A run's folder, a CSV file, a history as JSON, or event files.")],
    to: Annotated[Kind, typer.Option(help="What to write.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file, or for TensorBoard the folder; CSV and JSON: stdout."),
    ] = None,
    batches: Annotated[bool, typer.Option(help="Write every batch.")] = False,
    run: Annotated[
        int | None, typer.Option(help="Which of several runs, from 0, or from the last, -1; else all, in CSV the last.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Write a run as CSV, JSON, Parquet or TensorBoard's event files."""
    if output is None and to not in (Kind.CSV, Kind.JSON):
        raise typer.BadParameter(f"{to.value} cannot be printed: pass --output")
    with readable():
        recorded = open_run(path, run=run)
        if to is Kind.CSV and (count := len(recorded.runs)) > 1:  # it has no column of runs
            typer.echo(f"the last of {count} runs in {plain(path).plain}; --run picks another", err=True)
            recorded = record_of(recorded.path, [recorded.last], recorded.damage)
        if not recorded.runs:
            raise UnreadableError(f"{path} holds no run that can be read")
        if output is None:
            _print(recorded, to.value, batches=batches)
            return
        export(recorded, output, to=to.value, batches=batches)
    typer.echo(json.dumps({"output": str(output)}) if as_json else plain(f"wrote {output}").plain)


def _print(recorded: RecordedRun, to: Format, *, batches: bool) -> None:
    """Write to standard output, through a file that is complete."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "export"
        export(recorded, file, to=to, batches=batches)
        with file.open("rb") as written:
            if sys.stdout.isatty():  # which would obey escape sequences; a pipe gets the bytes as they are
                for line in written:
                    typer.echo(plain(line.decode(errors="replace").rstrip("\r\n")).plain)
                return
            shutil.copyfileobj(written, sys.stdout.buffer)
    sys.stdout.buffer.flush()
