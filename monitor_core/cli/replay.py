"""``monitor-core replay``: what a sink would have decided about a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import monitor_core
from monitor_core.cli.opening import readable, used_well
from monitor_core.cli.text import console, plain, print_table
from monitor_core.journal.recorded import open_run
from monitor_core.runs.decided import Decided, decide
from monitor_core.values.text import format_value

SINKS = ("EarlyStopping", "ReduceLROnPlateau", "TerminateOnNaN")


def replay_run(
    path: Annotated[Path, typer.Argument(help="A run's folder, a CSV file, a history as JSON, or event files.")],
    patience: Annotated[list[int] | None, typer.Option(help="A patience to try; may be repeated.")] = None,
    sink: Annotated[str, typer.Option(help=f"The sink: {', '.join(SINKS)}.")] = "EarlyStopping",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="An argument of the sink, such as min_delta=0.01; may be repeated."),
    ] = None,
    run: Annotated[int, typer.Option(help="Which of several runs in the folder, from 0, or from the last, -1.")] = -1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Say what a sink would have decided about a run: another patience, another rule; without training."""
    if sink not in SINKS:
        raise typer.BadParameter(f"sink must be one of {', '.join(SINKS)} (got {sink!r})")
    with used_well():
        options = dict(map(_parsed, setting or []))
        tries = [{**options, "patience": each} for each in patience or []] or [options]
        sinks = [getattr(monitor_core, sink)(**each) for each in tries]
    with readable():
        recorded = open_run(path, run=run)
        decided = [decide(recorded, each) for each in sinks]
    if as_json:
        typer.echo(json.dumps([
            {"options": each, **one.to_json()} for each, one in zip(tries, decided, strict=True)
        ]))  # fmt: skip
        return
    out = console()
    rows = [(_named(each), *_row(one)) for each, one in zip(tries, decided, strict=True)]
    metric = next((each.metric for each in decided if each.metric), "")
    print_table(out, (sink, "stops in epoch", "saves epochs", f"best {metric}", "in epoch"), rows, right=(1, 2, 3, 4))
    for each, one in zip(tries, decided, strict=True):
        for line in _sentences(one):
            out.print(plain(f"{_named(each)}: {line}"), soft_wrap=True)


def _parsed(setting: str) -> tuple[str, Any]:
    """Return an argument's name and value; a value that is not JSON is a string."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ValueError(f"--set must be an argument of the sink and its value, as name=value (got {setting!r})")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _named(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "defaults"


def _row(one: Decided) -> tuple[str, str, str, str]:
    stops = "" if one.reason is None else f"{one.epoch + 1}"
    best = ("", "") if one.best is None else (format_value(one.best), f"{(one.best_epoch or 0) + 1}")
    return stops, f"{one.saved_epochs}", *best


def _sentences(one: Decided) -> list[str]:
    lines = [] if one.reason is None else [one.reason]
    return lines + [f"the learning rate is {rate:g} in epoch {epoch + 1}" for epoch, rate in one.rates]
