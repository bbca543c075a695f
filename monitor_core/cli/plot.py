"""``monitor-core plot``: curves as an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError, readable
from monitor_core.cli.text import plain
from monitor_core.journal.recorded import record_of
from monitor_core.runs.comparison import compare


def plot(
    paths: Annotated[list[Path], typer.Argument(help="Runs, or folders with runs in them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The image: a name that ends in .png or .svg.")],
    metric: Annotated[list[str] | None, typer.Option(help="A metric to draw; may be repeated.")] = None,
    batches: Annotated[bool, typer.Option(help="Draw every batch instead of every epoch.")] = False,
    smoothing: Annotated[float | None, typer.Option(help="How much to smooth, from 0 up to 1.")] = None,
    title: Annotated[str | None, typer.Option(help="A title above the plot.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-f", help="Replace an image that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Draw the curves of a run, or of several next to each other, into a PNG or SVG image."""
    if output.suffix.lower() not in (".png", ".svg"):
        raise typer.BadParameter(f"output must end in .png or .svg (got {str(output)!r})")
    if output.exists() and not overwrite:
        raise UnreadableError(f"{output} is there already: pass --overwrite, or write elsewhere")
    with readable():
        from monitor_core.plotting import plot_history

        found = compare(paths).runs
        runs = {name: record_of(run.path, [run.record], ()) for name, run in found.items()}
        history = runs if len(runs) > 1 else next(iter(runs.values()))
        plot_history(history, metrics=metric, batches=batches, smoothing=smoothing, title=title, to_file=output)
    typer.echo(json.dumps({"output": str(output)}) if as_json else plain(f"drew {output}").plain)
