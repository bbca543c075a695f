"""``monitor-core control``: ask a running training to stop, to change its rate, to save, or to note something."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError, open_path, readable
from monitor_core.cli.text import plain
from monitor_core.files.requests import asker
from monitor_core.runs.control import NOT_ANSWERED, Pending, ask
from monitor_core.store.addresses import StorePath, located
from monitor_core.store.spool import Spool


class Verb(StrEnum):
    """What may be asked for."""

    STOP = "stop"
    RATE = "rate"
    CHECKPOINT = "checkpoint"
    NOTE = "note"


def control(
    path: Annotated[Path, typer.Argument(help="The folder of a running training with Control() among its sinks.")],
    verb: Annotated[Verb, typer.Argument(help="What to ask for.")],
    value: Annotated[str | None, typer.Argument(help="The rate; the note; or why to stop.")] = None,
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait for the answer; then the request stays.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Control a running training through its folder; it acts before its next batch, or at its epoch's end."""
    path = _on_this_machine(path)
    summary = open_path(path).summary
    if not path.is_dir():
        raise UnreadableError(f"{path} is not a run's folder")
    with readable():
        pending = ask(path, summary, verb.value, value, who=asker())
    done, text = _wait(pending, wait) or (None, NOT_ANSWERED)
    typer.echo(json.dumps({"done": done, "answer": text}) if as_json else plain(text).plain)
    if done is False:
        raise typer.Exit(1)


def _on_this_machine(path: Path) -> Path:
    """Return a run's folder; of a run in a store, the one that it is recorded in."""
    place = located(path)
    if not isinstance(place, StorePath):
        return path
    folder = Spool(place).folder
    if not folder.is_dir():
        raise UnreadableError(f"no request reaches a run through a store: ask on the machine that records to {place}")
    return folder


def _wait(pending: Pending, seconds: float) -> tuple[bool, str] | None:
    """Return the answer; None if there is none in time."""
    deadline = time.monotonic() + seconds
    while (answer := pending.answer()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer
