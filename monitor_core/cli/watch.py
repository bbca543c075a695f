"""``monitor-core watch``: follow a run until it ends, from its folder alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from monitor_core.cli.curves import curve
from monitor_core.cli.opening import Opened, open_path, readable
from monitor_core.cli.show import sentences
from monitor_core.cli.text import console, plain
from monitor_core.files.state import finite_or_name
from monitor_core.journal import provenance
from monitor_core.journal.recorded import record_state
from monitor_core.records.frames import with_labels
from monitor_core.values.text import format_value

_ENDS = ("completed", "stopped", "failed", "interrupted", "killed")


def watch(
    path: Annotated[Path, typer.Argument(help="A run's folder.")],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each epoch, for programs.")] = False,
) -> None:
    """Follow a run until it ends: curves in a terminal, a line for each epoch in a pipe."""
    out = console()
    if as_json or not out.is_terminal:
        _follow_in_lines(path, every, as_json=as_json)
    else:
        _follow_in_place(out, path, every)


def _follow_in_lines(path: Path, every: float, *, as_json: bool) -> None:
    shown, run = 0, ""
    last: dict[str, float] = {}
    for opened in _versions(path, every):
        if opened.summary.id != run:  # another run has begun in the folder
            shown, run = 0, opened.summary.id
        if 0 < shown <= len(opened.numbers) and opened.logs(shown - 1) != last:
            shown -= 1  # it was an evaluation, which has become a part of its epoch's end
        for place in range(shown, len(opened.numbers)):
            last = logs = opened.logs(place)
            place_number = int(opened.numbers[place])
            if as_json:
                values_as_json = {name: finite_or_name(value) for name, value in logs.items()}
                place_as_json = {opened.unit: place_number - (opened.unit == "epoch")}
                typer.echo(json.dumps(with_labels(place_as_json, values_as_json)))
            else:
                values = " · ".join(f"{name} {format_value(value)}" for name, value in logs.items())
                typer.echo(plain(f"{opened.unit} {place_number} · {values}").plain)
        shown = len(opened.numbers)
        if opened.summary.status in _ENDS and not as_json:
            for sentence in sentences(opened):
                typer.echo(plain(sentence).plain)


def _follow_in_place(out: Console, path: Path, every: float) -> None:
    with Live(console=out, auto_refresh=False, transient=False) as live:
        for opened in _versions(path, every):
            live.update(_screen(out, opened), refresh=True)


def _screen(out: Console, opened: Opened) -> Group:
    lines = [plain(sentence) for sentence in sentences(opened)]
    names = [name for name in opened.columns if name in ("loss", "val_loss")] or [*opened.columns][:2]
    shown = {name: opened.points(name) for name in names}
    if shown and len(opened.numbers) > 1:
        lines += curve(shown, width=min(out.width, 100), unit=opened.unit)
    values = " · ".join(f"{name} {format_value(value)}" for name, value in opened.summary.last.items())
    return Group(*lines, plain(values))


def _versions(path: Path, every: float) -> Iterator[Opened]:
    """Yield the run whenever its files have changed, and once more when it has ended."""
    known: list[tuple[str, int, int]] | None = None
    opened: Opened | None = None
    while opened is None or not _has_ended(opened):
        with readable():
            present = record_state(path)
        if opened is None or present != known or not _is_alive(opened):
            known, began = present, time.monotonic()
            opened = open_path(path)
            yield opened
            every = max(every, 5 * (time.monotonic() - began))  # a long record is read less often
        if not _has_ended(opened):
            time.sleep(every)


def _has_ended(opened: Opened) -> bool:
    return opened.record.begin is None or opened.summary.status in _ENDS  # without a begin, it is a log of others


def _is_alive(opened: Opened) -> bool:
    return provenance.is_alive(opened.summary.process) is not False
