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
from monitor_core.files.requests import Request, answer_to, asker, listens, send, withdraw
from monitor_core.journal import provenance
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
    if summary.status != "running":
        raise UnreadableError(f"{path} is not running: it is {summary.status}")
    if not listens(path, summary.id):
        raise UnreadableError(f"{path} does not listen: add Control() to its sinks, or wait a second if it just began")
    with readable():
        request = Request(verb=verb.value, value=_value(verb, value), who=asker(), run=summary.id)
    send(path, request)
    answer = _wait(path, request, wait, process=summary.process)
    done, text = answer or (None, "asked, and not answered yet")
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


def _value(verb: Verb, value: str | None) -> float | str | None:
    if verb is not Verb.RATE:
        return value
    try:
        return float(value or "")
    except ValueError:
        raise UnreadableError(f"rate must be a number > 0 and finite (got {value!r})") from None


def _wait(path: Path, request: Request, seconds: float, *, process: dict[str, object]) -> tuple[bool, str] | None:
    """Return the answer; None if there is none in time. If the run dies meanwhile, the request is withdrawn."""
    deadline = time.monotonic() + seconds
    while (answer := answer_to(path, request)) is None and time.monotonic() < deadline:
        if provenance.is_alive(process) is False and withdraw(path, request):
            return False, "refused: the run has died"
        time.sleep(0.05)
    return answer
